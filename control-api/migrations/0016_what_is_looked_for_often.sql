-- Visits that go on are looked for with every report, and are few among those that are over.
CREATE INDEX visits_open ON visits (account, device, started_at, id) WHERE outcome = 'open';

-- When somebody last came in by an access. Its visits are many, and go when they are old.
ALTER TABLE accesses ADD COLUMN last_used_at INTEGER;
UPDATE accesses SET last_used_at = (SELECT MAX(started_at) FROM visits WHERE visits.account = accesses.account
    AND visits.access = accesses.id AND visits.device = accesses.device AND outcome <> 'refused');

-- What is under way is little among what waits.
CREATE INDEX deliveries_claimed ON deliveries (webhook, claimed_until) WHERE status = 'pending';
