"""An enterprise with a webhook in the outside world, for the tests that deliver to it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Any

from outside import Answerer, Got, Outside, answer

from node import hosts, webhooks
from node.alarms import Cause, Reason, raise_alarms
from node.runtime import Node, in_transaction

PATIENCE = 60  # seconds for something that takes one or two when the machine is idle
REASON = Reason("many_devices", "被 40 台设备扫过", "scanned by 40 devices")


@dataclass
class Hooked:
    """An enterprise with a webhook under a proved host of its own."""

    firm: Any
    host: str
    secret: str
    outside: Outside
    node: Node

    @property
    def registrant(self) -> int:
        return int(self.firm.identity.registrant_id)

    async def alarm(self, score: int = 50) -> None:
        subject = f"{self.firm.prefix}/C-{secrets.token_hex(4)}"
        cause = Cause(registrant_id=self.registrant, prefix=self.firm.prefix, subject=subject, kind="copied",
                      score=score, reasons=[REASON])  # fmt: skip
        await in_transaction(self.node, lambda conn: raise_alarms(conn, [cause]))

    async def got(self) -> Got:
        return await asyncio.wait_for(self.outside.web.queue(self.host).get(), PATIENCE)

    async def state(self, condition: str) -> None:
        """Wait until the database says so of the webhook `w` and its message `d`."""
        query = f"SELECT true FROM webhook w LEFT JOIN webhook_delivery d USING (registrant_id) WHERE registrant_id = $1 AND {condition}"
        async with asyncio.timeout(PATIENCE):
            while not await self.node.pool.fetchval(query, self.registrant):
                await asyncio.sleep(0.05)

    async def hurry(self) -> None:
        """Let the pauses after a failure be over."""
        await self.node.pool.execute("UPDATE webhook SET next_at = now() WHERE registrant_id = $1", self.registrant)
        await self.node.pool.execute(
            "UPDATE webhook_delivery SET next_at = now() WHERE registrant_id = $1", self.registrant
        )


async def prove(node: Node, firm: Any, outside: Outside, host: str) -> None:
    claim, _ = await hosts.claim(node, firm.identity, host, None)
    outside.names.records[claim["dns"]["name"], "TXT"] = [f'"{claim["dns"]["value"]}"']
    await hosts.verify(node, firm.identity, host)
    queue = outside.web.queue(host)  # the check looked for the file too
    while not queue.empty():
        queue.get_nowait()


async def make_hooked(
    node: Node, firm: Any, outside: Outside, route: Answerer | None = None, path: str = "/in"
) -> Hooked:
    host = outside.host(f"h{secrets.token_hex(4)}.example.com", route or answer(204))
    await prove(node, firm, outside, host)
    made, _ = await webhooks.put(node, firm.identity, f"https://{host}{path}", False)
    return Hooked(firm, host, made["secret"], outside, node)


def verified(got: Got, secret: str) -> dict[str, Any]:
    """What a receiver does, by the words of node/webhooks.py alone."""
    parts = dict(part.split("=", 1) for part in got.headers["idnode-signature"].split(","))
    right = hmac.new(secret.encode(), parts["t"].encode() + b"." + got.body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], right)
    message = json.loads(got.body)
    assert message["id"] == got.headers["idnode-message"]
    return dict(message)
