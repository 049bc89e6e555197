-- How many records of who did what there are: there is a bound, and to count them would take a read of
-- all of them.
INSERT INTO meta (key, value) SELECT 'audit_records', count(*) FROM audit;
