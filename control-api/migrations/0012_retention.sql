-- For finding what is too old, whoever's it is.
CREATE INDEX visits_by_start ON visits (started_at);
CREATE INDEX events_by_time ON events (at);
CREATE INDEX deliveries_by_time ON deliveries (queued_at);
CREATE INDEX audit_by_time ON audit (at);
