-- Hosts that enterprises prove, alarms about their goods, and the webhooks that alarms are pushed to. Coordinator tables,
-- with no foreign key to the reference tables, as the others have none.

CREATE TABLE host (
    registrant_id integer NOT NULL,
    host          text COLLATE "C" NOT NULL,     -- punycode, lower case, no trailing dot
    token         text NOT NULL,                 -- published in DNS or a file by its owner: no secret
    state         smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 2), -- 0 pending, 1 proved, 2 lapsed
    method        text NOT NULL DEFAULT '',      -- dns or file: where the token was found last
    claimed_at    timestamptz NOT NULL DEFAULT now(),
    proved_at     timestamptz,
    checked_at    timestamptz,
    failing_since timestamptz,                   -- first failed check since the last good one
    failures      integer NOT NULL DEFAULT 0,    -- failed checks since then
    last_error    text NOT NULL DEFAULT '',
    next_at       timestamptz,                   -- of the next check; null unless proved
    PRIMARY KEY (registrant_id, host)            -- one host may be proved by several enterprises, each by its own token
);
CREATE INDEX host_next_idx ON host (next_at) WHERE next_at IS NOT NULL;

-- Checks that an enterprise asked for in this hour: each makes the node send requests to a host of its choice.
CREATE TABLE host_check (
    registrant_id integer PRIMARY KEY,
    hour          timestamptz NOT NULL,
    checks        integer NOT NULL
);

CREATE SEQUENCE alarm_seq;
CREATE TABLE alarm (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    registrant_id    integer NOT NULL,
    seq              bigint NOT NULL DEFAULT nextval('alarm_seq'), -- moves on whenever there is something new to tell
    prefix           text COLLATE "C" NOT NULL,
    subject          text COLLATE "C" NOT NULL,  -- the handle of an item or a lot, or the prefix itself
    kind             text NOT NULL,
    score            smallint NOT NULL CHECK (score BETWEEN 0 AND 100),
    told_score       smallint NOT NULL,          -- the score when it was told last
    count            bigint NOT NULL,
    reasons          bytea NOT NULL,             -- JSON: [{"code", "zh", "en"}]
    first_at         timestamptz NOT NULL,
    last_at          timestamptz NOT NULL,
    acknowledged_at  timestamptz,
    acknowledged_by  text NOT NULL DEFAULT '',
    CONSTRAINT alarm_subject_key UNIQUE (registrant_id, subject, kind)
);
CREATE INDEX alarm_seq_idx ON alarm (registrant_id, seq);

CREATE TABLE webhook (
    registrant_id integer PRIMARY KEY,
    url           text NOT NULL,
    host          text COLLATE "C" NOT NULL,
    secret        bytea NOT NULL,                -- sealed
    lease         bigint NOT NULL DEFAULT 0,     -- who took it after this number was read has it now
    next_at       timestamptz NOT NULL DEFAULT now(), -- nobody delivers before: leased, or pausing after a failure
    failures      integer NOT NULL DEFAULT 0,    -- in a row
    slow          boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    delivered_at  timestamptz,
    failed_at     timestamptz,
    last_error    text NOT NULL DEFAULT ''
);

CREATE TABLE webhook_delivery (
    id            text COLLATE "C" PRIMARY KEY,  -- made with the alarm, the same at every try
    registrant_id integer NOT NULL REFERENCES webhook (registrant_id) ON DELETE CASCADE,
    body          bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    next_at       timestamptz NOT NULL DEFAULT now(),
    attempts      integer NOT NULL DEFAULT 0,
    last_error    text NOT NULL DEFAULT '',
    parked_at     timestamptz
);
CREATE INDEX webhook_delivery_next_idx ON webhook_delivery (registrant_id, next_at) WHERE parked_at IS NULL;
CREATE INDEX webhook_delivery_parked_idx ON webhook_delivery (registrant_id, created_at) WHERE parked_at IS NOT NULL;
