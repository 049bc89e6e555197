-- Sweeps of hosts that somebody asked for: who, when, and what came of it. The newest of each host.
-- No reference to hosts: it outlives them.
CREATE TABLE host_sweeps (
    id      TEXT PRIMARY KEY NOT NULL,
    host    TEXT NOT NULL,
    at      INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    removed INTEGER NOT NULL,
    kept    INTEGER NOT NULL,
    failed  INTEGER NOT NULL,
    message TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX host_sweeps_host ON host_sweeps (host, at);
