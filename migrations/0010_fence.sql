-- The fence of the cache: which generation (epoch) of its entries may be trusted, and by which server they are held.

ALTER TABLE cache_fence ADD COLUMN server text NOT NULL DEFAULT ''; -- run_id of the Valkey that the epoch belongs to
UPDATE cache_fence SET enabled = false; -- until a worker has seen who answers

-- What entries were made from besides their own row: lots (l:), prefixes (p:), rings of serial keys (k:). A change
-- leaves its number here; workers read what is new with each poll. `changed_in` orders by visibility: whatever was not
-- visible to a snapshot has a transaction id at or above that snapshot's xmin.
CREATE SEQUENCE cache_dependent_stamp;
CREATE TABLE cache_dependent (
    stamp         bigint NOT NULL,
    changed_in    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    changed_at    timestamptz NOT NULL DEFAULT now(),
    name          text COLLATE "C" PRIMARY KEY
);
CREATE INDEX cache_dependent_changed_idx ON cache_dependent (changed_in);

-- A worker that cannot reach Valkey says so each second: nobody opens the cache again meanwhile.
CREATE TABLE cache_objection (
    at            timestamptz NOT NULL,
    worker        text PRIMARY KEY
);

-- The fence as it stands at this commit: the shared lock keeps a change of it out until the transaction has ended.
-- plpgsql, because each statement of a volatile function has a snapshot of its own, here one taken after the lock.
-- age: seconds since the fence changed; 0 where whoever changes it has not yet said when.
CREATE FUNCTION fence_hold(OUT epoch bigint, OUT enabled boolean, OUT age float8) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(880002);
    SELECT f.epoch, f.enabled,
           CASE WHEN f.changed_at = 'infinity' THEN 0
                ELSE extract(epoch FROM clock_timestamp() - f.changed_at) END
      INTO epoch, enabled, age FROM cache_fence f;
END $$;
