"""An enterprise's own scanners: devices whose scans are counted apart (quality control, warehouse, packing line)."""

from __future__ import annotations

from typing import Any

from node import audit, scan_tokens
from node.errors import InvalidRow, NotFound, RowError
from node.model import Identity
from node.runtime import Node, reading
from node.scan_tokens import SCANNER_SECONDS, Refused
from node.store import scans as store
from node.templates import plain_text
from node.writing import Change, change

MAX_SCANNERS = 1000  # of an enterprise, not revoked


async def register(node: Node, identity: Identity, name: str, now: float) -> dict[str, Any]:
    """Register a device; its address is a secret of one hour, to be opened on the device itself."""
    plain_text(name, "name", 100)
    registrant = identity.registrant_id
    assert registrant is not None

    async def work(doing: Change) -> int:
        if await store.count_scanners(doing.conn, registrant) >= MAX_SCANNERS:
            error = RowError("name", "too_many", f"至多 {MAX_SCANNERS} 台", f"at most {MAX_SCANNERS}")
            raise InvalidRow.of(error)
        number = await store.insert_scanner(doing.conn, registrant, name)
        await audit.record(doing.conn, identity.actor, "scanner.register", str(number), {"registrant": registrant})
        return number

    number = await change(node, work)
    token = scan_tokens.scanner_token(node.sealer, scan_tokens.scanner_device(registrant, number, now))
    address = f"{node.settings.public_url}/s/scanner/{token}"
    return {"id": number, "name": name, "address": address, "seconds": SCANNER_SECONDS}


async def revoke(node: Node, identity: Identity, scanner_id: int) -> None:
    """NotFound where it is not the caller's, or revoked already."""
    registrant = identity.registrant_id
    assert registrant is not None

    async def work(doing: Change) -> None:
        if not await store.revoke_scanner(doing.conn, scanner_id, registrant):
            raise NotFound.of(what=f"scanner {scanner_id}")
        await audit.record(doing.conn, identity.actor, "scanner.revoke", str(scanner_id))

    await change(node, work)


async def listed(node: Node, identity: Identity) -> list[dict[str, Any]]:
    assert identity.registrant_id is not None
    async with reading(node) as conn:
        found = await store.scanners(conn, identity.registrant_id)
    return [
        {
            "id": record["id"],
            "name": record["name"],
            "created_at": record["created_at"].isoformat(),
            "revoked_at": record["revoked_at"].isoformat() if record["revoked_at"] else None,
        }
        for record in found
    ]


def opened(node: Node, token: str, now: float) -> str | None:
    """The device's token for the address that was opened on it; None where it was forged or is over."""
    try:
        return scan_tokens.device_token(node.sealer, scan_tokens.read_scanner(node.sealer, token, now))
    except Refused:
        return None
