"""The least that answers HTTP in this language: asyncio (uvloop) and httptools, one fixed answer, no application.

The yardstick of `make bench-resolve` and `make bench-scan`: no Python server with a parser can be faster than this on
the same core.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httptools
import uvloop


class Bare(asyncio.Protocol):
    """Parses each request in full and writes the same bytes."""

    answer = b""
    image: bytes | None = None  # to what asks for an image, where it is another one

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        pass

    def on_message_complete(self) -> None:
        other = self.image is not None and self.url.startswith(b"/s/")
        self.transport.write(self.image if other else self.answer)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bare, "127.0.0.1", port)
    print("listening", flush=True)  # who started it waits for this line
    await server.serve_forever()


def main() -> None:
    """`python -m loadtest.bare PORT ANSWER-FILE [IMAGE-FILE]`: the files hold answers, head and body."""
    Bare.answer = Path(sys.argv[2]).read_bytes()
    if len(sys.argv) > 3:
        Bare.image = Path(sys.argv[3]).read_bytes()
    uvloop.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
