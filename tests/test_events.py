"""Events: every type of EPCIS 2.0 and the short form, one or thousands, idempotent, withdrawn by declarations."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from event_bodies import event, place
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node import capturing
from node.runtime import Node, reading
from node.store import suspicion

ROUTE = "/api/v1/events"
HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
async def goods(client: Any, make_firm: Any) -> Any:
    """An enterprise with a lot, twelve items, a pallet and a container, all registered."""
    firm = await make_firm()
    lot = {"handle": f"{firm.prefix}/LOT"}
    assert (await client.post("/api/v1/lots", json=lot, headers=firm.headers)).status_code == 201
    names = [*(f"I-{n}" for n in range(12)), "PALLET", "CONTAINER"]
    rows = [{"handle": f"{firm.prefix}/{n}", **({"lot": lot["handle"]} if n[0] == "I" else {})} for n in names]
    made = await client.post("/api/v1/handles:batch", json=rows, headers=firm.headers)
    assert made.json()["summary"]["created"] == len(rows)
    return firm


async def post(client: Any, firm: Any, body: Any, **headers: str) -> Any:
    return await client.post(ROUTE, json=body, headers={**firm.headers, **headers})


async def listed(client: Any, firm: Any, suffix: str) -> dict[str, list[Any]]:
    answer = await client.get(ROUTE, params={"handle": f"{firm.prefix}/{suffix}"}, headers=firm.headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, list[Any]] = answer.json()
    return found


def fields(answer: Any) -> set[str]:
    return {error["field"] for error in answer.json()["errors"]}


def kinds(p: str) -> dict[str, dict[str, Any]]:
    """A body of each type over the goods of prefix `p`."""
    lot = [{"epcClass": f"{p}/LOT", "quantity": 10, "uom": "KGM"}]
    return {
        "object": event("ObjectEvent", epcList=[f"{p}/I-1"], quantityList=lot, action="ADD", ilmd={"ext:grade": "一"}),
        "aggregation": event("AggregationEvent", parentID=f"{p}/PALLET", childEPCs=[f"{p}/I-2"]),
        "association": event("AssociationEvent", parentID=f"{p}/PALLET", childEPCs=[f"{p}/I-3"], action="ADD"),
        "transaction": event(
            "TransactionEvent",
            epcList=[f"{p}/I-4"],
            bizTransactionList=[{"type": "po", "bizTransaction": "urn:example:po:1"}],
        ),
        "transformation": event("TransformationEvent", inputQuantityList=lot, outputEPCList=[f"{p}/I-5"]),
        "short": {"handle": f"{p}/I-6", "eventTime": "2026-09-12T08:00:00+08:00", "bizStep": "harvesting"},
    }


@pytest.mark.parametrize("kind", ["object", "aggregation", "association", "transaction", "transformation", "short"])
async def test_every_kind_is_taken_once(client: Any, goods: Any, kind: str) -> None:
    body = kinds(goods.prefix)[kind]
    first = await post(client, goods, body)
    assert first.status_code == 201, first.text
    again = await post(client, goods, body)
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert again.json()["eventId"] == first.json()["eventId"]
    assert first.json()["eventId"].startswith("ni:///sha-256;")  # no id was given
    suffix = {"object": "LOT", "aggregation": "PALLET", "association": "I-3"}.get(kind) or {
        "transaction": "I-4", "transformation": "I-5", "short": "I-6",
    }[kind]  # fmt: skip
    ids = [e["eventId"] for e in (await listed(client, goods, suffix))["events"]]
    assert ids.count(first.json()["eventId"]) == 1


async def test_a_code_of_any_form_names_the_same_handle(client: Any, goods: Any, settings: Any) -> None:
    p = goods.prefix
    bodies = [
        event("ObjectEvent", "2026-09-12T08:01:00", epcList=[code])
        for code in (f"{p}/I-0", f"hdl:{p}/I-0", f"{settings.public_url}/{p}/I-0", f"{settings.public_url}/{p}%2FI-0")
    ]
    answer = await post(client, goods, bodies)
    assert [r["outcome"] for r in answer.json()["results"]] == ["created", "unchanged", "unchanged", "unchanged"]
    for code in ("urn:epc:id:sgtin:0614141.107346.2017", "https://other.example/88.999.1/A", "nonsense"):
        refused = await post(client, goods, event("ObjectEvent", epcList=[f"{p}/I-0", code]))
        assert refused.status_code == 422, refused.text
        assert fields(refused) == {"epcList[1]"}


async def test_thousands_in_one_post(node: Node, client: Any, goods: Any, monkeypatch: Any) -> None:
    """3,000 events, one of them bad and one twice: a result for each, in order, by a few statements."""
    p = goods.prefix
    bodies = [
        event("ObjectEvent", f"2026-09-12T09:{n // 60 % 60:02d}:{n % 60:02d}", epcList=[f"{p}/I-{n % 10}"],
              eventID=f"urn:example:bulk:{n}")
        for n in range(3000)
    ]  # fmt: skip
    bodies[7] = event("ObjectEvent", epcList=[f"{p}/NOBODY"], eventID="urn:example:bulk:7")
    bodies[9] = bodies[8]
    answer = await post(client, goods, {"type": "EPCISDocument", "epcisBody": {"eventList": bodies}})
    assert answer.status_code == 200, answer.text[:500]
    results = answer.json()["results"]
    assert [r["row"] for r in results] == list(range(3000))
    assert answer.json()["summary"] == {
        "created": 2998, "unchanged": 1, "withdrawn": 0, "conflict": 0, "rejected": 1,
    }  # fmt: skip
    assert (results[7]["code"], results[7]["errors"][0]["field"]) == ("handle_not_found", "epcList[0]")
    again = await post(client, goods, bodies)
    assert again.json()["summary"]["unchanged"] == 2999
    async with reading(node) as conn:
        stored = await conn.fetchval("SELECT count(*) FROM event_document WHERE event_id LIKE 'urn:example:bulk:%' "
                                     "AND shard = ANY ($1::smallint[])", list(range(1024)))  # fmt: skip
    assert stored == 2998


async def test_a_few_statements_for_any_number(client: Any, goods: Any, monkeypatch: Any) -> None:
    """A thousand events cost no more statements than ten do."""
    seen: list[str] = []
    begin, end = capturing._hold_prefixes, capturing._store

    def note(record: Any) -> None:
        if "pg_catalog" not in record.query:  # asyncpg asks for types once on each connection
            seen.append(record.query)

    async def beginning(conn: Any, *rest: Any) -> None:
        conn.add_query_logger(note)
        await begin(conn, *rest)

    async def ending(conn: Any, *rest: Any) -> None:
        await end(conn, *rest)
        conn.remove_query_logger(note)

    monkeypatch.setattr(capturing, "_hold_prefixes", beginning)
    monkeypatch.setattr(capturing, "_store", ending)
    counts = []
    for size in (10, 1000):
        bodies = [
            event("ObjectEvent", f"2026-09-12T{10 + (size == 10)}:{n // 60:02d}:{n % 60:02d}",
                  epcList=[f"{goods.prefix}/I-{n % 5}", f"{goods.prefix}/I-{5 + n % 5}"])
            for n in range(size)
        ]  # fmt: skip
        bodies += [bodies[0] | {"errorDeclaration": {"declarationTime": "2026-09-13T08:00:00Z"}}]
        seen.clear()
        summary = (await post(client, goods, bodies)).json()["summary"]
        assert (summary["created"], summary["withdrawn"]) == (size, 1)
        counts.append(len(seen))
    assert 5 < min(counts) <= max(counts) < 20  # a connection's first turn has a few of asyncpg's own


async def test_the_number_is_bounded(client: Any, goods: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(capturing, "MAX_EVENTS", 3)
    monkeypatch.setattr(capturing, "MAX_MENTIONS", 5)
    body = event("ObjectEvent", epcList=[f"{goods.prefix}/I-0"])
    assert (await post(client, goods, [body] * 4)).status_code == 413
    wide = event("ObjectEvent", epcList=[f"{goods.prefix}/I-{n}" for n in range(6)])
    assert (await post(client, goods, wide)).status_code == 413


async def test_the_same_id_with_other_content(client: Any, goods: Any) -> None:
    body = event("ObjectEvent", epcList=[f"{goods.prefix}/I-0"], eventID="urn:example:one")
    assert (await post(client, goods, body)).status_code == 201
    later = body | {"eventTime": "2026-09-13T08:00:00+08:00"}
    other = await post(client, goods, later)
    assert (other.status_code, other.json()["code"]) == (409, "already_exists")
    assert "2026-09-12T00:00:00" in other.json()["detail"]
    assert "2026-09-13T08:00:00" in other.json()["detail"]
    assert fields(other) == {"eventID"}
    row = (await post(client, goods, [body, later])).json()["results"]
    assert [r["outcome"] for r in row] == ["unchanged", "conflict"]
    assert row[1]["status"] == 409
    # Sent in another order of members, with another name of the same moment and step, it is the same.
    same = dict(reversed(body.items())) | {"eventTime": "2026-09-12T00:00:00Z"}
    same |= {"bizStep": "urn:epcglobal:cbv:bizstep:packing", "recordTime": "2026-09-12T00:00:01Z"}
    assert (await post(client, goods, same)).status_code == 200


async def test_races_of_the_same_ids(client: Any, goods: Any) -> None:
    """Twelve posts at once of the same thirty ids in different orders, six with one content, six with another."""
    ids = [f"urn:example:race:{n}" for n in range(30)]

    def bodies(which: int) -> list[dict[str, Any]]:
        order = ids if which % 3 else ids[::-1]
        when = f"2026-09-14T08:0{which % 2}:00"
        return [event("ObjectEvent", when, epcList=[f"{goods.prefix}/I-7"], eventID=i) for i in order]

    answers = await asyncio.gather(*(post(client, goods, bodies(n)) for n in range(12)))
    assert {a.status_code for a in answers} == {200}, [a.text[:200] for a in answers]
    outcomes: dict[str, list[str]] = {i: [] for i in ids}
    for answer in answers:
        for result in answer.json()["results"]:
            outcomes[result["eventId"]].append(result["outcome"])
    for seen in outcomes.values():
        assert sorted(seen) == ["conflict"] * 6 + ["created"] + ["unchanged"] * 5
    found = [e["eventId"] for e in (await listed(client, goods, "I-7"))["events"]]
    assert sorted(i for i in found if i in outcomes) == sorted(ids)


@pytest.mark.parametrize("kind", ["event", "step", "place", "disposition"])
async def test_what_our_own_addresses_hold_is_text(client: Any, goods: Any, kind: str) -> None:
    """Escaped NULs reach no database, and spoil nothing beside them."""
    odd = f"http://127.0.0.1:8000/vocabulary/{kind}/%00"
    member = {"event": "eventID", "step": "bizStep", "disposition": "disposition"}.get(kind)
    extra = {member: odd} if member else {"readPoint": {"id": odd}}
    bodies = [
        event("ObjectEvent", epcList=[f"{goods.prefix}/I-1"], **more) for more in (extra, {"eventID": f"urn:x:{kind}"})
    ]
    answer = await post(client, goods, bodies)
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][1]["outcome"] == "created"


async def test_no_event_stands_where_a_withdrawal_will(client: Any, goods: Any) -> None:
    body = event("ObjectEvent", epcList=[f"{goods.prefix}/I-11"], eventID="urn:x:mine")
    squatter = body | {"eventID": "http://127.0.0.1:8000/vocabulary/event/urn%3Ax%3Amine%20declaration"}
    for sent in (squatter, body):
        assert (await post(client, goods, sent)).status_code == 201
    declared = body | {"errorDeclaration": {"declarationTime": "2026-09-16T08:00:00+08:00", "reason": "did_not_occur"}}
    assert (await post(client, goods, declared)).status_code == 201
    found = await listed(client, goods, "I-11")
    assert "urn:x:mine" in {each["eventId"] for each in found["withdrawn"]}
    assert "urn:x:mine" not in {each["eventId"] for each in found["events"]}


async def test_an_error_declaration_withdraws(node: Node, client: Any, goods: Any) -> None:
    p = goods.prefix
    body = event("ObjectEvent", "2026-09-15T08:00:00", epcList=[f"{p}/I-8"], bizStep="shipping",
                 eventID="urn:example:wrong", readPoint=place("错误的月台"))  # fmt: skip
    declared = body | {
        "errorDeclaration": {
            "declarationTime": "2026-09-16T08:00:00+08:00",
            "reason": "incorrect_data",
            "correctiveEventIDs": ["urn:example:right"],
        }
    }
    early = await post(client, goods, declared)
    assert (early.status_code, fields(early)) == (404, {"eventID"})  # nothing to withdraw yet
    assert (await post(client, goods, body)).status_code == 201
    assert "错误的月台" in (await client.get(f"/{p}/I-8", headers=HTML)).text
    differs = await post(client, goods, declared | {"bizStep": "packing"})
    assert differs.status_code == 409
    answer = await post(client, goods, [declared, declared])
    assert [r["outcome"] for r in answer.json()["results"]] == ["withdrawn", "unchanged"]
    found = await listed(client, goods, "I-8")
    assert "urn:example:wrong" not in [e["eventId"] for e in found["events"]]
    assert [e["eventId"] for e in found["withdrawn"]] == ["urn:example:wrong"]
    assert "错误的月台" not in (await client.get(f"/{p}/I-8", headers=HTML)).text
    # Sent once more it is the same event, and stays withdrawn; what scores scans no longer counts it as shipped.
    assert (await post(client, goods, body)).json()["outcome"] == "unchanged"
    async with reading(node) as conn:
        prefix_id, shard = (await conn.fetch("SELECT prefix_id, shard FROM event WHERE event_id = 'urn:example:wrong' "
                                             "AND shard = ANY ($1::smallint[])", list(range(1024))))[0]  # fmt: skip
        assert await suspicion.shipped(conn, [shard], [prefix_id], ["I-8"]) == {}


async def test_the_original_and_its_declaration_in_one_post(client: Any, goods: Any) -> None:
    body = event("ObjectEvent", "2026-09-15T10:00:00", epcList=[f"{goods.prefix}/I-9"])
    declared = body | {"errorDeclaration": {"declarationTime": "2026-09-16T08:00:00Z", "reason": "did_not_occur"}}
    answer = await post(client, goods, [declared, body])
    assert [r["outcome"] for r in answer.json()["results"]] == ["withdrawn", "created"]  # no id: the content's
    assert len((await listed(client, goods, "I-9"))["withdrawn"]) == 1


async def test_the_short_form_corrects(client: Any, goods: Any) -> None:
    short = {"handle": f"{goods.prefix}/I-10", "eventTime": "2026-09-12T08:00:00+08:00", "bizStep": "storing"}
    unknown = await post(client, goods, short | {"eventId": "s2", "corrects": "s1"})
    assert (unknown.status_code, fields(unknown)) == (422, {"corrects"})
    both = [short | {"eventId": "s1"}, short | {"eventId": "s2", "corrects": "s1", "readPoint": "二号库"}]
    assert (await post(client, goods, both)).json()["summary"]["created"] == 2
    found = await listed(client, goods, "I-10")
    assert ([e["eventId"] for e in found["events"]], [e["eventId"] for e in found["withdrawn"]]) == (["s2"], ["s1"])


async def test_nobody_writes_of_what_is_not_theirs(client: Any, goods: Any, stranger: Any) -> None:
    mine = {"handle": f"{stranger.prefix}/S-1"}
    await client.post("/api/v1/handles", json=mine, headers=stranger.headers)
    for members, field in (
        ({"epcList": [mine["handle"], f"{goods.prefix}/I-0"]}, "epcList[1]"),
        ({"epcList": [mine["handle"]], "quantityList": [{"epcClass": f"{goods.prefix}/LOT"}]},
         "quantityList[0].epcClass"),
    ):  # fmt: skip
        refused = await post(client, stranger, event("ObjectEvent", **members))
        assert (refused.status_code, refused.json()["code"], fields(refused)) == (403, "foreign_prefix", {field})
    packed = event("AggregationEvent", parentID=f"{goods.prefix}/PALLET", childEPCs=[mine["handle"]])
    refused = await post(client, stranger, [packed, event("ObjectEvent", epcList=[mine["handle"]])])
    first, second = refused.json()["results"]
    assert (first["status"], first["errors"][0]["field"], second["outcome"]) == (403, "parentID", "created")
    read = await client.get(ROUTE, params={"handle": f"{goods.prefix}/I-0"}, headers=stranger.headers)
    assert read.status_code in (403, 404)
    # An id is one in its enterprise: nobody can take another's.
    same = event("ObjectEvent", epcList=[mine["handle"]], eventID="urn:example:one")
    assert (await post(client, stranger, same)).status_code == 201


def _misfits(p: str) -> dict[str, tuple[dict[str, Any], str]]:
    ok = event("ObjectEvent", epcList=[f"{p}/I-0"])
    soon = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    long_list = [{"type": "location", "source": "urn:x:1", "more": 1}]
    deep: Any = "x"
    for _ in range(40):
        deep = [deep]
    return {
        "no offset": ({k: v for k, v in ok.items() if k != "eventTimeZoneOffset"}, ""),
        "bad offset": (ok | {"eventTimeZoneOffset": "+15:00"}, "eventTimeZoneOffset"),
        "future": (ok | {"eventTime": soon}, "eventTime"),
        "year one": (ok | {"eventTime": "0001-01-01T00:00:00+14:00"}, "eventTime"),
        "year 9999": (ok | {"eventTime": "9999-12-31T23:59:59-14:00"}, "eventTime"),
        "no zone": (ok | {"eventTime": "2026-09-12T08:00:00"}, "eventTime"),
        "action": (ok | {"action": "MOVE"}, "action"),
        "step": (ok | {"bizStep": "harvest ing"}, "bizStep"),
        "foreign cbv": (ok | {"bizStep": "urn:epcglobal:cbv:bizstep:flying"}, "bizStep"),
        "disposition": (ok | {"disposition": "fine"}, "disposition"),
        "place": (ok | {"readPoint": {"id": "良梨镇"}}, "readPoint.id"),
        "unknown member": (ok | {"colour": "red"}, ""),
        "closed member": (ok | {"sourceList": long_list}, "sourceList[0]"),
        "null": (ok | {"readPoint": None}, "readPoint"),
        "ilmd": (ok | {"ilmd": {"ext:grade": "1"}}, "ilmd"),
        "id": (ok | {"eventID": "no address"}, "eventID"),
        "bidi": (ok | {"readPoint": {"id": "urn:x:1", "ext:name": "a\u202eb"}}, "readPoint.ext:name"),
        "nul": (ok | {"ext:note": "a\u0000b"}, "ext:note"),
        "long": (ok | {"ext:note": "梨" * 34_000}, "ext:note"),
        "deep": (ok | {"ext:note": deep}, ""),
        "no handle": (ok | {"epcList": []}, ""),
        "no parent": (event("AggregationEvent", childEPCs=[f"{p}/I-0"]), "parentID"),
        "no child": (event("AggregationEvent", parentID=f"{p}/PALLET"), "childEPCs"),
        "own parent": (event("AggregationEvent", parentID=f"{p}/I-0", childEPCs=[f"{p}/I-0"]), "childEPCs[0]"),
        "no papers": (event("TransactionEvent", epcList=[f"{p}/I-0"]), "bizTransactionList"),
        "no outputs": (event("TransformationEvent", inputEPCList=[f"{p}/I-0"]), "outputEPCList"),
        "sensor": (ok | {"sensorElementList": [{"sensorReport": [{"type": "Warmth"}]}]},
                   "sensorElementList[0].sensorReport[0].type"),
        "context": (ok | {"@context": 7}, "@context"),
        "declared late": (ok | {"errorDeclaration": {"declarationTime": soon}}, "errorDeclaration.declarationTime"),
    }  # fmt: skip


@pytest.mark.parametrize("case", sorted(_misfits("88.999.1")))
async def test_what_does_not_fit_is_named(client: Any, goods: Any, case: str) -> None:
    body, field = _misfits(goods.prefix)[case]
    before = len((await listed(client, goods, "I-0"))["events"])
    answer = await post(client, goods, body)
    assert answer.status_code == 422, answer.text
    assert all(error["detail"] for error in answer.json()["errors"])
    if field:
        assert fields(answer) == {field}
    assert len((await listed(client, goods, "I-0"))["events"]) == before


async def test_markup_in_a_place_is_text(client: Any, goods: Any) -> None:
    body = event("ObjectEvent", epcList=[f"{goods.prefix}/I-11"], readPoint=place("<script>alert(1)</script>"))
    assert (await post(client, goods, body)).status_code == 201
    page = await client.get(f"/{goods.prefix}/I-11", headers=HTML)
    assert "&lt;script&gt;alert" in page.text
    assert "<script" not in page.text


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_NAMES = [
    "type", "eventTime", "eventTimeZoneOffset", "action", "epcList", "quantityList", "parentID", "childEPCs",
    "bizTransactionList", "readPoint", "eventID", "errorDeclaration", "sensorElementList", "persistentDisposition",
    "ilmd", "inputEPCList", "outputEPCList", "@context",
]  # fmt: skip
_SENSIBLE = st.sampled_from(
    ["ObjectEvent", "AggregationEvent", "TransformationEvent", "EPCISDocument", "2026-09-12T08:00:00+08:00", "+08:00",
     "ADD", "DELETE", "urn:x:1", ["88.999.1001/A"], {"id": "urn:x:1"}, [{"epcClass": "88.999.1001/A"}], {}, []]
)  # fmt: skip
_near = st.dictionaries(st.sampled_from(_NAMES), _SENSIBLE | _json, max_size=10)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_near | st.lists(_near, max_size=3) | st.builds(
    lambda inner: {"type": "EPCISDocument", "epcisBody": inner}, st.fixed_dictionaries({"eventList": _json | st.lists(_near, max_size=2)}) | _json))  # fmt: skip
async def test_no_body_makes_a_500(client: Any, goods: Any, body: Any) -> None:
    headers = goods.headers | {"content-type": "application/ld+json"}
    answer = await client.post(ROUTE, content=json.dumps(body).encode(), headers=headers)
    assert answer.status_code < 500, answer.text
    if answer.status_code == 200 and "results" in answer.json():
        assert all(r["code"] != "internal" for r in answer.json()["results"] if "code" in r)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["object", "aggregation", "association", "transaction", "transformation"]),
       name=st.sampled_from(_NAMES), value=_SENSIBLE | _json)  # fmt: skip
async def test_no_changed_member_makes_a_500(client: Any, goods: Any, kind: str, name: str, value: Any) -> None:
    body = kinds(goods.prefix)[kind] | {name: value}
    answer = await client.post(ROUTE, content=json.dumps([body]).encode(),
                               headers=goods.headers | {"content-type": "application/json"})  # fmt: skip
    assert answer.status_code in (200, 400), answer.text
