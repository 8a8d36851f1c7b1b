-- Processes that hold deliveries in memory, and until when the others believe it.
CREATE TABLE processes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice
    started_at INTEGER NOT NULL,
    alive_until INTEGER NOT NULL
) STRICT;

ALTER TABLE deliveries ADD COLUMN leased_by INTEGER;  -- the process that took it last; holds it while it is `sending`

-- How far the log is complete: with one writer, to its end.
CREATE VIEW horizon (seq) AS SELECT coalesce(max(seq), 0) FROM events;
