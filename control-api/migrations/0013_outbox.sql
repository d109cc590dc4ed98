-- What waits is looked for every second, and is little among what was delivered.
CREATE INDEX deliveries_waiting ON deliveries (webhook, queued_at) WHERE status = 'pending';
