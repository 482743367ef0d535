-- What every write touches stays a local table of the coordinator.

CREATE TABLE application (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    credit_code   text NOT NULL,
    name          text NOT NULL,
    industry      text NOT NULL,
    county        text NOT NULL,
    contact       bytea NOT NULL,                -- sealed: person, phone, email
    status        smallint NOT NULL DEFAULT 4 CHECK (status IN (1, 3, 4, 5)),
    reason        text NOT NULL DEFAULT '',
    decided_by    text NOT NULL DEFAULT '',
    decided_at    timestamptz,
    registrant_id integer,
    prefix        text,
    created_at    timestamptz NOT NULL DEFAULT now()
);
-- One application of an enterprise at a time; a decided one does not stand in the way of a second prefix.
CREATE UNIQUE INDEX application_open_key ON application (credit_code) WHERE status IN (4, 5);

CREATE TABLE prefix_number (
    node_prefix   text PRIMARY KEY,              -- issuer.node, e.g. 88.999
    next_number   bigint NOT NULL
);

CREATE TABLE api_key (
    id            text COLLATE "C" PRIMARY KEY,  -- the public part of the key
    registrant_id integer NOT NULL,
    name          text NOT NULL DEFAULT '',
    digest        bytea NOT NULL,                -- HMAC-SHA256 of the secret under the node's pepper
    generation    smallint NOT NULL,             -- of the master secret
    scopes        text[] NOT NULL,
    networks      cidr[] NOT NULL DEFAULT '{}',  -- empty: any address
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz
);
CREATE INDEX api_key_registrant_idx ON api_key (registrant_id);

CREATE TABLE operator (
    login         text PRIMARY KEY,
    password_hash text NOT NULL,                 -- argon2id
    role          text NOT NULL CHECK (role IN ('reviewer', 'auditor', 'admin')),
    failures      integer NOT NULL DEFAULT 0,
    locked_until  timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE operator_session (
    digest        bytea PRIMARY KEY,             -- of the token
    login         text NOT NULL REFERENCES operator (login) ON DELETE CASCADE,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL
);

-- Registrations are counted by inserting, so that concurrent writers do not queue on one row;
-- the deltas are folded into the totals each second.
CREATE TABLE registration_delta (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prefix_id     integer NOT NULL,
    day           date NOT NULL,
    created       bigint NOT NULL,
    deleted       bigint NOT NULL
);
CREATE TABLE registration_count (
    prefix_id     integer NOT NULL,
    day           date NOT NULL,
    created       bigint NOT NULL,
    deleted       bigint NOT NULL,
    PRIMARY KEY (prefix_id, day)
);

CREATE TABLE idempotency (
    scope         text NOT NULL,                 -- "registrant:<id>", "operator:<login>" or "anonymous"
    key           text NOT NULL,
    method        text NOT NULL,
    path          text NOT NULL,
    digest        bytea NOT NULL,                -- SHA-256 of the body
    status        smallint NOT NULL DEFAULT 0,
    body          bytea,                         -- null where the answer holds a secret
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key, method, path)
);
CREATE INDEX idempotency_created_idx ON idempotency (created_at);

CREATE TABLE outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic         text NOT NULL,                 -- "forget": cache keys to drop
    body          bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);

-- Append-only, chained: hash = SHA-256(previous hash, canonical entry).
CREATE TABLE audit (
    id            bigint PRIMARY KEY,
    at            timestamptz NOT NULL,
    actor         text NOT NULL,
    action        text NOT NULL,
    object        text NOT NULL,
    detail        bytea NOT NULL,                -- canonical JSON, no secrets, no personal data
    previous      bytea NOT NULL,
    hash          bytea NOT NULL
);
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();

CREATE TABLE cache_fence (
    single        boolean PRIMARY KEY DEFAULT true CHECK (single),
    epoch         bigint NOT NULL DEFAULT 1,
    enabled       boolean NOT NULL DEFAULT true,
    changed_at    timestamptz NOT NULL DEFAULT now()
);
INSERT INTO cache_fence DEFAULT VALUES;
