-- Who asked for an access from outside the account, and when an owner approved it. Until then it is no
-- rule. One from within has neither.
ALTER TABLE accesses ADD COLUMN asked_by TEXT;
ALTER TABLE accesses ADD COLUMN approved_at INTEGER;
