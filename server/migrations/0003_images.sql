-- Images kept by the server: names of contents. The contents are files, by digest, beside the
-- database; one is kept while a name or the spec of a VM refers to it.

CREATE TABLE images (
    name        TEXT PRIMARY KEY NOT NULL,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    size_bytes  INTEGER NOT NULL CHECK (size_bytes >= 0),
    kind        TEXT NOT NULL CHECK (kind IN ('KERNEL', 'ROOT', 'INITRD')),
    origin      TEXT NOT NULL,
    guest_agent INTEGER NOT NULL CHECK (guest_agent IN (0, 1)),
    notes       TEXT NOT NULL CHECK (json_valid(notes)),
    created_at  INTEGER NOT NULL,
    created_by  TEXT NOT NULL
) STRICT;
