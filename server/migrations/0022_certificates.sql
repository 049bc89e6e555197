-- The certificate that is offered to a host's agent, and the key before the present one. Both keys
-- of an offer are good until the agent has shown the new one.
ALTER TABLE hosts ADD COLUMN next_key_sha256 BLOB CHECK (length(next_key_sha256) = 32);
ALTER TABLE hosts ADD COLUMN next_certificate_expires_at INTEGER
    CHECK ((next_certificate_expires_at IS NULL) = (next_key_sha256 IS NULL));
ALTER TABLE hosts ADD COLUMN next_certificate_made_at INTEGER
    CHECK ((next_certificate_made_at IS NULL) = (next_key_sha256 IS NULL));
-- When the present certificate was made, by the server's clock of then; null: not kept.
ALTER TABLE hosts ADD COLUMN certificate_made_at INTEGER;
ALTER TABLE hosts ADD COLUMN renewed_from_sha256 BLOB CHECK (length(renewed_from_sha256) = 32);
-- The id of the token that it joined with last: whatever key it has had since came by renewals.
-- Null: not kept.
ALTER TABLE hosts ADD COLUMN joined_by TEXT;
-- Of the CA that signed the present certificate, and the offered one; null: of the first.
ALTER TABLE hosts ADD COLUMN ca_sha256 BLOB CHECK (length(ca_sha256) = 32);
ALTER TABLE hosts ADD COLUMN next_ca_sha256 BLOB CHECK (length(next_ca_sha256) = 32);
-- Who shut a host out, when and why; all of them or none.
ALTER TABLE hosts ADD COLUMN revoked_at INTEGER;
ALTER TABLE hosts ADD COLUMN revoked_by TEXT CHECK ((revoked_by IS NULL) = (revoked_at IS NULL));
ALTER TABLE hosts ADD COLUMN revoked_reason TEXT
    CHECK ((revoked_reason IS NULL) = (revoked_at IS NULL));

-- Keys of agents that are good for no host any more, whatever becomes of the host that had them.
CREATE TABLE revoked_keys (
    key_sha256 BLOB PRIMARY KEY CHECK (length(key_sha256) = 32),
    -- Whose it was.
    host_id TEXT NOT NULL,
    host_name TEXT NOT NULL,
    revoked_at INTEGER NOT NULL
) STRICT;
