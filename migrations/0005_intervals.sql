-- Runs of minted serials, and their states. All intervals of a prefix lie in its home shard.

-- One minting: what was handed to a printer, and can be streamed to it again.
CREATE TABLE serial_run (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    minted_at     timestamptz NOT NULL DEFAULT now(),
    first_counter bigint NOT NULL,
    last_counter  bigint NOT NULL,
    prefix_id     integer NOT NULL REFERENCES prefix (id),
    letter        text COLLATE "C" NOT NULL,     -- of the key
    lot           text COLLATE "C" NOT NULL,
    actor         text NOT NULL,
    CHECK (0 <= first_counter AND first_counter <= last_counter)
);
CREATE INDEX serial_run_lot_idx ON serial_run (prefix_id, lot);

-- A run begins as one interval; activating, voiding or recalling a part splits it.
ALTER TABLE serial_interval
    ADD COLUMN run_id  bigint NOT NULL DEFAULT 0,
    ADD COLUMN counted boolean NOT NULL DEFAULT false; -- its serials are registered: once activated, for ever

-- Serials that have a row of their own: all others are rowless, and their interval says the rest.
CREATE TABLE serial_item (
    counter       bigint NOT NULL,
    prefix_id     integer NOT NULL,
    shard         smallint NOT NULL,             -- the prefix's home, beside its intervals
    PRIMARY KEY (shard, prefix_id, counter)
);

-- How many of the registered have no row: up when an interval is activated, down when one of its serials gets a row.
ALTER TABLE registration_delta ADD COLUMN rowless bigint NOT NULL DEFAULT 0;
ALTER TABLE registration_count ADD COLUMN rowless bigint NOT NULL DEFAULT 0;
