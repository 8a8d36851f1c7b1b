-- The first schema. Times are unix microseconds, ids TEXT made by us, JSON is TEXT.

CREATE TABLE catalog (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL  -- another one after every change of sources and subscriptions
) STRICT;
INSERT INTO catalog VALUES (1, 1);

CREATE TABLE sources (
    id TEXT PRIMARY KEY,
    vendor TEXT NOT NULL,
    name TEXT NOT NULL,
    token TEXT NOT NULL UNIQUE,
    credentials TEXT NOT NULL,
    options TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    removed_at INTEGER,
    last_seen_at INTEGER,
    last_error TEXT,
    last_error_at INTEGER
) STRICT;

CREATE TABLE receipts (
    id TEXT PRIMARY KEY,
    source_id TEXT NOT NULL,
    vendor TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    note TEXT,
    duplicate_of TEXT,
    peer TEXT NOT NULL,
    method TEXT NOT NULL,
    target BLOB NOT NULL,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX receipts_by_source ON receipts (source_id, id);
CREATE INDEX receipts_by_outcome ON receipts (outcome, id) WHERE outcome <> 'stored';

-- What makes two requests the same, and which message a vendor's id or reference names. Never partitioned.
CREATE TABLE identities (
    key TEXT PRIMARY KEY,
    subject_id TEXT NOT NULL,  -- the event, or the message
    receipt_id TEXT NOT NULL,
    content TEXT,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    id TEXT PRIMARY KEY,
    source_id TEXT NOT NULL,
    vendor TEXT NOT NULL,
    direction TEXT NOT NULL,
    vendor_message_id TEXT,
    client_reference TEXT,
    batch_id TEXT,
    channel TEXT,
    from_address TEXT,
    to_address TEXT,
    conversation TEXT NOT NULL,
    status TEXT,
    final INTEGER,
    state_key TEXT,
    parts TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    vendor TEXT,
    source_id TEXT,
    receipt_id TEXT,
    message_id TEXT,
    vendor_message_id TEXT,
    client_reference TEXT,
    from_address TEXT,
    to_address TEXT,
    status TEXT,
    body TEXT NOT NULL
) STRICT;
-- Messages are most of the log: a page of them is found by reading along.
CREATE INDEX events_by_rare_type ON events (type) WHERE type NOT IN ('message.received', 'message.status');
CREATE INDEX events_by_time ON events (accepted_at);
CREATE INDEX events_by_source ON events (source_id);
CREATE INDEX events_by_message ON events (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX events_by_vendor_message ON events (vendor_message_id) WHERE vendor_message_id IS NOT NULL;
CREATE INDEX events_by_reference ON events (client_reference) WHERE client_reference IS NOT NULL;
CREATE INDEX events_by_sender ON events (from_address) WHERE from_address IS NOT NULL;
CREATE INDEX events_by_recipient ON events (to_address) WHERE to_address IS NOT NULL;
CREATE INDEX events_by_status ON events (status) WHERE status IS NOT NULL;

CREATE TABLE opt_outs (
    source_id TEXT NOT NULL,
    number TEXT NOT NULL,
    scope TEXT NOT NULL,
    sender TEXT NOT NULL,
    opted_out INTEGER NOT NULL,
    via TEXT NOT NULL,
    event_id TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (source_id, number, scope, sender)
) STRICT, WITHOUT ROWID;

CREATE TABLE subscriptions (
    id TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    types TEXT NOT NULL,
    filter TEXT,
    format TEXT NOT NULL,
    secrets TEXT NOT NULL,  -- [{"secret", "expires_at"}], the newest first
    headers TEXT NOT NULL,
    max_concurrency INTEGER NOT NULL,
    rate_per_second REAL,
    ordered TEXT,  -- conversation
    retry_schedule TEXT,
    handshake INTEGER NOT NULL DEFAULT 0,
    allowed_per_minute INTEGER,  -- by the handshake's answer
    state TEXT NOT NULL,  -- active, paused, disabled
    disabled_by TEXT,
    catching_up INTEGER NOT NULL DEFAULT 0,  -- a job that goes through the log makes its deliveries, not the intake
    health TEXT,  -- failures in a row, NULL while there are none
    description TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    removed_at INTEGER,
    last_success_at INTEGER
) STRICT;

CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    subscription_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    conversation TEXT,  -- of an ordered subscription
    missed TEXT,  -- events of the conversation that were given up right before this one
    attempts_before INTEGER NOT NULL DEFAULT 0,  -- made before it was last opened again
    reopened_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX deliveries_by_event ON deliveries (event_id, subscription_id);
CREATE INDEX deliveries_by_subscription ON deliveries (subscription_id, id);
-- What is still owed; `next_at` is null while a delivery is being sent or stands behind another.
CREATE INDEX deliveries_open ON deliveries (subscription_id, state, next_at, id)
    WHERE state IN ('queued', 'waiting', 'sending', 'retrying');
CREATE INDEX deliveries_ended ON deliveries (state, id) WHERE state IN ('held', 'dead', 'forbidden', 'canceled');
CREATE INDEX deliveries_in_order ON deliveries (subscription_id, conversation, state, event_id)
    WHERE conversation IS NOT NULL;

CREATE TABLE attempts (
    delivery_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    status INTEGER,
    error TEXT,
    detail TEXT,
    answer BLOB NOT NULL,
    PRIMARY KEY (delivery_id, number)
) STRICT, WITHOUT ROWID;

-- Long work that survives a restart: what was done is committed together with how far it got.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,  -- recover, replay, start
    subscription_id TEXT,
    state TEXT NOT NULL,  -- running, done, canceled, failed
    request TEXT NOT NULL,
    position TEXT NOT NULL,
    done INTEGER NOT NULL,
    total INTEGER NOT NULL,
    released INTEGER NOT NULL,
    error TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_running ON jobs (id) WHERE state = 'running';

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
