CREATE TABLE webhooks (
    id            TEXT PRIMARY KEY,
    account       TEXT NOT NULL REFERENCES accounts (id),
    url           TEXT NOT NULL,
    -- Words, as JSON.
    events        TEXT NOT NULL,
    enabled       INTEGER NOT NULL,
    -- Goes into its secret, which is derived and not kept.
    salt          BLOB NOT NULL,
    created_at    INTEGER NOT NULL,
    version       INTEGER NOT NULL DEFAULT 1,
    -- Attempts in a row that failed, and until when it is left alone because of them.
    failures      INTEGER NOT NULL DEFAULT 0,
    paused_until  INTEGER NOT NULL DEFAULT 0,
    -- Since when deliveries are given up.
    failing_since INTEGER
);
CREATE INDEX webhooks_by_account ON webhooks (account, created_at);

-- The outbox: written in the transaction of what it tells of. Texts are sent as they stand here.
CREATE TABLE deliveries (
    id            TEXT PRIMARY KEY,
    webhook       TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event         TEXT NOT NULL,
    body          TEXT NOT NULL,
    occurred_at   INTEGER NOT NULL,
    -- By this program's clock, which need not be that of whoever saw it happen.
    queued_at     INTEGER NOT NULL,
    status        TEXT NOT NULL,
    attempts      INTEGER NOT NULL DEFAULT 0,
    due_at        INTEGER NOT NULL,
    -- Somebody is trying it until then.
    claimed_until INTEGER NOT NULL DEFAULT 0,
    settled_at    INTEGER,
    http_status   INTEGER,
    problem       TEXT
);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook, occurred_at, id);
CREATE INDEX deliveries_due ON deliveries (status, due_at);

-- What webhooks have been told of what time does by itself.
ALTER TABLE accesses ADD COLUMN expiry_told INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN online_told INTEGER NOT NULL DEFAULT 0;
CREATE INDEX accesses_by_expiry_told ON accesses (expiry_told, expires_at);
