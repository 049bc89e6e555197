-- Of which project whoever did it was a caller (empty: of the whole fleet). What the callers of each
-- have in the audit is counted with what is written and with what goes, so that no project fills it.
ALTER TABLE audit ADD COLUMN project TEXT NOT NULL DEFAULT '';

CREATE TABLE audit_shares (
    project TEXT PRIMARY KEY NOT NULL,
    records INTEGER NOT NULL CHECK (records >= 0)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER audit_share_grows AFTER INSERT ON audit
WHEN NEW.project <> '' AND NEW.step IN ('DONE', 'BEGAN', 'ENDED')
BEGIN
    INSERT INTO audit_shares (project, records) VALUES (NEW.project, 1)
    ON CONFLICT (project) DO UPDATE SET records = records + 1;
END;

CREATE TRIGGER audit_share_shrinks AFTER DELETE ON audit
WHEN OLD.project <> '' AND OLD.step IN ('DONE', 'BEGAN', 'ENDED')
BEGIN
    UPDATE audit_shares SET records = records - 1 WHERE project = OLD.project;
    DELETE FROM audit_shares WHERE project = OLD.project AND records = 0;
END;
