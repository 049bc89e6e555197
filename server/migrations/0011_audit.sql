-- Who did what: apart from the history of VMs, written with what was done, never changed.
CREATE TABLE audit (
    -- Never given out twice, also when the newest is gone.
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    step        TEXT NOT NULL
        CHECK (step IN ('DONE', 'BEGAN', 'ENDED', 'REFUSED', 'LEFT_OUT')),
    principal   TEXT NOT NULL,
    token_id    TEXT NOT NULL,
    peer        TEXT NOT NULL,
    method      TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id   TEXT NOT NULL,
    object_name TEXT NOT NULL,
    code        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    trace_id    TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    call_id     TEXT NOT NULL,
    left_out    INTEGER NOT NULL CHECK (left_out >= 0)
) STRICT;

-- Strangers make these: there is a bound on their number.
CREATE INDEX audit_refused ON audit (number) WHERE step = 'REFUSED';

CREATE TRIGGER audit_is_only_appended_to BEFORE UPDATE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit is only appended to');
END;
