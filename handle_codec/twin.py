"""Picks the compiled or the pure twin. `IMPLEMENTATION` says which; HANDLE_CODEC_PURE=1 asks for the pure one."""

# ruff: noqa: F403, F405 (star imports: each twin names its functions once, in __all__)

from __future__ import annotations

import os
from typing import TYPE_CHECKING

__all__ = [
    "IMPLEMENTATION",
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

if TYPE_CHECKING or os.environ.get("HANDLE_CODEC_PURE"):
    from handle_codec.pure import *

    IMPLEMENTATION = "pure"
else:
    try:
        from handle_codec._speed import *

        IMPLEMENTATION = "compiled"
    except ImportError:
        from handle_codec.pure import *

        IMPLEMENTATION = "pure"
