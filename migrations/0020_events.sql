-- Events as they were given, once each however many handles they name: a pallet of a thousand cartons is one
-- document and a thousand rows of `event`. Events from before have no document: sent again, they count as new and change
-- nothing (no released version stored any). Sharded by the hash of their id, which is one in an enterprise.
CREATE TABLE event_document (
    event_time    timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    registrant_id integer NOT NULL,
    shard         smallint NOT NULL,
    declaration   boolean NOT NULL DEFAULT false, -- says of the event of the same id that it is wrong
    event_id      text COLLATE "C" NOT NULL,
    digest        bytea NOT NULL,                 -- SHA-256 of what must be the same when it is sent again
    content       bytea NOT NULL,                 -- canonical JSON, handles as prefix/suffix
    actor         text NOT NULL,
    PRIMARY KEY (shard, registrant_id, event_id, declaration)
);

-- role: how the handle takes part: epc, class, parent, child, quantity, input, output; `emptied` where everything left
-- the parent; `declaration` where `corrects` names the event withdrawn. parent: prefix/suffix of what a child was put
-- into or taken from, and of the emptied parent itself.
ALTER TABLE event ADD COLUMN role text NOT NULL DEFAULT '',
                  ADD COLUMN parent text COLLATE "C" NOT NULL DEFAULT '';

-- Most events withdraw nothing and hold nothing: these stay small.
CREATE INDEX event_withdrawn ON event (shard, prefix_id, suffix, corrects) WHERE corrects <> '';
CREATE INDEX event_contained ON event (shard, prefix_id, suffix) WHERE parent <> '';
