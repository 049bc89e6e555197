-- Projects: VMs, images and tokens belong to one, and names are unique within it. What was there
-- before is of the project "default", which is always there and is no row.
CREATE TABLE projects (
    name       TEXT PRIMARY KEY NOT NULL CHECK (name <> 'default'),
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Of these tables a constraint changes, which SQLite does by a new table.
CREATE TABLE vms_of_projects (
    id               TEXT PRIMARY KEY NOT NULL,
    name             TEXT NOT NULL,
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
    project          TEXT NOT NULL,
    UNIQUE (project, name),
    -- Placed as a whole or not at all.
    CHECK ((host IS NULL) = (slot IS NULL) AND (host IS NULL) = (address IS NULL))
) STRICT;

INSERT INTO vms_of_projects
SELECT id, name, spec, desired, host, slot, address, pending, generation, boot_number,
    root_disk_number, stop_grace_ms, fingerprint, request_id, created_at, updated_at, traceparent,
    actor, 'default'
FROM vms;

DROP TABLE vms;
ALTER TABLE vms_of_projects RENAME TO vms;
CREATE UNIQUE INDEX vms_address ON vms (address) WHERE address IS NOT NULL;
CREATE UNIQUE INDEX vms_request_id ON vms (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX vms_host ON vms (host) WHERE host IS NOT NULL;

-- Empty once the project is gone: nobody of a later one by that name is told of them.
ALTER TABLE deleted_vms ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
DROP INDEX deleted_vms_name;
CREATE INDEX deleted_vms_name ON deleted_vms (project, name, deleted_at);

CREATE TABLE images_of_projects (
    project     TEXT NOT NULL,
    name        TEXT NOT NULL,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    size_bytes  INTEGER NOT NULL CHECK (size_bytes >= 0),
    kind        TEXT NOT NULL CHECK (kind IN ('KERNEL', 'ROOT', 'INITRD')),
    origin      TEXT NOT NULL,
    guest_agent INTEGER NOT NULL CHECK (guest_agent IN (0, 1)),
    notes       TEXT NOT NULL CHECK (json_valid(notes)),
    created_at  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    boot        TEXT CHECK (json_valid(boot)),
    -- Whether VMs of every project may boot from it.
    public      INTEGER NOT NULL CHECK (public IN (0, 1)),
    PRIMARY KEY (project, name),
    CHECK (public = 0 OR project = 'default')
) STRICT;

INSERT INTO images_of_projects
SELECT 'default', name, sha256, size_bytes, kind, origin, guest_agent, notes, created_at, created_by,
    boot, 0
FROM images;

DROP TABLE images;
ALTER TABLE images_of_projects RENAME TO images;

CREATE TABLE tokens_of_projects (
    id               TEXT PRIMARY KEY NOT NULL,
    -- Of the whole text: the text itself is nowhere.
    sha256           BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    name             TEXT NOT NULL,
    -- Empty: of the whole fleet.
    project          TEXT NOT NULL,
    role             TEXT NOT NULL,
    created_by       TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    last_used_at     INTEGER,
    -- By which token it was made (null: by none that was made by a call), and with which it goes:
    -- that one, or, once that one is gone without it, the one that one went with.
    created_by_token TEXT,
    goes_with        TEXT,
    UNIQUE (project, name),
    CHECK (
        CASE project
            WHEN '' THEN role IN ('viewer', 'operator', 'admin')
            ELSE role IN ('viewer', 'developer', 'admin')
        END
    )
) STRICT, WITHOUT ROWID;

INSERT INTO tokens_of_projects
SELECT id, sha256, name, '', role, created_by, created_at, expires_at, last_used_at,
    created_by_token, goes_with
FROM tokens;

DROP TABLE tokens;
ALTER TABLE tokens_of_projects RENAME TO tokens;
