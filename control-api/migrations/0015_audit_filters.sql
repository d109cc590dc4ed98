-- For what one actor did, and what was done to one thing, the newest first.
CREATE INDEX audit_by_actor ON audit (account, actor_id, seq);
CREATE INDEX audit_by_subject ON audit (account, subject, seq);
