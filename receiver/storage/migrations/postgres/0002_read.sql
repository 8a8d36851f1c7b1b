-- What reading the log needs: an inbox, batches, words of texts, opt-outs by number.

ALTER TABLE messages ADD COLUMN read_at BIGINT;  -- of inbound ones; NULL is unread
ALTER TABLE messages ADD COLUMN deleted_at BIGINT;

CREATE INDEX messages_unread ON messages ((id || '')) WHERE direction = 'in' AND read_at IS NULL;
CREATE INDEX messages_read ON messages ((id || '')) WHERE read_at IS NOT NULL;
CREATE INDEX messages_failed ON messages ((id || '')) WHERE status IN ('undelivered', 'rejected', 'failed', 'expired');
CREATE INDEX messages_by_batch ON messages (batch_id, (id || '')) WHERE batch_id IS NOT NULL;

-- The words of inbound texts by the event's place in the log, folded before they come here; filled after the fact.
CREATE TABLE texts (
    seq BIGINT PRIMARY KEY,
    words TSVECTOR NOT NULL
);
CREATE INDEX texts_words ON texts USING GIN (words);

-- Who reads the log behind the intake, and how far each has come.
CREATE TABLE followers (
    name TEXT COLLATE "C" PRIMARY KEY,
    position BIGINT NOT NULL
);
INSERT INTO followers VALUES ('texts', 0);

CREATE INDEX opt_outs_by_change ON opt_outs (event_id);
CREATE INDEX opt_outs_by_number ON opt_outs (number);
