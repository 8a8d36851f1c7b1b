-- Vendors that must be asked. How far each feed was read is committed together with what was read.

CREATE TABLE polls (
    source_id TEXT NOT NULL,
    feed TEXT NOT NULL,
    position TEXT NOT NULL,
    digest TEXT,  -- of the last answer: the same again brings nothing
    next_at INTEGER NOT NULL,
    asked_at INTEGER NOT NULL,
    answered_at INTEGER,
    failures INTEGER NOT NULL,
    error TEXT,
    PRIMARY KEY (source_id, feed)
) STRICT, WITHOUT ROWID;

-- What an OAuth grant gave last. `granted_for` is a hash of the credentials that it was given for.
CREATE TABLE tokens (
    source_id TEXT PRIMARY KEY,
    granted_for TEXT NOT NULL,
    access_token TEXT NOT NULL,
    refresh_token TEXT,
    expires_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Outbound messages whose final report is waited for: when to ask for it, and when to wait no more.
CREATE TABLE lookups (
    source_id TEXT NOT NULL,
    name TEXT NOT NULL,  -- the vendor's id, else ours
    vendor_message_id TEXT,
    message_id TEXT,
    since INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    ask_at INTEGER,
    close_at INTEGER,
    PRIMARY KEY (source_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX lookups_to_ask ON lookups (source_id, ask_at) WHERE ask_at IS NOT NULL;
CREATE INDEX lookups_to_close ON lookups (close_at) WHERE close_at IS NOT NULL;

-- The message up to which it was looked for such.
CREATE TABLE reconciled (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    message_id TEXT NOT NULL
) STRICT;
INSERT INTO reconciled VALUES (1, '');
