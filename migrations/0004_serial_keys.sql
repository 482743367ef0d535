-- Minted serials: one counter and one current key per prefix. Keys are wrapped under the master secret and kept for
-- ever: a printed serial outlives the key's retirement. They belong to every backup, with NODE_SECRET_FILE beside it.

CREATE TABLE serial_key (
    created_at    timestamptz NOT NULL DEFAULT now(),
    first_counter bigint NOT NULL,               -- minted with this key: from here
    until_counter bigint,                        -- to before here; null: the current key
    prefix_id     integer NOT NULL REFERENCES prefix (id),
    letter        text COLLATE "C" NOT NULL CHECK (letter ~ '^[A-Z]$'),
    wrapped       bytea NOT NULL,
    PRIMARY KEY (prefix_id, letter),
    CHECK (first_counter >= 0 AND until_counter >= first_counter)
);
CREATE UNIQUE INDEX serial_key_current ON serial_key (prefix_id) WHERE until_counter IS NULL;

CREATE FUNCTION serial_key_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.until_counter IS NULL
       AND (NEW.prefix_id, NEW.letter, NEW.first_counter) = (OLD.prefix_id, OLD.letter, OLD.first_counter) THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.prefix_id, NEW.letter, NEW.first_counter, NEW.until_counter)
       = (OLD.prefix_id, OLD.letter, OLD.first_counter, OLD.until_counter) THEN
        RETURN NEW;                              -- wrapped again under a newer generation of the master secret
    END IF;
    RAISE EXCEPTION 'serial key % of prefix % is kept for ever', OLD.letter, OLD.prefix_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'serial_key_is_kept';
END $$;
CREATE TRIGGER serial_key_is_kept BEFORE UPDATE OR DELETE ON serial_key
    FOR EACH ROW EXECUTE FUNCTION serial_key_is_kept();

CREATE TABLE serial_counter (
    prefix_id     integer PRIMARY KEY REFERENCES prefix (id),
    issued        bigint NOT NULL DEFAULT 0,     -- the next counter: all below were handed out
    CONSTRAINT serial_counter_capacity CHECK (issued BETWEEN 0 AND 1099511627776)
);
