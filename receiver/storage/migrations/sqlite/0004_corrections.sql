-- Long messages whose parts came apart, and events that correct others.

CREATE TABLE long_messages (
    message_id TEXT PRIMARY KEY,
    key TEXT UNIQUE,  -- by which further parts find it; NULL when it takes no more
    total INTEGER NOT NULL,
    event_id TEXT,  -- the last one that told of it
    due_at INTEGER,  -- when its parts are to be joined, NULL when nothing new is there
    began_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX long_messages_due ON long_messages (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX long_messages_open ON long_messages (began_at) WHERE key IS NOT NULL;

CREATE TABLE message_parts (
    message_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    receipt_id TEXT NOT NULL,
    content TEXT NOT NULL,  -- hash of sender, text and media
    part TEXT,  -- what it says, until the message is whole or takes no more
    PRIMARY KEY (message_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_parts_by_receipt ON message_parts (receipt_id);

-- Events that were made later of a request that was kept: which, of which request, and which earlier event each corrects.
CREATE TABLE corrections (
    event_id TEXT PRIMARY KEY,
    receipt_id TEXT NOT NULL,
    supersedes TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX corrections_by_receipt ON corrections (receipt_id);
CREATE INDEX corrections_by_superseded ON corrections (supersedes) WHERE supersedes IS NOT NULL;
