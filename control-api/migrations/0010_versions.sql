-- Counts the changes of what people edit, so that nobody undoes a change that they have not seen.
ALTER TABLE accesses ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE devices ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE users ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE accounts ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
