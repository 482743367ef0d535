"""Which form of an answer a client prefers (RFC 9110 section 12.5.1)."""

from __future__ import annotations


def wants_page(accept: str) -> bool:
    """Whether text/html is preferred to JSON; `*/*` and silence mean JSON, for machines say no more."""
    page = data = any_type = 0.0
    for part in accept.lower().split(","):
        kind, *parameters = (p.strip() for p in part.split(";"))
        quality = _quality(parameters)
        if kind in ("text/html", "application/xhtml+xml"):
            page = max(page, quality)
        elif kind in ("application/json", "application/*"):
            data = max(data, quality)
        elif kind == "*/*":
            any_type = max(any_type, quality)
    return page > 0 and page >= (data or min(any_type, page))


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
