-- What a change did to other objects than its own: tokens that went along with the one that was taken
-- back, or that were kept, have a record each, which names that one as its cause.
ALTER TABLE audit ADD COLUMN effect TEXT NOT NULL DEFAULT ''
    CHECK (effect IN ('', 'WENT_ALONG', 'KEPT'));
ALTER TABLE audit ADD COLUMN cause_kind TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN cause_id TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN cause_name TEXT NOT NULL DEFAULT '';
