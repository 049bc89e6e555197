-- A failure that comes again and again is one line: how often, and when last (null: once, at `at`).
ALTER TABLE vm_events ADD COLUMN times INTEGER NOT NULL DEFAULT 1 CHECK (times > 0);
ALTER TABLE vm_events ADD COLUMN last_at INTEGER;

-- A VM that is gone is asked for by its name.
CREATE INDEX deleted_vms_name ON deleted_vms (name, deleted_at);
