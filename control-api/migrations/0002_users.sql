-- The account that every installation has, by a mark and not by its name.
ALTER TABLE accounts ADD COLUMN own INTEGER NOT NULL DEFAULT 0;
UPDATE accounts SET own = 1 WHERE name = 'default';

-- Tokens of before could do everything, and still can.
ALTER TABLE tokens ADD COLUMN role TEXT NOT NULL DEFAULT 'owner';
ALTER TABLE tokens ADD COLUMN admin INTEGER NOT NULL DEFAULT 1;
ALTER TABLE tokens ADD COLUMN expires_at INTEGER;
-- The ids of the boxes that it is for, JSON; none means all.
ALTER TABLE tokens ADD COLUMN devices TEXT;

-- A name signs in by itself, so there is one of it in the whole installation; in lower case.
CREATE TABLE users (
    id           TEXT PRIMARY KEY,
    account      TEXT NOT NULL REFERENCES accounts (id),
    name         TEXT NOT NULL UNIQUE,
    role         TEXT NOT NULL,
    admin        INTEGER NOT NULL,
    -- Argon2id in PHC form; none until they have chosen one.
    password     TEXT,
    created_at   INTEGER NOT NULL,
    signed_in_at INTEGER,
    disabled_at  INTEGER
);
CREATE INDEX users_by_age ON users (account, created_at, id);

CREATE TABLE sessions (
    hash       BLOB PRIMARY KEY,
    holder     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE INDEX sessions_by_holder ON sessions (holder, used_at);

-- Links with which a password is chosen: for a user, or, where there is no holder, for whoever brings
-- it to become an owner.
CREATE TABLE invitations (
    hash       BLOB PRIMARY KEY,
    account    TEXT NOT NULL REFERENCES accounts (id),
    holder     TEXT UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
);

-- Answers are kept for whoever asked, users as well as tokens.
CREATE TABLE kept_answers (
    account    TEXT NOT NULL,
    holder     TEXT NOT NULL,
    key        TEXT NOT NULL,
    request    BLOB NOT NULL,
    answer     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (holder, key)
);
INSERT INTO kept_answers SELECT account, token, key, request, answer, created_at FROM idempotency;
DROP TABLE idempotency;
CREATE INDEX kept_answers_by_age ON kept_answers (created_at);
