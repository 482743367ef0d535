-- Which items a lot has. Partial and deduplicated: about 8 bytes an item.
CREATE INDEX handle_lot_idx ON handle (shard, prefix_id, lot) WHERE lot <> '';
