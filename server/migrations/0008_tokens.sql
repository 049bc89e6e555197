-- Tokens of callers that were made by calls.
CREATE TABLE tokens (
    id           TEXT PRIMARY KEY NOT NULL,
    -- Of the whole text: the text itself is nowhere.
    sha256       BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    name         TEXT NOT NULL UNIQUE,
    role         TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created_by   TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;
