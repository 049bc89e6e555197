-- What else of a project has a quota (0: nothing bounds that, or what the server is set to).
ALTER TABLE projects ADD COLUMN quota_image_mib INTEGER NOT NULL DEFAULT 0
    CHECK (quota_image_mib >= 0);
ALTER TABLE projects ADD COLUMN quota_watches INTEGER NOT NULL DEFAULT 0
    CHECK (quota_watches >= 0);
ALTER TABLE projects ADD COLUMN quota_streams INTEGER NOT NULL DEFAULT 0
    CHECK (quota_streams >= 0);
ALTER TABLE projects ADD COLUMN quota_calls_per_second INTEGER NOT NULL DEFAULT 0
    CHECK (quota_calls_per_second >= 0);

-- Whose requests are remembered: a principal of the fleet, or all of a project (its name and a
-- slash); empty: nobody's any more, or from before this was kept. How many there are of each is
-- counted with what is written and with what goes, so that nobody's fill the table.
ALTER TABLE requests ADD COLUMN party TEXT NOT NULL DEFAULT '';

CREATE TABLE request_shares (
    party TEXT PRIMARY KEY NOT NULL,
    requests INTEGER NOT NULL CHECK (requests >= 0)
) STRICT, WITHOUT ROWID;

INSERT INTO request_shares (party, requests)
SELECT '', (SELECT count(*) FROM requests) WHERE EXISTS (SELECT 1 FROM requests);

-- What was asked for in a project that goes is found without a look at all of them.
CREATE INDEX requests_of_projects ON requests (project) WHERE project <> '';

CREATE TRIGGER request_share_grows AFTER INSERT ON requests
BEGIN
    INSERT INTO request_shares (party, requests) VALUES (NEW.party, 1)
    ON CONFLICT (party) DO UPDATE SET requests = requests + 1;
END;

CREATE TRIGGER request_share_moves AFTER UPDATE OF party ON requests
WHEN NEW.party <> OLD.party
BEGIN
    INSERT INTO request_shares (party, requests) VALUES (NEW.party, 1)
    ON CONFLICT (party) DO UPDATE SET requests = requests + 1;
    UPDATE request_shares SET requests = requests - 1 WHERE party = OLD.party;
    DELETE FROM request_shares WHERE party = OLD.party AND requests = 0;
END;

CREATE TRIGGER request_share_shrinks AFTER DELETE ON requests
BEGIN
    UPDATE request_shares SET requests = requests - 1 WHERE party = OLD.party;
    DELETE FROM request_shares WHERE party = OLD.party AND requests = 0;
END;
