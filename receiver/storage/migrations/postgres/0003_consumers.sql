-- Readers of the log that cannot be called: how far each has acknowledged.

CREATE TABLE consumers (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    types TEXT COLLATE "C" NOT NULL,
    filter TEXT COLLATE "C",
    description TEXT COLLATE "C",
    position BIGINT NOT NULL,  -- of the last event in the log that needs no more reading
    moved_at BIGINT NOT NULL,  -- when it was put somewhere; cursors of before mean nothing any more
    acknowledged_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
