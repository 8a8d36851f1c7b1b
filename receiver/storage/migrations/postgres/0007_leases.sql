-- Processes that hold deliveries in memory, and until when the others believe it.
CREATE TABLE processes (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- never given twice
    started_at BIGINT NOT NULL,
    alive_until BIGINT NOT NULL
);

ALTER TABLE deliveries ADD COLUMN leased_by BIGINT;  -- the process that took it last; holds it while it is `sending`
