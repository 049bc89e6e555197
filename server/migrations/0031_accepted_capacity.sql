-- How much of what a host says that it has counts at most, as JSON objects with the fields `vcpus`,
-- `memory_mib`, `disk_mib` and `guests`, each of which may be missing; null: nothing was said.
-- By an operator:
ALTER TABLE hosts ADD COLUMN accepted_capacity TEXT;
-- By the host, first. A host that joined before is taken at its word once more, and then no more.
ALTER TABLE hosts ADD COLUMN first_capacity TEXT;
-- What a host that joins with the token gets.
ALTER TABLE join_tokens ADD COLUMN accepted_capacity TEXT;
