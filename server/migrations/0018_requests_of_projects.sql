-- The project that was all that whoever asked for a change saw (empty: they saw the fleet, or asked
-- before this was kept): of what is gone nobody else is told by a repetition that it was.
ALTER TABLE requests ADD COLUMN project TEXT NOT NULL DEFAULT '';
