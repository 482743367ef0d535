-- Imports of any size, in chunks. A chunk's record commits with its rows: what died before it is done again,
-- what died after it is answered as before. Coordinator tables.

CREATE TABLE import (
    id            text COLLATE "C" PRIMARY KEY,
    created_at    timestamptz NOT NULL DEFAULT now(),
    committed_at  timestamptz,
    registrant_id integer NOT NULL,
    name          text NOT NULL,
    prefix        text COLLATE "C" NOT NULL,     -- for rows that give a suffix only; '' for none
    template      text NOT NULL,                 -- for rows that name none
    lot           text COLLATE "C" NOT NULL,
    check_only    boolean NOT NULL,
    atomic        boolean NOT NULL,
    staging       boolean NOT NULL DEFAULT false,-- a chunk met what was there: COPY straight in is not tried again
    actor         text NOT NULL
);
CREATE INDEX import_registrant_idx ON import (registrant_id, created_at);

CREATE TABLE import_chunk (
    import_id     text COLLATE "C" NOT NULL REFERENCES import (id),
    done_at       timestamptz NOT NULL DEFAULT now(),
    number        integer NOT NULL CHECK (number >= 0),
    rows          integer NOT NULL DEFAULT 0,
    created       integer NOT NULL DEFAULT 0,
    unchanged     integer NOT NULL DEFAULT 0,
    conflict      integer NOT NULL DEFAULT 0,
    rejected      integer NOT NULL DEFAULT 0,
    digest        bytea NOT NULL,                -- SHA-256 of the body as it was sent, inflated
    body          bytea,                         -- of an atomic import, until it is committed
    PRIMARY KEY (import_id, number)
);

CREATE TABLE import_error (
    import_id     text COLLATE "C" NOT NULL REFERENCES import (id),
    chunk         integer NOT NULL,
    row           integer NOT NULL,              -- 0-based within the chunk
    position      integer NOT NULL,              -- of the error within the row
    outcome       text NOT NULL,                 -- conflict or rejected
    handle        text NOT NULL,
    field         text NOT NULL,
    code          text NOT NULL,
    detail        text NOT NULL,
    PRIMARY KEY (import_id, chunk, row, position)
);
