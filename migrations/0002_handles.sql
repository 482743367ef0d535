-- Sharded tables: every statement on them names the shard; no foreign key, trigger or UNIQUE leaves it.
-- Columns stand widest first and none is null: no padding between them and no null bitmap
-- (with one null among 13 columns the row header grows from 24 to 32 bytes).

CREATE TABLE handle (
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    prefix_id     integer NOT NULL,
    template_id   integer NOT NULL DEFAULT 0,
    version       integer NOT NULL DEFAULT 1,
    shard         smallint NOT NULL,
    kind          smallint NOT NULL DEFAULT 0,   -- 0 item, 1 lot
    status        smallint NOT NULL DEFAULT 1,   -- 1 active, 2 void, 3 recalled, 9 tombstone
    suffix        text COLLATE "C" NOT NULL,
    lot           text COLLATE "C" NOT NULL DEFAULT '',
    values        bytea NOT NULL DEFAULT '',     -- canonical JSON of the handle's own content
    reason        text NOT NULL DEFAULT '',      -- of a tombstone, a recall or a void
    successor     text NOT NULL DEFAULT '',
    PRIMARY KEY (shard, prefix_id, suffix)
);

-- The version that a change replaced. First registrations are not history.
CREATE TABLE handle_history (
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    replaced_at   timestamptz NOT NULL DEFAULT now(),
    prefix_id     integer NOT NULL,
    template_id   integer NOT NULL,
    version       integer NOT NULL,
    shard         smallint NOT NULL,
    kind          smallint NOT NULL,
    status        smallint NOT NULL,
    suffix        text COLLATE "C" NOT NULL,
    lot           text COLLATE "C" NOT NULL,
    values        bytea NOT NULL,
    reason        text NOT NULL,
    successor     text NOT NULL,
    actor         text NOT NULL,
    PRIMARY KEY (shard, prefix_id, suffix, version)
);

-- Trace events in EPCIS 2.0 words; append-only, an error is declared by a later event.
CREATE TABLE event (
    event_time    timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    prefix_id     integer NOT NULL,
    shard         smallint NOT NULL,
    suffix        text COLLATE "C" NOT NULL,
    event_id      text COLLATE "C" NOT NULL,
    event_type    text NOT NULL,
    action        text NOT NULL,
    biz_step      text NOT NULL,
    disposition   text NOT NULL,
    read_point    text NOT NULL,
    biz_location  text NOT NULL,
    corrects      text COLLATE "C" NOT NULL DEFAULT '',
    actor         text NOT NULL,
    body          bytea NOT NULL,
    PRIMARY KEY (shard, prefix_id, suffix, event_id)
);

-- Runs of serials that share a lot and a state. Minting comes with the serials; the table is their place.
CREATE TABLE serial_interval (
    since         timestamptz NOT NULL DEFAULT now(),
    first_counter bigint NOT NULL,
    last_counter  bigint NOT NULL,
    prefix_id     integer NOT NULL,
    shard         smallint NOT NULL,
    state         smallint NOT NULL,             -- 0 reserved, 1 activated, 2 void, 3 recalled
    lot           text COLLATE "C" NOT NULL,
    reason        text NOT NULL DEFAULT '',
    actor         text NOT NULL,
    PRIMARY KEY (shard, prefix_id, first_counter),
    CHECK (first_counter <= last_counter)
);
