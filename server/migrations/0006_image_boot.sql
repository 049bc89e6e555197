-- What a root file system is booted with where a spec names no kernel: a JSON object, or none.
ALTER TABLE images ADD COLUMN boot TEXT CHECK (boot IS NULL OR json_valid(boot));
