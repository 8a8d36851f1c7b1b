-- The first schema. Times are unix microseconds, ids TEXT made by us, JSON is TEXT. Text is compared by its bytes, as on
-- the other engine. Ids begin with their time: what is partitioned by them is partitioned by time, and found by an id.

CREATE TABLE catalog (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL  -- another one after every change of sources and subscriptions
);
INSERT INTO catalog VALUES (1, 1);

CREATE TABLE sources (
    id TEXT COLLATE "C" PRIMARY KEY,
    vendor TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    token TEXT COLLATE "C" NOT NULL UNIQUE,
    credentials TEXT COLLATE "C" NOT NULL,
    options TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    removed_at BIGINT,
    last_seen_at BIGINT,
    last_error TEXT COLLATE "C",
    last_error_at BIGINT
);

CREATE TABLE receipts (
    id TEXT COLLATE "C" PRIMARY KEY,
    source_id TEXT COLLATE "C" NOT NULL,
    vendor TEXT COLLATE "C" NOT NULL,
    received_at BIGINT NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    note TEXT COLLATE "C",
    duplicate_of TEXT COLLATE "C",
    peer TEXT COLLATE "C" NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    target BYTEA NOT NULL,
    headers BYTEA NOT NULL,
    body BYTEA NOT NULL
) PARTITION BY RANGE (id);
CREATE TABLE receipts_other PARTITION OF receipts DEFAULT;
CREATE INDEX receipts_by_source ON receipts (source_id, id);
CREATE INDEX receipts_by_outcome ON receipts (outcome, id) WHERE outcome <> 'stored';

-- What makes two requests the same, and which message a vendor's id or reference names. Never partitioned.
CREATE TABLE identities (
    key TEXT COLLATE "C" PRIMARY KEY,
    subject_id TEXT COLLATE "C" NOT NULL,  -- the event, or the message
    receipt_id TEXT COLLATE "C" NOT NULL,
    content TEXT COLLATE "C",
    expires_at BIGINT
);

