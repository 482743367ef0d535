-- Counting of resolutions and scans. Gathered in the workers' memory and settled each second, each settlement once.

-- A worker numbers its settlements; the last one applied is noted in its own transaction, so that one whose outcome
-- was unknown can be sent again. `taken_at` (the worker's clock): what was counted before it is in the tables.
CREATE TABLE settler (
    worker        uuid NOT NULL,                 -- one life of one worker process
    kind          text COLLATE "C" NOT NULL,     -- 'resolution' or 'scan'
    number        bigint NOT NULL,
    taken_at      timestamptz NOT NULL,
    PRIMARY KEY (worker, kind)
);

-- Per prefix and day of Beijing (UTC+8), as the upper node wants it. prefix_id 0: no prefix of this node, -1: the node.
CREATE TABLE resolution_day (
    low_at        timestamptz NOT NULL,          -- the second of the fastest and of the slowest
    high_at       timestamptz NOT NULL,
    peak_at       timestamptz,
    requests      bigint NOT NULL,
    hits          bigint NOT NULL,
    forged        bigint NOT NULL,               -- look-ups of serials that were never issued
    guessed       bigint NOT NULL,               -- misses that were part of a run of neighbours
    other         bigint NOT NULL,               -- requests from addresses beyond the first 10,000
    total_seconds float8 NOT NULL,
    low_seconds   float8 NOT NULL,
    high_seconds  float8 NOT NULL,
    prefix_id     integer NOT NULL,
    day           date NOT NULL,
    sources       integer NOT NULL DEFAULT 0,    -- rows in resolution_source
    peak          integer NOT NULL DEFAULT 0,    -- most requests in one second, over all workers
    PRIMARY KEY (prefix_id, day)
) WITH (fillfactor = 70);                        -- updated each second: the new version fits beside the old one
CREATE INDEX resolution_day_day_idx ON resolution_day (day);

-- The last seconds, in which a maximum may still grow: summed over the workers before it is taken.
CREATE TABLE resolution_second (
    second        bigint NOT NULL,               -- since the epoch
    prefix_id     integer NOT NULL,
    requests      integer NOT NULL,
    PRIMARY KEY (second, prefix_id)
);

-- Where look-ups came from (personal data): address sealed, grouped by a keyed digest that differs from day to day,
-- deleted 35 days after the day.
CREATE TABLE resolution_source (
    count         bigint NOT NULL,
    day           date NOT NULL,
    prefix_id     integer NOT NULL,
    digest        bytea NOT NULL,
    sealed        bytea NOT NULL,
    PRIMARY KEY (day, prefix_id, digest)
) WITH (fillfactor = 90);

-- Sharded, beside the handles: what was scanned, how often, when and where first.
CREATE TABLE scan (
    first_at      timestamptz,                   -- null while only the enterprise's own scanners were there
    last_at       timestamptz NOT NULL,
    spot_at       timestamptz,                   -- of the last scan with a place
    count         bigint NOT NULL,
    own           bigint NOT NULL,               -- by the enterprise's own scanners, apart from count
    early         bigint NOT NULL,               -- while not shipped or void
    travels       integer NOT NULL DEFAULT 0,    -- pairs of scans that no carton can have travelled between
    spot_lat      real NOT NULL DEFAULT 0,
    spot_lon      real NOT NULL DEFAULT 0,
    prefix_id     integer NOT NULL,
    shard         smallint NOT NULL,
    suffix        text COLLATE "C" NOT NULL,
    first_place   text NOT NULL DEFAULT '',
    devices       bytea NOT NULL DEFAULT '',     -- sketch: see node/sketch.py
    PRIMARY KEY (shard, prefix_id, suffix)
) WITH (fillfactor = 80);

-- Sharded like the item it is about. A row for each claim that was used and each device that was counted on an item,
-- under a keyed digest of (device, item); kept for eleven minutes, as long as either can come again.
CREATE TABLE scan_mark (
    at            float8 NOT NULL,               -- seconds since the epoch
    shard         smallint NOT NULL,
    mark          bytea NOT NULL,
    PRIMARY KEY (shard, mark)
);
CREATE INDEX scan_mark_at_idx ON scan_mark (at);

-- Devices that an enterprise registered as its own.
CREATE TABLE scanner (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at    timestamptz NOT NULL DEFAULT now(),
    revoked_at    timestamptz,
    registrant_id integer NOT NULL,
    name          text NOT NULL
);
CREATE INDEX scanner_registrant_idx ON scanner (registrant_id);

-- What looks copied: few, written only when a score changes.
CREATE TABLE suspicion (
    since         timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    prefix_id     integer NOT NULL,
    score         smallint NOT NULL,             -- 0..100
    alarmed       smallint NOT NULL DEFAULT 0,   -- the score of the last alarm
    kind          text COLLATE "C" NOT NULL CHECK (kind IN ('item', 'lot', 'prefix')),
    suffix        text COLLATE "C" NOT NULL,     -- for a prefix the day
    lot           text COLLATE "C" NOT NULL,     -- of an item, '' for none
    reasons       bytea NOT NULL,                -- JSON: [{code, zh, en, weight}]
    PRIMARY KEY (prefix_id, kind, suffix)
);
CREATE INDEX suspicion_lot_idx ON suspicion (prefix_id, lot) WHERE kind = 'item';
