-- A closed account keeps its row for what refers to it; its name is free again.
ALTER TABLE accounts ADD COLUMN closed_at INTEGER;
