"""Routes of what was counted: registrations, resolutions, scans and suspicions; for the owner and for operators."""

from __future__ import annotations

import time
from datetime import date, timedelta
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

import handle_codec
from node import access, scan_report, statistics, suspicions
from node.access import require_role
from node.errors import BadRequest, UnknownPrefix
from node.http.requests import bearer, client_address, json_response, node_of
from node.model import Identity, Prefix
from node.resolution import parsed
from node.revision import visible_prefix
from node.runtime import ReadConnection, reading
from node.store import prefixes
from node.tally import WHOLE_NODE, local_day

router = APIRouter(prefix="/api/v1", tags=["statistics"])

_MAX_DAYS = 366
_DEFAULT_DAYS = 31
_MAX_PAGE = 500


async def _anyone(request: Request) -> Identity:
    """An operator who may read statistics, or an enterprise."""
    node, token = node_of(request), bearer(request)
    if not token.startswith("ops_"):
        return await access.enterprise(node, token, client_address(request.scope, node.settings))
    identity = await access.operator(node, token)
    require_role(identity, "reviewer", "auditor")
    return identity


async def _prefix(conn: ReadConnection, identity: Identity, text: str) -> Prefix:
    """The prefix asked for: any for an operator, an enterprise's own otherwise."""
    if identity.registrant_id is not None:
        return await visible_prefix(conn, identity, text)
    found = await prefixes.fetch(conn, text) if handle_codec.is_prefix(text) else None
    if found is None:
        raise UnknownPrefix.of(prefix=text[:64])
    return found


@router.get("/statistics")
async def read_statistics(
    request: Request,
    prefix: str = "",
    first: Annotated[str, Query(alias="from")] = "",
    last: Annotated[str, Query(alias="to")] = "",
) -> Response:
    """Both meanings of 注册量 (domain.md 2.3), and resolutions by day of Beijing: requests, hits, peak second, latency.

    An enterprise names a prefix of its own; an operator any, or none for the whole node. `from` and `to` are days
    (yyyy-mm-dd), at most 366; the last 31 unless given.
    """
    begin, end = _days(first, last)
    identity = await _anyone(request)
    if identity.registrant_id is not None and not prefix:
        raise BadRequest.of(reason="prefix is needed", reason_zh="须给出 prefix")
    async with reading(node_of(request)) as conn:
        found = await _prefix(conn, identity, prefix) if prefix else None
        created, deleted, rowless = await prefixes.totals(conn, found.id if found else None)
        document: dict[str, Any] = {
            "created": created,
            "deleted": deleted,
            "registered": created - deleted,
            "rowless": rowless,
            "registered_with_rows": created - deleted - rowless,
            "from": begin.isoformat(),
            "to": end.isoformat(),
            "days": await statistics.daily(conn, found.id if found else WHOLE_NODE, begin, end),
        }
        if identity.registrant_id is None:
            document["registrants"], document["prefixes"] = await prefixes.numbers(conn)
    return json_response(document)


def _days(first: str, last: str) -> tuple[date, date]:
    end = _day("to", last) if last else local_day(time.time())
    begin = _day("from", first) if first else end - timedelta(days=min(_DEFAULT_DAYS - 1, end.toordinal() - 1))
    if not begin <= end < begin + timedelta(days=min(_MAX_DAYS, date.max.toordinal() - begin.toordinal())):
        raise BadRequest.of(
            reason=f"from must not be after to, nor {_MAX_DAYS} days before it",
            reason_zh=f"from 不得晚于 to，且相距不超过 {_MAX_DAYS} 天",
        )
    return begin, end


def _day(name: str, text: str) -> date:
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise BadRequest.of(reason=f"{name} must be a day, yyyy-mm-dd", reason_zh=f"{name} 须为日期 yyyy-mm-dd")


@router.get("/scans", tags=["scans"])
async def read_scans(request: Request, handle: str) -> Response:
    """What was counted of one handle: scans, the enterprise's own apart, the first, about how many devices."""
    identity = await _anyone(request)
    prefix_text, suffix = parsed(handle)
    async with reading(node_of(request)) as conn:
        prefix = await _prefix(conn, identity, prefix_text)
        return json_response(await scan_report.of_handle(conn, prefix, suffix))


@router.get("/suspicions", tags=["scans"])
async def read_suspicions(
    request: Request, prefix: str, least: Annotated[int, Query(ge=0, le=100)] = 0, after: str = "", limit: int = 100
) -> Response:
    """What looks copied under a prefix, with its reasons: items, lots, and days of the prefix, by kind and suffix."""
    identity = await _anyone(request)
    limit = max(1, min(limit, _MAX_PAGE))
    async with reading(node_of(request)) as conn:
        found = await _prefix(conn, identity, prefix)
        listed = await suspicions.listed(conn, found.id, least, _after(after), limit)
    following = f"{listed[-1]['kind']}:{listed[-1]['suffix']}" if len(listed) == limit else None
    return Response(orjson.dumps({"suspicions": listed, "next": following}), 200, None, "application/json")


def _after(text: str) -> tuple[str, str]:
    kind, _, suffix = text.partition(":")
    if text and (kind not in ("item", "lot", "prefix") or "\0" in suffix or len(suffix) > 2048):
        raise BadRequest.of(reason="after must be the `next` of a page", reason_zh="after 须为上一页的 next")
    return kind, suffix
