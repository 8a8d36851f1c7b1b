-- What reading the log needs: an inbox, batches, words of texts, opt-outs by number.

ALTER TABLE messages ADD COLUMN read_at INTEGER;  -- of inbound ones; NULL is unread
ALTER TABLE messages ADD COLUMN deleted_at INTEGER;

-- An inbound message adds an entry at the right end of the first, which is the page that was written just before; it
-- goes over to the second when it is read. An outbound one adds none unless it fails or its vendor names a batch.
-- Addresses and sources are found through the indexes that events have.
CREATE INDEX messages_unread ON messages (id) WHERE direction = 'in' AND read_at IS NULL;
CREATE INDEX messages_read ON messages (id) WHERE read_at IS NOT NULL;
CREATE INDEX messages_failed ON messages (id) WHERE status IN ('undelivered', 'rejected', 'failed', 'expired');
CREATE INDEX messages_by_batch ON messages (batch_id) WHERE batch_id IS NOT NULL;

-- The words of inbound texts by the event's place in the log, folded before they come here; filled after the fact.
-- Beginnings of up to three characters have entries of their own, else all words that begin so would be put together.
CREATE VIRTUAL TABLE texts USING fts5 (
    words, content = '', detail = none, tokenize = 'ascii', prefix = '1 2 3'
);

-- Who reads the log behind the intake, and how far each has come.
CREATE TABLE followers (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO followers VALUES ('texts', 0);

CREATE INDEX opt_outs_by_change ON opt_outs (event_id);
CREATE INDEX opt_outs_by_number ON opt_outs (number);
