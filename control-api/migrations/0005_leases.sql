-- How visitors come in. Accesses of before led through the gate if they had a key.
ALTER TABLE accesses ADD COLUMN via TEXT NOT NULL DEFAULT 'gate';
UPDATE accesses SET via = 'name' WHERE key IS NULL;

-- The public port of its own. An access that has ended keeps it, so that its holder can be told, until
-- another one takes it: so a port leads to one access, whatever happens.
ALTER TABLE accesses ADD COLUMN leased_from TEXT;
ALTER TABLE accesses ADD COLUMN leased_port INTEGER;
CREATE UNIQUE INDEX accesses_by_lease ON accesses (leased_from, leased_port);

-- From the relay's hello: its TLS front, and the ports that it lets accesses have.
ALTER TABLE relays ADD COLUMN web TEXT;
ALTER TABLE relays ADD COLUMN ports TEXT;
