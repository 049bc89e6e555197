-- Changes that named themselves, in the order in which they were done, so that a repetition is known.
CREATE TABLE requests (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    -- Of what was asked for, but for the name of its object.
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    -- What it was about: 'vm <id>', 'host <id>' or 'image <name>'.
    target      TEXT NOT NULL,
    at          INTEGER NOT NULL
) STRICT;

-- Ids of deleted VMs, and their history, go in the order in which the VMs went.
CREATE INDEX deleted_vms_deleted_at ON deleted_vms (deleted_at);
CREATE INDEX host_sweeps_at ON host_sweeps (at);

-- The history of VMs that were deleted until then (in microseconds) has gone.
INSERT INTO meta (key, value) VALUES ('history_gone_until', 0);
