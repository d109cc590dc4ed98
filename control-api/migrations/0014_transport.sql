-- What a box's tunnel goes over, and why that is TCP.
ALTER TABLE presence ADD COLUMN transport TEXT NOT NULL DEFAULT 'quic';
ALTER TABLE presence ADD COLUMN why_tcp TEXT;
