-- What is kept for a time, and what is forgotten on request.

-- Calls of the API under an Idempotency-Key, for a day; neither key nor answer in clear.
CREATE TABLE idempotency (
    key TEXT COLLATE "C" PRIMARY KEY,
    request TEXT COLLATE "C" NOT NULL,
    answer BYTEA,  -- sealed; NULL when the call was carried out and its answer lost
    expires_at BIGINT NOT NULL
);
CREATE INDEX idempotency_by_end ON idempotency (expires_at);

-- How far the purge of each kind is, and up to where it left gaps: cursors before that are gone.
CREATE TABLE purges (
    what TEXT COLLATE "C" PRIMARY KEY,
    position TEXT COLLATE "C" NOT NULL,  -- behind which the next step looks; empty at the start of a round
    round_at BIGINT NOT NULL,  -- when the last whole round began
    gone_id TEXT COLLATE "C" NOT NULL,  -- the newest that was purged; empty for none
    gone_seq BIGINT NOT NULL
);

-- Keys of hashes that stand for what was erased.
CREATE TABLE secrets (
    name TEXT COLLATE "C" PRIMARY KEY,
    secret BYTEA NOT NULL
);

-- How often something behind a follower's position was forgotten: what it had read until then is void.
ALTER TABLE followers ADD COLUMN forgotten BIGINT NOT NULL DEFAULT 0;
