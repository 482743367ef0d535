"""The cache's observer: samples what Valkey keeps and holds it against PostgreSQL, by version.

Independent of the protocol that it watches (Meta's Polaris found what version numbers alone had missed): it trusts no
lease and no epoch, and counts an entry only where a second look finds it still wrong.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import handle_codec
from node import metrics, polling
from node.errors import Unavailable
from node.fence import Fence
from node.joining import Ask
from node.kept import Form, is_good, opened
from node.lookups import KnownLots, find_each
from node.runtime import Node, reading

_PACK = 500
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Report:
    """What one look found: entries read, of them not served any more, and served although they are wrong."""

    sampled: int = 0
    unused: int = 0  # a dependent moved, or nothing is kept of such a prefix: no reader is given these
    inconsistent: list[str] = field(default_factory=list)


async def audit(node: Node, count: int) -> Report:
    """Look at about `count` entries; those that seem wrong are looked at again once a change under way is over."""
    await polling.ensure(node)
    report = Report()
    entries = await node.cache.sample(node.fence.epoch, count)
    suspects = await _wrong(node, entries, report)
    if suspects:
        await asyncio.sleep(node.settings.fence_wait + 0.5)
        await polling.ensure(node)
        again = await node.cache.kept(node.fence.epoch, suspects)
        report.inconsistent = await _wrong(node, again, None)
    metrics.cache_inconsistent_total.inc(len(report.inconsistent))
    return report


async def _wrong(node: Node, entries: dict[str, bytes], report: Report | None) -> list[str]:
    """Handles whose entry would be served and says another version, or another form, than PostgreSQL."""
    wrong: list[str] = []
    items = list(entries.items())
    for start in range(0, len(items), _PACK):
        asks, kept = [], []
        for handle, entry in items[start : start + _PACK]:
            found = opened(entry)
            prefix_text, _, suffix = handle.partition("/")
            prefix = node.fence.prefixes.get(prefix_text)
            if report:
                report.sampled += 1
            # An absent one is judged by the generation that readers fetch beside it: here it counts as not served.
            if found is None or prefix is None or found.form == Form.ABSENT or not is_good(found, node.fence, None):
                if report:
                    report.unused += 1
                continue
            if handle_codec.is_serial(suffix):
                continue  # its view hangs on its interval, which has no version of its own
            asks.append(Ask(handle, prefix, suffix, -1))
            kept.append(found)
        async with reading(node) as conn:
            truth = await find_each(node, conn, asks, KnownLots(Fence(0.0))) if asks else []
        for ask, found, resolved in zip(asks, kept, truth, strict=True):
            gone = found.form == Form.GONE
            if resolved is None or resolved.row.version != found.version or resolved.is_gone != gone:
                wrong.append(ask.handle)
    return wrong


async def keep_observing(node: Node, period: float = 60.0, count: int = 200) -> None:
    """Look at a few entries each minute; `cache_inconsistent_total` tells."""
    while True:
        await asyncio.sleep(period)
        try:
            report = await audit(node, count)
        except Unavailable:
            continue
        except Exception:
            _log.exception("the cache could not be observed")
            continue
        for handle in report.inconsistent:
            _log.error("the cache holds another version of %s than PostgreSQL", handle)
