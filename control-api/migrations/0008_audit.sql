-- Who changed what. One chain for the whole installation, in the order of `seq`: each `hash` is over its
-- own row and the hash before it. No references: it outlives whatever it speaks of.
CREATE TABLE audit (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    account    TEXT NOT NULL,
    at         INTEGER NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id   TEXT,
    actor_name TEXT NOT NULL,
    address    TEXT,
    action     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    -- Names and texts, as JSON whose very bytes are hashed.
    was        TEXT NOT NULL,
    became     TEXT NOT NULL,
    hash       BLOB NOT NULL
);
CREATE INDEX audit_by_account ON audit (account, seq);
CREATE INDEX audit_by_action ON audit (action, seq);

-- The end of the chain, so that its last records cannot be taken off unnoticed; and whoever appends to it
-- waits here for whoever came before.
CREATE TABLE audit_head (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    seq  INTEGER NOT NULL,
    hash BLOB NOT NULL
);
INSERT INTO audit_head (one, seq, hash)
VALUES (1, 0, x'0000000000000000000000000000000000000000000000000000000000000000');

-- Who made an access, as JSON; unknown for those of before.
ALTER TABLE accesses ADD COLUMN created_by TEXT;
