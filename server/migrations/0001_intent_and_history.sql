-- What is wanted, and what happened. Nothing of what is: that lives in memory only.
-- Times are microseconds since 1970 (UTC). Ids are UUIDs in lower case.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL CHECK (value >= 0)
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES
    -- Raised when the store is restored from a backup.
    ('epoch', 1),
    -- Revisions up to this one may have been given out.
    ('revision_ceiling', 0),
    -- Counts transactions of the writer: tells it whether one whose outcome it missed is there.
    ('commit_number', 0),
    -- The newest number of a line of history.
    ('event_number', 0);

CREATE TABLE hosts (
    id                     TEXT PRIMARY KEY NOT NULL,
    name                   TEXT NOT NULL UNIQUE,
    agent_address          TEXT NOT NULL,
    labels                 TEXT NOT NULL CHECK (json_valid(labels)),
    cordoned               INTEGER NOT NULL CHECK (cordoned IN (0, 1)),
    subnet                 TEXT NOT NULL UNIQUE,
    certificate_expires_at INTEGER NOT NULL,
    generation             INTEGER NOT NULL CHECK (generation > 0),
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL
) STRICT;

CREATE TABLE vms (
    id               TEXT PRIMARY KEY NOT NULL,
    name             TEXT NOT NULL UNIQUE,
    spec             TEXT NOT NULL CHECK (json_valid(spec)),
    desired          TEXT NOT NULL CHECK (desired IN ('RUNNING', 'PAUSED', 'STOPPED', 'ABSENT')),
    host             TEXT REFERENCES hosts (id),
    slot             INTEGER CHECK (slot >= 2),
    address          TEXT,
    pending          TEXT,
    generation       INTEGER NOT NULL CHECK (generation > 0),
    boot_number      INTEGER NOT NULL CHECK (boot_number > 0),
    root_disk_number INTEGER NOT NULL CHECK (root_disk_number > 0),
    stop_grace_ms    INTEGER NOT NULL CHECK (stop_grace_ms >= 0),
    fingerprint      BLOB NOT NULL CHECK (length(fingerprint) = 32),
    request_id       TEXT,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    traceparent      TEXT NOT NULL,
    actor            TEXT NOT NULL,
    -- Placed as a whole or not at all.
    CHECK ((host IS NULL) = (slot IS NULL) AND (host IS NULL) = (address IS NULL))
) STRICT;

-- MAC and vsock context id follow from the address and its host's subnet: one index guards all.
CREATE UNIQUE INDEX vms_address ON vms (address) WHERE address IS NOT NULL;
CREATE UNIQUE INDEX vms_request_id ON vms (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX vms_host ON vms (host) WHERE host IS NOT NULL;

-- Ids that are used up.
CREATE TABLE deleted_vms (
    id         TEXT PRIMARY KEY NOT NULL,
    request_id TEXT,
    name       TEXT NOT NULL,
    deleted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX deleted_vms_request_id ON deleted_vms (request_id)
    WHERE request_id IS NOT NULL;

-- History of living and deleted VMs, the newest lines of each. No reference to vms: it outlives them.
CREATE TABLE vm_events (
    vm         TEXT NOT NULL,
    number     INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    reason     TEXT NOT NULL,
    message    TEXT NOT NULL,
    actor      TEXT NOT NULL,
    PRIMARY KEY (vm, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE join_tokens (
    id            TEXT PRIMARY KEY NOT NULL,
    secret_sha256 BLOB NOT NULL CHECK (length(secret_sha256) = 32),
    host_name     TEXT,
    expires_at    INTEGER NOT NULL,
    used_by       TEXT,
    used_key      BLOB CHECK (length(used_key) = 32),
    CHECK ((used_by IS NULL) = (used_key IS NULL))
) STRICT;
