-- The content of a row may stand in its stored form, which handle_codec/pure/contents.py describes: it begins with 0x01,
-- JSON with {. Rows that are there stay as they are. Code from before this number reads JSON alone; it refuses to start
-- on a database that has this number.
COMMENT ON COLUMN handle.values IS 'canonical content: JSON, or the stored form of handle_codec/pure/contents.py';
COMMENT ON COLUMN handle_history.values IS 'as handle.values';
