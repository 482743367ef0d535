"""The codec's specification, in Python. `_speed.pyx` is the same, compiled; tests hold the two equal.

A package, not one file: handles, shards, batches, GS1 and the rounds of minted serials are a room each.
"""

from handle_codec.pure.batch import normalise_batch, parse_batch, shard_batch
from handle_codec.pure.contents import restore_content, shorten_content
from handle_codec.pure.ff1 import fold_serial, is_serial, mint_lines, open_lines, open_serial
from handle_codec.pure.gs1 import gtin14, parse_digital_link, parse_elements
from handle_codec.pure.handles import is_prefix, is_reserved, normalise, parse, parse_issued
from handle_codec.pure.row_copy import copy_rows, sort_rows
from handle_codec.pure.row_lots import line_count, lots_named
from handle_codec.pure.rows import decode_rows
from handle_codec.pure.shards import hash64, shard_of, shards_of

__all__ = [
    "copy_rows",
    "decode_rows",
    "fold_serial",
    "gtin14",
    "hash64",
    "is_prefix",
    "is_reserved",
    "is_serial",
    "line_count",
    "lots_named",
    "mint_lines",
    "normalise",
    "normalise_batch",
    "open_lines",
    "open_serial",
    "parse",
    "parse_batch",
    "parse_digital_link",
    "parse_elements",
    "parse_issued",
    "restore_content",
    "shard_batch",
    "shard_of",
    "shards_of",
    "shorten_content",
    "sort_rows",
]
