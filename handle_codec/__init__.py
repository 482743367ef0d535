"""All that can be known of a code without asking a database. `IMPLEMENTATION` says which twin is in use."""

from handle_codec.columns import NO_SHARD, NONE, Columns
from handle_codec.errors import InvalidCode, InvalidHandle
from handle_codec.national import is_credit_code
from handle_codec.schemes import Candidate, recognise
from handle_codec.serials import (
    FAMILIES,
    SerialKey,
    with_check_character,
    without_check_character,
)
from handle_codec.twin import (
    IMPLEMENTATION,
    fold_serial,
    gtin14,
    hash64,
    is_prefix,
    is_reserved,
    is_serial,
    normalise,
    normalise_batch,
    parse,
    parse_batch,
    parse_digital_link,
    parse_elements,
    parse_issued,
    shard_batch,
    shard_of,
    shards_of,
)

__all__ = [
    "FAMILIES",
    "IMPLEMENTATION",
    "NONE",
    "NO_SHARD",
    "Candidate",
    "Columns",
    "InvalidCode",
    "InvalidHandle",
    "SerialKey",
    "fold_serial",
    "gtin14",
    "hash64",
    "is_credit_code",
    "is_prefix",
    "is_reserved",
    "is_serial",
    "normalise",
    "normalise_batch",
    "parse",
    "parse_batch",
    "parse_digital_link",
    "parse_elements",
    "parse_issued",
    "recognise",
    "shard_batch",
    "shard_of",
    "shards_of",
    "with_check_character",
    "without_check_character",
]
