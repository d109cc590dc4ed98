-- Host keys that a box reports and nobody has confirmed, and since when; `host_keys` are those that
-- visitors are told to expect.
ALTER TABLE devices ADD COLUMN reported_keys TEXT;
ALTER TABLE devices ADD COLUMN keys_changed_at INTEGER;

-- What happened in an account. No references: the record outlives whatever it speaks of.
CREATE TABLE events (
    id      TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    at      INTEGER NOT NULL,
    -- Who did it: a user, a token, or the box itself.
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    -- The id of what it was done to.
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL
);
CREATE INDEX events_by_age ON events (account, at, id);
