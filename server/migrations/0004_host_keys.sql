-- The key that a host's agent joined with last: an agent that shows another is not the host's. Not
-- known of hosts that joined before, unless all tokens that are kept of them were used by one key.
ALTER TABLE hosts ADD COLUMN key_sha256 BLOB CHECK (length(key_sha256) = 32);

UPDATE hosts SET key_sha256 = (
    SELECT min(used_key) FROM join_tokens WHERE used_by = hosts.id
    HAVING count(DISTINCT used_key) = 1);

-- The labels that a host gets by the token.
ALTER TABLE join_tokens ADD COLUMN labels TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(labels));
