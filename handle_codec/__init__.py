"""All that can be known of a code without asking a database. `IMPLEMENTATION` says which twin is in use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from handle_codec.pure import InvalidHandle

if TYPE_CHECKING or os.environ.get("HANDLE_CODEC_PURE"):
    from handle_codec.pure import hash64, is_prefix, is_reserved, normalise, parse, parse_issued, shard_of, shards_of

    IMPLEMENTATION = "pure"
else:
    try:
        from handle_codec._speed import (
            hash64,
            is_prefix,
            is_reserved,
            normalise,
            parse,
            parse_issued,
            shard_of,
            shards_of,
        )

        IMPLEMENTATION = "compiled"
    except ImportError:
        from handle_codec.pure import (
            hash64,
            is_prefix,
            is_reserved,
            normalise,
            parse,
            parse_issued,
            shard_of,
            shards_of,
        )

        IMPLEMENTATION = "pure"

__all__ = [
    "IMPLEMENTATION",
    "InvalidHandle",
    "hash64",
    "is_prefix",
    "is_reserved",
    "normalise",
    "parse",
    "parse_issued",
    "shard_of",
    "shards_of",
]
