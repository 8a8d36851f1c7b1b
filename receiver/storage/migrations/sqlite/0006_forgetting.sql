-- What is kept for a time, and what is forgotten on request.

-- Calls of the API under an Idempotency-Key, for a day; neither key nor answer in clear.
CREATE TABLE idempotency (
    key TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    answer BLOB,  -- sealed; NULL when the call was carried out and its answer lost
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_end ON idempotency (expires_at);

-- How far the purge of each kind is, and up to where it left gaps: cursors before that are gone.
CREATE TABLE purges (
    what TEXT PRIMARY KEY,
    position TEXT NOT NULL,  -- behind which the next step looks; empty at the start of a round
    round_at INTEGER NOT NULL,  -- when the last whole round began
    gone_id TEXT NOT NULL,  -- the newest that was purged; empty for none
    gone_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys of hashes that stand for what was erased.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    secret BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- How often something behind a follower's position was forgotten: what it had read until then is void.
ALTER TABLE followers ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
