-- Reference tables: small, read everywhere, changed rarely. On Citus they are copied to every node.

CREATE TABLE registrant (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    credit_code   text NOT NULL,
    name          text NOT NULL,
    industry      text NOT NULL,
    county        text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT registrant_credit_code_key UNIQUE (credit_code)
);

CREATE TABLE prefix (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prefix        text COLLATE "C" NOT NULL,
    registrant_id integer NOT NULL REFERENCES registrant (id),
    home          smallint NOT NULL CHECK (home BETWEEN 0 AND 1023),
    spread        smallint NOT NULL DEFAULT 1 CHECK (spread BETWEEN 1 AND 1024 AND spread & (spread - 1) = 0),
    -- The national enumeration: 0 停用, 1 启用, 2 待删除, 3 被驳回, 4 待审核, 5 审核中.
    status        smallint NOT NULL CHECK (status BETWEEN 0 AND 5),
    used          boolean NOT NULL DEFAULT false,
    allotted_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT prefix_prefix_key UNIQUE (prefix)
);
CREATE INDEX prefix_registrant_idx ON prefix (registrant_id);

-- A handle is found by (home, spread): once the first one is stored, moving either would lose it.
CREATE FUNCTION prefix_layout_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.used AND (NEW.home, NEW.spread, NEW.prefix, NEW.used) IS DISTINCT FROM (OLD.home, OLD.spread, OLD.prefix, true) THEN
        RAISE EXCEPTION 'prefix % has handles: its home shard and spread are fixed', OLD.prefix
            USING ERRCODE = 'check_violation', CONSTRAINT = 'prefix_layout_is_fixed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER prefix_layout_is_fixed BEFORE UPDATE ON prefix
    FOR EACH ROW EXECUTE FUNCTION prefix_layout_is_fixed();

CREATE TABLE template (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code          text NOT NULL,
    version       integer NOT NULL CHECK (version > 0),
    body          bytea NOT NULL,
    digest        bytea NOT NULL,
    published_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT template_code_version_key UNIQUE (code, version)
);

-- Published means immutable: identifiers pin a version (domain.md 5, point 4).
CREATE FUNCTION template_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'template %@% is published and cannot change', OLD.code, OLD.version
        USING ERRCODE = 'check_violation', CONSTRAINT = 'template_is_immutable';
END $$;
CREATE TRIGGER template_is_immutable BEFORE UPDATE OR DELETE ON template
    FOR EACH ROW EXECUTE FUNCTION template_is_immutable();
