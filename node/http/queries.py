"""The query string of the short way."""

from __future__ import annotations

from urllib.parse import parse_qs

from node.errors import BadRequest

Query = dict[str, list[str]]


def query_of(raw: bytes) -> Query:
    """Names and values; raises BadRequest where it cannot be read. A hundred fields at the most."""
    if not raw:
        return {}
    try:
        return parse_qs(raw.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        raise BadRequest.of(reason="the query cannot be read", reason_zh="查询参数无法解析") from None
