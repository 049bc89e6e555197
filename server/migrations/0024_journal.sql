-- Which VMs and hosts each commit has made and taken away, the newest of them, so that streams resume
-- over a restart of the server. The revisions before and after a commit are known once it is published,
-- and written by whatever is written next: until then `before` is a lower bound and `after` is null.
CREATE TABLE journal (
    commit_number INTEGER PRIMARY KEY,
    before        INTEGER NOT NULL,
    after         INTEGER CHECK (after > before),
    -- An array of [what, id, name, project].
    entries       TEXT NOT NULL CHECK (json_valid(entries))
) STRICT;

-- Streams resume after this revision or a later one: of before there is no journal.
INSERT INTO meta (key, value)
    SELECT 'resume_floor', value + 1 FROM meta WHERE key = 'revision_ceiling';
-- The first revision of the present epoch.
INSERT INTO meta (key, value) VALUES ('epoch_floor', 0);
