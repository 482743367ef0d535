"""What is no node: takes connections in, answers nothing and ends those that say too little, as a node does with slow
heads. `make slow-clients` has hostile connections bother it, for what these cost the machine that all of them share."""

from __future__ import annotations

import asyncio
import sys

import uvloop

_SECONDS = 10.0  # for a head, as the node's HEADER_SECONDS
_LITTLE = 50  # bytes: a silent or a slow head's connection has said less by then


class Bystander(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._said = transport, 0
        asyncio.get_running_loop().call_later(_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        self._said += len(data)

    def _look(self) -> None:
        if self._said < _LITTLE:
            self._transport.close()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Bystander, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
