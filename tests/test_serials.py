"""Serials at the node: keys of prefixes, and what registration and resolution make of a suffix of the minted family."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from handle_codec import SerialKey
from node import audit, serials
from node.errors import ForgedSerial, NotAllowed, SerialsExhausted
from node.model import Identity
from node.runtime import Node, reading
from node.sealing import Sealer
from node.store import prefixes
from node.writing import Change, change

OPERATOR = Identity("operator:test", role="admin")


async def reserve(node: Node, prefix: str, count: int) -> list[str]:
    """Serials of newly reserved counters."""

    async def work(doing: Change) -> tuple[SerialKey, int]:
        found = await prefixes.hold(doing.conn, prefix)
        assert found is not None
        return await serials.reserve(node, doing.conn, found, count)

    key, first = await change(node, work)
    return key.mint_lines(first, count).decode().split()


async def counter_of(node: Node, prefix: str, suffix: str) -> int:
    async with reading(node) as conn:
        found = await prefixes.fetch(conn, prefix)
        assert found is not None
        return (await serials.keyring(node, conn, found)).counter_of(suffix)


def row(prefix: str, suffix: str) -> dict[str, Any]:
    return {"handle": f"{prefix}/{suffix}", "values": [{"index": 1, "type": "URL", "data": "https://example.com/a"}]}


async def register(client: Any, firm: Any, *suffixes: str) -> list[tuple[str, str | None]]:
    body = [row(firm.prefix, suffix) for suffix in suffixes]
    answer = await client.post("/api/v1/handles:batch", json=body, headers=firm.headers)
    assert answer.status_code == 200
    return [(result["outcome"], result.get("code")) for result in answer.json()["results"]]


async def test_only_minted_serials_are_registered(node: Node, client: Any, make_firm: Any) -> None:
    firm, other = await make_firm(), await make_firm(name="泗县另一示范有限公司")
    first, second = await reserve(node, firm.prefix, 2)
    (foreign,) = await reserve(node, other.prefix, 1)
    assert await register(client, firm, "OWN-1", first, "V0000000000000", foreign, "OWN-2") == [
        ("created", None), ("created", None), ("rejected", "forged_serial"), ("rejected", "forged_serial"),
        ("created", None),
    ]  # fmt: skip
    alone = await client.post("/api/v1/handles", json=row(firm.prefix, "v0000000000000"), headers=firm.headers)
    assert (alone.status_code, alone.json()["code"]) == (422, "forged_serial")
    assert "铸造序列号" in alone.json()["detail"]
    assert await register(client, firm, second) == [("created", None)]


async def test_a_prefix_that_minted_nothing_has_no_serials(client: Any, make_firm: Any) -> None:
    firm = await make_firm()
    assert await register(client, firm, "V8CQN3C64A5PS5") == [("rejected", "forged_serial")]


async def test_a_serial_is_one_handle_however_it_is_written(node: Node, client: Any, make_firm: Any) -> None:
    firm = await make_firm()
    serial = next(s for s in await reserve(node, firm.prefix, 200) if "0" in s and "1" in s)
    spoken = serial.lower().replace("0", "o").replace("1", "l")
    assert await register(client, firm, spoken) == [("created", None)]
    assert await register(client, firm, serial, spoken) == [("unchanged", None), ("rejected", "duplicate_in_batch")]
    for written in (serial, spoken, serial.lower(), serial.replace("0", "O").replace("1", "I")):
        answer = await client.get(f"/{firm.prefix}/{written}")
        assert (answer.status_code, answer.json()["handle"]) == (200, f"{firm.prefix}/{serial}")
    patched = await client.patch(
        f"/api/v1/handles/{firm.prefix}/{spoken}", json={"values": []}, headers=firm.headers | {"If-Match": "*"}
    )
    assert patched.status_code == 200, patched.text
    assert (await client.get(f"/{firm.prefix}/{serial}")).json()["version"] == 2


async def test_other_suffixes_keep_their_case(client: Any, make_firm: Any) -> None:
    firm = await make_firm()
    assert await register(client, firm, "vl-2026-oil-01", "VL-2026-OIL-01") == [("created", None)] * 2


async def test_a_lot_cannot_look_like_a_serial(node: Node, client: Any, make_firm: Any) -> None:
    firm = await make_firm()
    (serial,) = await reserve(node, firm.prefix, 1)
    answer = await client.post("/api/v1/lots", json=row(firm.prefix, serial), headers=firm.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "reserved_suffix")


async def test_a_counter_that_was_not_issued_is_forged(node: Node, make_firm: Any) -> None:
    firm = await make_firm()
    await reserve(node, firm.prefix, 10)
    secret = node.sealer.digest("serial key", f"{firm.prefix}/V".encode(), node.sealer.current)[:16]
    key = SerialKey(firm.prefix, "V", secret)
    assert await counter_of(node, firm.prefix, key.mint(9)) == 9
    with pytest.raises(ForgedSerial):
        await counter_of(node, firm.prefix, key.mint(10))


async def test_concurrent_reservations_never_share_a_counter(node: Node, make_firm: Any) -> None:
    """Ten at once, the first of which make the key: one key, ten intervals side by side."""
    firm = await make_firm()
    taken = await asyncio.gather(*(reserve(node, firm.prefix, size) for size in range(1, 11)))
    counters = [await counter_of(node, firm.prefix, serial) for part in taken for serial in part]
    assert sorted(counters) == list(range(55))
    assert [key["letter"] for key in await serials.listed(node, OPERATOR, firm.prefix)] == ["V"]


async def test_a_stolen_key_makes_nothing_new(node: Node, client: Any, make_firm: Any, operator_headers: Any) -> None:
    firm = await make_firm()
    old = await reserve(node, firm.prefix, 3)
    route = f"/api/v1/prefixes/{firm.prefix}/serial-keys"
    rotated = await client.post(route, headers=operator_headers)
    assert (rotated.status_code, rotated.json()["letter"], rotated.json()["first_counter"]) == (201, "R", 3)
    new = await reserve(node, firm.prefix, 3)
    assert {serial[0] for serial in new} == {"R"}
    assert await register(client, firm, *old, *new) == [("created", None)] * 6
    stolen = SerialKey(
        firm.prefix, "V", node.sealer.digest("serial key", f"{firm.prefix}/V".encode(), node.sealer.current)[:16]
    )
    assert await register(client, firm, stolen.mint(4)) == [("rejected", "forged_serial")]
    listed = (await client.get(route, headers=operator_headers)).json()["keys"]
    assert [(key["letter"], key["first_counter"], key["until_counter"]) for key in listed] == [
        ("V", 0, 3),
        ("R", 3, None),
    ]
    assert not {"wrapped", "key", "secret"} & set(listed[0])
    async with reading(node) as conn:
        entries = [entry for entry in await audit.entries(conn, 0, 1000) if entry["action"] == "serial_key.rotate"]
    assert entries[-1]["object"] == firm.prefix


async def test_keys_run_out_and_say_so(node: Node, make_firm: Any) -> None:
    firm = await make_firm()
    assert [(await serials.rotate(node, OPERATOR, firm.prefix))["letter"] for _ in range(3)] == ["V", "R", "Q"]
    with pytest.raises(SerialsExhausted):
        await serials.rotate(node, OPERATOR, firm.prefix)
    assert (await reserve(node, firm.prefix, 1))[0][0] == "Q"


async def test_counters_run_out_and_say_so(node: Node, make_firm: Any) -> None:
    firm = await make_firm()
    with pytest.raises(SerialsExhausted):
        await reserve(node, firm.prefix, 32**8 + 1)
    assert len(await reserve(node, firm.prefix, 1)) == 1


async def test_keys_are_for_administrators(client: Any, node: Node, firm: Any) -> None:
    assert (await client.post(f"/api/v1/prefixes/{firm.prefix}/serial-keys", headers=firm.headers)).status_code == 401
    with pytest.raises(NotAllowed):
        await serials.rotate(node, Identity("operator:reviewer", role="reviewer"), firm.prefix)


async def test_sm4_where_it_is_asked_for(node: Node, client: Any, make_firm: Any) -> None:
    firm = await make_firm()
    chinese = replace(node, settings=replace(node.settings, serial_cipher="sm4"))
    (serial,) = await reserve(chinese, firm.prefix, 1)
    assert serial[0] == "E"
    assert await register(client, firm, serial) == [("created", None)]  # the other setting reads it all the same


async def test_keys_are_wrapped_and_kept(node: Node, make_firm: Any) -> None:
    firm = await make_firm()
    (serial,) = await reserve(node, firm.prefix, 1)
    secret = node.sealer.digest("serial key", f"{firm.prefix}/V".encode(), node.sealer.current)[:16]
    conn = await asyncpg.connect(node.settings.database_url)
    try:
        wrapped = await conn.fetchval(
            "SELECT wrapped FROM serial_key k JOIN prefix p ON p.id = k.prefix_id WHERE p.prefix = $1", firm.prefix
        )
        assert secret not in wrapped
        for forbidden in (
            "DELETE FROM serial_key",
            "UPDATE serial_key SET letter = 'Z'",
            "UPDATE serial_key SET first_counter = 9",
        ):
            with pytest.raises(asyncpg.CheckViolationError, match="kept for ever"):
                await conn.execute(forbidden)
    finally:
        await conn.close()
    newer = Sealer(node.sealer.secrets | {node.sealer.current + 1: secrets.token_bytes(32)})
    assert await counter_of(replace(node, sealer=newer), firm.prefix, serial) == 0
    other = replace(node, sealer=Sealer({1: bytes(32)}))
    with pytest.raises(ValueError, match="altered"):
        await counter_of(other, firm.prefix, serial)