CREATE TABLE messages (
    id TEXT COLLATE "C" PRIMARY KEY,
    source_id TEXT COLLATE "C" NOT NULL,
    vendor TEXT COLLATE "C" NOT NULL,
    direction TEXT COLLATE "C" NOT NULL,
    vendor_message_id TEXT COLLATE "C",
    client_reference TEXT COLLATE "C",
    batch_id TEXT COLLATE "C",
    channel TEXT COLLATE "C",
    from_address TEXT COLLATE "C",
    to_address TEXT COLLATE "C",
    conversation TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C",
    final BIGINT,
    state_key TEXT COLLATE "C",
    parts TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE SEQUENCE events_seq AS BIGINT;
CREATE TABLE events (
    seq BIGINT NOT NULL DEFAULT nextval('events_seq'),
    id TEXT COLLATE "C" PRIMARY KEY,
    type TEXT COLLATE "C" NOT NULL,
    accepted_at BIGINT NOT NULL,
    vendor TEXT COLLATE "C",
    source_id TEXT COLLATE "C",
    receipt_id TEXT COLLATE "C",
    message_id TEXT COLLATE "C",
    vendor_message_id TEXT COLLATE "C",
    client_reference TEXT COLLATE "C",
    from_address TEXT COLLATE "C",
    to_address TEXT COLLATE "C",
    status TEXT COLLATE "C",
    body TEXT COLLATE "C" NOT NULL
) PARTITION BY RANGE (id);
CREATE TABLE events_other PARTITION OF events DEFAULT;
CREATE INDEX events_by_position ON events (seq);
-- Who reads by one of these has its rows in the order of the log, as no other index gives it (see `leading`).
-- Messages are most of the log: a page of them is found by reading along.
CREATE INDEX events_by_rare_type ON events (type, (seq + 0)) WHERE type NOT IN ('message.received', 'message.status');
CREATE INDEX events_by_time ON events (accepted_at);
CREATE INDEX events_by_source ON events (source_id, (seq + 0));
CREATE INDEX events_by_message ON events (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX events_by_vendor_message ON events (vendor_message_id) WHERE vendor_message_id IS NOT NULL;
CREATE INDEX events_by_reference ON events (client_reference, (seq + 0)) WHERE client_reference IS NOT NULL;
CREATE INDEX events_by_sender ON events (from_address, (seq + 0)) WHERE from_address IS NOT NULL;
CREATE INDEX events_by_recipient ON events (to_address, (seq + 0)) WHERE to_address IS NOT NULL;
CREATE INDEX events_by_status ON events (status, (seq + 0)) WHERE status IS NOT NULL;

CREATE TABLE opt_outs (
    source_id TEXT COLLATE "C" NOT NULL,
    number TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    sender TEXT COLLATE "C" NOT NULL,
    opted_out BIGINT NOT NULL,
    via TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (source_id, number, scope, sender)
);

CREATE TABLE subscriptions (
    id TEXT COLLATE "C" PRIMARY KEY,
    url TEXT COLLATE "C" NOT NULL,
    types TEXT COLLATE "C" NOT NULL,
    filter TEXT COLLATE "C",
    format TEXT COLLATE "C" NOT NULL,
    secrets TEXT COLLATE "C" NOT NULL,  -- [{"secret", "expires_at"}], the newest first
    headers TEXT COLLATE "C" NOT NULL,
    max_concurrency BIGINT NOT NULL,
    rate_per_second DOUBLE PRECISION,
    ordered TEXT COLLATE "C",  -- conversation
    retry_schedule TEXT COLLATE "C",
    handshake BIGINT NOT NULL DEFAULT 0,
    allowed_per_minute BIGINT,  -- by the handshake's answer
    state TEXT COLLATE "C" NOT NULL,  -- active, paused, disabled
    disabled_by TEXT COLLATE "C",
    catching_up BIGINT NOT NULL DEFAULT 0,  -- a job that goes through the log makes its deliveries, not the intake
    health TEXT COLLATE "C",  -- failures in a row, NULL while there are none
    description TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    removed_at BIGINT,
    last_success_at BIGINT
);

CREATE TABLE deliveries (
    id TEXT COLLATE "C" PRIMARY KEY,
    subscription_id TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    conversation TEXT COLLATE "C",  -- of an ordered subscription
    missed TEXT COLLATE "C",  -- events of the conversation that were given up right before this one
    attempts_before BIGINT NOT NULL DEFAULT 0,  -- made before it was last opened again
    reopened_at BIGINT
);
CREATE UNIQUE INDEX deliveries_by_event ON deliveries (event_id, subscription_id);
CREATE INDEX deliveries_by_subscription ON deliveries (subscription_id, id);
-- What is still owed; `next_at` is null while a delivery is being sent or stands behind another.
CREATE INDEX deliveries_open ON deliveries (subscription_id, state, next_at, id)
    WHERE state IN ('queued', 'waiting', 'sending', 'retrying');
CREATE INDEX deliveries_ended ON deliveries (state, id) WHERE state IN ('held', 'dead', 'forbidden', 'canceled');
CREATE INDEX deliveries_in_order ON deliveries (subscription_id, conversation, state, event_id)
    WHERE conversation IS NOT NULL;

CREATE TABLE attempts (
    delivery_id TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    status BIGINT,
    error TEXT COLLATE "C",
    detail TEXT COLLATE "C",
    answer BYTEA NOT NULL,
    PRIMARY KEY (delivery_id, number)
) PARTITION BY RANGE (delivery_id);
CREATE TABLE attempts_other PARTITION OF attempts DEFAULT;

-- Long work that survives a restart: what was done is committed together with how far it got.
CREATE TABLE jobs (
    id TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,  -- recover, replay, start
    subscription_id TEXT COLLATE "C",
    state TEXT COLLATE "C" NOT NULL,  -- running, done, canceled, failed
    request TEXT COLLATE "C" NOT NULL,
    position TEXT COLLATE "C" NOT NULL,
    done BIGINT NOT NULL,
    total BIGINT NOT NULL,
    released BIGINT NOT NULL,
    error TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX jobs_running ON jobs (id) WHERE state = 'running';

CREATE TABLE keys (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL UNIQUE,
    scopes TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

-- How far the log is complete. A position is given at once and seen only after COMMIT, so a lower one may be seen after
-- a higher one. Whoever is about to take positions holds, until the end of its transaction, a lock that names the last
-- one given before; nothing above the least of these is safe to read. Nobody waits for anybody.
CREATE FUNCTION last_position() RETURNS BIGINT LANGUAGE sql VOLATILE AS
    $$ SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM events_seq $$;

CREATE FUNCTION announce_positions() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared((5459::BIGINT << 48) | last_position());
    RETURN NULL;
END $$;
CREATE TRIGGER events_announced BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION announce_positions();

CREATE FUNCTION complete_up_to() RETURNS BIGINT LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    given BIGINT := last_position();  -- looked at before the locks are
    announced BIGINT;
BEGIN
    SELECT min((classid::BIGINT & 65535) << 32 | objid::BIGINT) INTO announced FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid::BIGINT >> 16 = 5459 AND pid <> pg_backend_pid()
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    RETURN least(given, announced);
END $$;
CREATE VIEW horizon (seq) AS SELECT complete_up_to();

-- Whoever changes the catalog waits for every transaction that goes by it (each begins with the shared lock), and later
-- ones wait for him: what was answered before an event was accepted is known to whoever records the event.
CREATE FUNCTION change_catalog() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(5459, 0);
    RETURN NULL;
END $$;
CREATE TRIGGER catalog_changes BEFORE UPDATE ON catalog FOR EACH STATEMENT EXECUTE FUNCTION change_catalog();

-- A word to all processes; one that is missed costs them the time until they look by themselves.
CREATE FUNCTION tell_processes() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('receiver', TG_TABLE_NAME);
    RETURN NULL;
END $$;
CREATE TRIGGER catalog_told AFTER UPDATE ON catalog FOR EACH STATEMENT EXECUTE FUNCTION tell_processes();
CREATE TRIGGER jobs_told AFTER INSERT ON jobs FOR EACH STATEMENT EXECUTE FUNCTION tell_processes();
