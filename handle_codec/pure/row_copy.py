"""Sure rows in the order of their key, and as PostgreSQL's binary COPY for table `handle` (0002_handles.sql)."""

from __future__ import annotations

import struct
from array import array
from itertools import pairwise

from handle_codec.columns import RowBatch
from handle_codec.pure.contents import shorten_content

_ROW = struct.Struct(">h iqiqiiiiii ih ih ih")  # up to the first column without a fixed length
_SIZE = struct.Struct(">i")
_FIELDS = 13
_ITEM, _ACTIVE, _FIRST_VERSION = 0, 1, 1


def sort_rows(batch: RowBatch) -> tuple[memoryview, list[int]]:
    """(numbers of the batch's sure rows by shard and suffix, those of them whose handle an earlier one has)."""
    keys = [(batch.shards[i], batch.buffer[batch.suffixes[i] : batch.lots[i]]) for i in range(len(batch))]
    order = sorted(range(len(batch)), key=keys.__getitem__)  # stable: of equal ones the earlier row comes first
    doubles = [i for before, i in pairwise(order) if keys[before] == keys[i]]
    return memoryview(array("I", order).tobytes()).cast("I"), doubles


def copy_rows(
    batch: RowBatch, order: memoryview, prefix_id: int, template_id: int, now: int, first: int = 0, count: int = -1
) -> bytes:
    """`count` (-1: all) of the rows that `order` names, from its `first` on, as COPY data without header and trailer:
    active items of version 1, created at `now`, microseconds since 2000-01-01, their content in its stored form.
    IndexError for a row that is not there.
    """
    parts: list[bytes] = []
    for i in order[first : len(order) if count < 0 else first + count]:
        suffix, lot, content = batch.suffixes[i], batch.lots[i], batch.contents[i]
        parts.append(
            _ROW.pack(
                *(_FIELDS, 8, now, 8, now, 4, prefix_id, 4, template_id, 4, _FIRST_VERSION),
                *(2, batch.shards[i], 2, _ITEM, 2, _ACTIVE),
            )
        )
        stored = shorten_content(batch.buffer[content : batch.ends[i]])
        for column in (batch.buffer[suffix:lot], batch.buffer[lot:content], stored):
            parts += (_SIZE.pack(len(column)), column)
        parts.append(bytes(8))  # no reason, no successor
    return b"".join(parts)
