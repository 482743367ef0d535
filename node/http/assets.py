"""The files that pages name. Each has a hash of its content in its address, so a browser keeps it for ever."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

from starlette.responses import Response

from node.errors import NotFound
from node.trades import Trades, stylesheet

TYPES = {"css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
_HASHED = re.compile(r"(\w+)\.([0-9a-f]{10})\.(\w+)")
_FOR_EVER = "public, max-age=31536000, immutable"


class Assets:
    """The static files, `page.css` with the trades' colours behind its own rules."""

    def __init__(self, trades: Trades) -> None:
        folder = files("node.web").joinpath("static")
        self._content = {f.name: f.read_bytes() for f in folder.iterdir() if f.name.rpartition(".")[2] in TYPES}
        self._content["page.css"] += stylesheet(trades).encode()
        self._names = {name: _hashed(name, content) for name, content in self._content.items()}

    def address(self, name: str) -> str:
        """The path of a file below PUBLIC_URL's own."""
        return f"/static/{self._names[name]}"

    def response(self, asked: str) -> Response:
        """The file. Another hash than today's is of a worker just before or after this one's release: the file is
        right for its page or nearly so, but must not be kept under that name. Raises NotFound."""
        found = _HASHED.fullmatch(asked)
        name = f"{found[1]}.{found[3]}" if found else asked
        if name not in self._content:
            raise NotFound.of(what=asked[:100])
        lasting = self._names[name] == asked
        headers = {"Cache-Control": _FOR_EVER if lasting else "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response(self._content[name], 200, headers, TYPES[name.rpartition(".")[2]])


def _hashed(name: str, content: bytes) -> str:
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:10]}.{ending}"
