-- Times are milliseconds since 1970 (UTC), ids are text, truth values are 0 and 1, and whatever has
-- a shape of its own is JSON: nothing here that another database would say differently.

-- What is one for the whole installation. `revision` only rises; every rule change takes the next.
CREATE TABLE installation (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    revision  INTEGER NOT NULL,
    -- SHA-256 of the authority's certificate and of the grant key, hex: a state directory that lost
    -- its keys must not quietly get new ones that no box trusts.
    authority TEXT NOT NULL,
    grant_key TEXT NOT NULL
);

CREATE TABLE accounts (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
);

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    account    TEXT NOT NULL REFERENCES accounts (id),
    name       TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
);

-- Relays belong to the installation, not to an account.
CREATE TABLE relays (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    token_hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    -- The feed it follows now, if any; named, so that the end of an old one ends no newer one.
    feed       TEXT,
    last_seen  INTEGER,
    in_force   INTEGER NOT NULL DEFAULT 0,
    -- From its hello.
    version    TEXT,
    gate       TEXT,
    agents     TEXT
);

-- A deleted box keeps its row, so that its accesses and visits can still say what they were about.
CREATE TABLE devices (
    id         TEXT PRIMARY KEY,
    account    TEXT NOT NULL REFERENCES accounts (id),
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    -- SHA-256 of the public key that it enrolled with, hex.
    key        TEXT,
    joined_at  INTEGER,
    facts      TEXT,
    -- From the facts, for counting.
    paused     INTEGER NOT NULL DEFAULT 0,
    host_keys  TEXT NOT NULL DEFAULT '[]',
    deleted_at INTEGER
);
CREATE UNIQUE INDEX devices_by_name ON devices (account, name) WHERE deleted_at IS NULL;
CREATE INDEX devices_by_age ON devices (account, created_at, id);
CREATE INDEX devices_by_revision ON devices (revision);

-- One join token a box at most. Once used it stays until it expires, bound to the key that used it.
CREATE TABLE join_tokens (
    device     TEXT PRIMARY KEY REFERENCES devices (id),
    hash       BLOB NOT NULL UNIQUE,
    expires_at INTEGER NOT NULL,
    used_by    TEXT
);

-- What each relay says of each box it has seen. A row counts only while its relay goes on reporting.
CREATE TABLE presence (
    device  TEXT NOT NULL REFERENCES devices (id),
    relay   TEXT NOT NULL REFERENCES relays (id) ON DELETE CASCADE,
    online  INTEGER NOT NULL,
    since   INTEGER NOT NULL,
    address TEXT NOT NULL,
    holding INTEGER NOT NULL,
    PRIMARY KEY (device, relay)
);
CREATE INDEX presence_by_relay ON presence (relay, online);

CREATE TABLE accesses (
    id          TEXT PRIMARY KEY,
    account     TEXT NOT NULL REFERENCES accounts (id),
    device      TEXT NOT NULL REFERENCES devices (id),
    port        INTEGER NOT NULL,
    allowed     TEXT NOT NULL,
    key         TEXT,
    key_comment TEXT NOT NULL,
    login       TEXT NOT NULL,
    note        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    revoked_at  INTEGER,
    revised_at  INTEGER NOT NULL,
    revision    INTEGER NOT NULL
);
CREATE INDEX accesses_by_age ON accesses (account, created_at, id);
CREATE INDEX accesses_by_device ON accesses (device, expires_at);

-- No references: the audit outlives whatever it speaks of.
CREATE TABLE visits (
    id          TEXT PRIMARY KEY,
    account     TEXT NOT NULL,
    access      TEXT,
    device      TEXT,
    device_name TEXT,
    relay       TEXT NOT NULL,
    entrance    TEXT NOT NULL,
    source      TEXT NOT NULL,
    source_port INTEGER NOT NULL,
    port        INTEGER,
    key         TEXT,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    outcome     TEXT NOT NULL,
    code        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    bytes_up    INTEGER NOT NULL,
    bytes_down  INTEGER NOT NULL
);
CREATE INDEX visits_by_age ON visits (account, started_at, id);
CREATE INDEX visits_by_device ON visits (account, device, started_at, id);
CREATE INDEX visits_by_access ON visits (account, access, started_at, id);

-- Answers to creations that carried an Idempotency-Key, for a day. `answer` is sealed with a key that
-- only the holder of the API token can derive, because an answer may contain a join string.
CREATE TABLE idempotency (
    account    TEXT NOT NULL,
    token      TEXT NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    key        TEXT NOT NULL,
    request    BLOB NOT NULL,
    answer     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (token, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);
