-- Visits that somebody wants to end, until their relay has told their end.
CREATE TABLE cuts (
    visit    TEXT PRIMARY KEY,
    relay    TEXT NOT NULL,
    asked_at INTEGER NOT NULL
);
CREATE INDEX cuts_by_relay ON cuts (relay);
