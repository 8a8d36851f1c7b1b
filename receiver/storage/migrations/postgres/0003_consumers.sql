-- Readers of the log that cannot be called: how far each has acknowledged.

CREATE TABLE consumers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    types TEXT NOT NULL,
    filter TEXT,
    description TEXT,
    position BIGINT NOT NULL,  -- of the last event in the log that needs no more reading
    moved_at BIGINT NOT NULL,  -- when it was put somewhere; cursors of before mean nothing any more
    acknowledged_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
