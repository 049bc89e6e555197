-- Refused calls of strangers have a bound of their own, so that they push out nobody who is known.
DROP INDEX audit_refused;
CREATE INDEX audit_refused_strangers ON audit (number)
    WHERE step IN ('REFUSED', 'LEFT_OUT') AND principal IN ('anonymous', 'local');
CREATE INDEX audit_refused_known ON audit (number)
    WHERE step IN ('REFUSED', 'LEFT_OUT') AND principal NOT IN ('anonymous', 'local');
