"""What an item inherits from its lot and from the packages it was in, and the trace as an EPCIS document."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from event_bodies import check_document, document, event, place

from node import containment, onboarding
from node.model import Identity
from node.runtime import reading

ROUTE = "/api/v1/events"
HTML = {"Accept": "text/html"}
_NAME = "shared/data/EPCIS-JSON-Schema.json"
_ABOVE = Path(__file__).resolve().parents[2:4]  # beside the project, or above a worktree of it
SCHEMA = next((folder / _NAME for folder in _ABOVE if (folder / _NAME).exists()), None)
DAY = "2026-09-"


class Yard:
    """An enterprise with fresh handles for each test."""

    def __init__(self, client: Any, firm: Any, name: str) -> None:
        self.client, self.firm, self.name, self.lot = client, firm, name, f"{firm.prefix}/{name}-LOT"

    def at(self, suffix: str) -> str:
        return f"{self.firm.prefix}/{self.name}-{suffix}"

    async def build(self, *suffixes: str) -> None:
        headers = self.firm.headers
        assert (await self.client.post("/api/v1/lots", json={"handle": self.lot}, headers=headers)).status_code == 201
        rows = [{"handle": self.at(s), **({"lot": self.lot} if s.startswith("item") else {})} for s in suffixes]
        answer = await self.client.post("/api/v1/handles:batch", json=rows, headers=headers)
        assert answer.json()["summary"]["created"] == len(rows), answer.text

    async def post(self, *bodies: dict[str, Any]) -> None:
        answer = await self.client.post(ROUTE, json=list(bodies), headers=self.firm.headers)
        assert {r["outcome"] for r in answer.json()["results"]} <= {"created", "withdrawn"}, answer.text

    def packs(self, when: str, parent: str, *children: str, action: str = "ADD", **more: Any) -> dict[str, Any]:
        held = {"parentID": self.at(parent), **({"childEPCs": [self.at(c) for c in children]} if children else {})}
        return event("AggregationEvent", DAY + when, action=action, readPoint=place(f"{action} {when}"), **held, **more)

    def seen(self, when: str, suffix: str, name: str, **more: Any) -> dict[str, Any]:
        return event("ObjectEvent", DAY + when, epcList=[self.at(suffix)], readPoint=place(name), **more)

    async def trace(self, suffix: str) -> dict[str, Any]:
        answer = await self.client.get(
            ROUTE, params={"handle": self.at(suffix)}, headers=self.firm.headers | {"Accept": "application/ld+json"}
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/ld+json"
        found: dict[str, Any] = answer.json()
        check_document(found)
        return found

    async def places(self, suffix: str) -> list[str]:
        found = await self.trace(suffix)
        return [
            e["readPoint"].get("ext:name") or e["readPoint"]["idnode:name"] for e in found["epcisBody"]["eventList"]
        ]


@pytest.fixture(scope="module")
async def settings(settings: Any) -> Any:
    """With a public address: serials are minted for no other."""
    return replace(settings, public_url="https://id.example.com")


@pytest.fixture
async def yard(client: Any, firm: Any, request: pytest.FixtureRequest) -> Yard:
    return Yard(client, firm, f"Y{abs(hash(request.node.name)) % 10**8}")


async def test_an_item_has_what_happened_to_its_parents_while_inside(yard: Yard) -> None:
    await yard.build("item", "other", "pallet", "box")
    await yard.post(
        event("ObjectEvent", DAY + "01T08:00:00", quantityList=[{"epcClass": yard.lot}], readPoint=place("orchard")),
        yard.seen("02T08:00:00", "pallet", "before"),
        yard.packs("09T08:00:00", "box", "pallet", action="DELETE"),
        yard.packs("01T09:00:00", "box", "pallet"),  # the pallet was in the box before the item came
        yard.packs("03T08:00:00", "pallet", "item"),
        yard.packs("04T08:00:00", "pallet", "other"),  # another carton's packing is not this one's
        yard.seen("05T08:00:00", "pallet", "inside", bizStep="shipping"),
        yard.seen("06T08:00:00", "box", "ship"),
        yard.packs("07T08:00:00", "pallet", "item", action="DELETE"),
        yard.seen("07T08:00:00", "pallet", "at its leaving"),
        yard.seen("08T08:00:00", "pallet", "after"),
        yard.seen("08T09:00:00", "item", "shop"),
    )
    expected = ["orchard", "ADD 03T08:00:00", "inside", "ship", "DELETE 07T08:00:00", "shop"]
    assert await yard.places("item") == expected
    page = (await yard.client.get(f"/{yard.at('item')}", headers=HTML)).text
    positions = [page.index(f"<span>{name}</span>") for name in expected]
    assert positions == sorted(positions)
    assert "2026-09-05 08:00" in page  # place and time of the pallet's shipping
    for name in ("before", "after", "at its leaving", "ADD 04T08:00:00"):
        assert f"<span>{name}</span>" not in page


async def test_a_step_without_a_word_is_another_step(yard: Yard) -> None:
    await yard.build("item")
    own = yard.seen("03T08:00:00", "item", "own", bizStep="https://own.example/steps/polishing")
    none = {k: v for k, v in yard.seen("04T08:00:00", "item", "none").items() if k != "bizStep"}
    await yard.post(own, none)
    for lang, word in (("zh", "其他"), ("en", "Other")):
        page = (await yard.client.get(f"/{yard.at('item')}?lang={lang}", headers=HTML)).text
        assert page.count(f"<li><b>{word}</b>") == 2
    assert [e.get("bizStep") for e in (await yard.trace("item"))["epcisBody"]["eventList"]] == [own["bizStep"], None]


async def test_a_parent_emptied_and_an_item_put_in_again(yard: Yard) -> None:
    await yard.build("item", "pallet")
    await yard.post(
        yard.packs("03T08:00:00", "pallet", "item"),
        yard.packs("04T08:00:00", "pallet", action="DELETE"),  # no children named: all of them
        yard.seen("05T08:00:00", "pallet", "empty"),
        yard.packs("06T08:00:00", "pallet", "item"),
        yard.seen("07T08:00:00", "pallet", "again"),
    )
    assert await yard.places("item") == ["ADD 03T08:00:00", "ADD 06T08:00:00", "again"]


async def test_a_busy_pallet_keeps_what_happened_while_the_item_was_on_it(yard: Yard, monkeypatch: Any) -> None:
    """Of each handle the newest are read: the newest of the time that counts, and every way in, however old."""
    monkeypatch.setattr(containment, "PER_HANDLE", 2)
    await yard.build("item", "pallet")
    await yard.post(
        yard.packs("03T08:00:00", "pallet", "item"),
        yard.seen("04T08:00:00", "pallet", "inside"),
        yard.packs("05T08:00:00", "pallet", "item", action="DELETE"),
        *(yard.seen(f"06T08:00:{n:02d}", "pallet", f"later {n}") for n in range(5)),
        *(yard.seen(f"07T08:00:{n:02d}", "item", f"own {n}") for n in range(3)),
    )
    assert await yard.places("item") == ["inside", "own 1", "own 2"]


async def test_a_withdrawn_packing_gives_nothing(yard: Yard) -> None:
    await yard.build("item", "pallet")
    packed = yard.packs("03T08:00:00", "pallet", "item", eventID="urn:example:packed:" + yard.name)
    await yard.post(packed, yard.seen("04T08:00:00", "pallet", "inside"))
    assert await yard.places("item") == ["ADD 03T08:00:00", "inside"]
    await yard.post(packed | {"errorDeclaration": {"declarationTime": "2026-09-05T08:00:00Z"}})
    (left,) = (await yard.trace("item"))["epcisBody"]["eventList"]
    assert left["errorDeclaration"] == {"declarationTime": "2026-09-05T08:00:00Z"}
    assert "<span>inside</span>" not in (await yard.client.get(f"/{yard.at('item')}", headers=HTML)).text


async def test_quantities_and_observations_put_nothing_in(yard: Yard) -> None:
    """That a pallet holds ten of a lot says nothing of any one of them; nor does an association or an observation."""
    await yard.build("item", "pallet")
    some = {"childQuantityList": [{"epcClass": yard.lot, "quantity": 10}]}
    await yard.post(
        event("AggregationEvent", DAY + "03T08:00:00", parentID=yard.at("pallet"), readPoint=place("ten"), **some),
        yard.packs("03T09:00:00", "pallet", "item", action="OBSERVE"),
        event("AssociationEvent", DAY + "03T10:00:00", action="ADD", parentID=yard.at("pallet"),
              childEPCs=[yard.at("item")], readPoint=place("tag")),
        yard.seen("04T08:00:00", "pallet", "elsewhere"),
    )  # fmt: skip
    assert await yard.places("item") == ["ten", "OBSERVE 03T09:00:00", "tag"]


async def test_cycles_and_depth_end(yard: Yard) -> None:
    chain = [f"p{n}" for n in range(containment.MAX_DEPTH + 2)]
    await yard.build("item", *chain)
    links = [yard.packs("03T08:00:00", parent, child) for child, parent in zip(["item", *chain], chain, strict=False)]
    await yard.post(
        *links,
        yard.packs("03T09:00:00", "item", chain[1]),  # a cycle
        *(yard.seen(f"04T08:00:{n:02d}", name, name) for n, name in enumerate(chain)),
    )
    found = await yard.places("item")
    assert [name for name in found if name in chain] == chain[: containment.MAX_DEPTH]


async def test_a_parent_under_another_prefix_of_the_enterprise(
    client: Any, node: Any, make_firm: Any, make_application: Any
) -> None:
    form = make_application()
    first = await make_firm(credit_code=form["credit_code"])
    applied = await onboarding.apply(node, json.dumps(form).encode(), None)
    decision = json.dumps({"decision": "approve", "reason": "资料齐全"}).encode()
    decided = await onboarding.decide(node, Identity("operator:test", role="admin"), applied["id"], decision, None)
    second = decided["prefix"]
    assert second != first.prefix
    yard = Yard(client, first, "TWO")
    await yard.build("item")
    pallet = f"{second}/PALLET"
    made = await client.post("/api/v1/handles", json={"handle": pallet}, headers=first.headers)
    assert made.status_code == 201, made.text
    await yard.post(
        event("AggregationEvent", parentID=pallet, childEPCs=[yard.at("item")], readPoint=place("in")),
        event("ObjectEvent", DAY + "13T08:00:00", epcList=[pallet], readPoint=place("away")),
    )
    assert await yard.places("item") == ["in", "away"]


async def test_what_a_serial_without_a_row_inherits(yard: Yard) -> None:
    await yard.build("pallet")
    headers, lot = yard.firm.headers, f"/api/v1/lots/{yard.lot}"
    answer = await yard.client.post(f"{lot}:mint", json={"count": 2}, headers=headers)
    assert answer.status_code == 201, answer.text
    minted = answer.json()
    printed = await yard.client.get(minted["serials"], headers=headers)
    serial = f"{yard.firm.prefix}/{printed.text.splitlines()[1].split(',')[0]}"
    packed = event("AggregationEvent", parentID=yard.at("pallet"), childEPCs=[serial], readPoint=place("in"))
    early = await yard.client.post(ROUTE, json=packed, headers=headers)
    assert (early.status_code, early.json()["errors"][0]["field"]) == (404, "childEPCs[0]")
    active = await yard.client.post(f"{lot}:activate", json={"run": minted["run"]}, headers=headers)
    assert active.status_code == 200, active.text
    forged = packed | {"childEPCs": [serial[:-1] + ("0" if serial[-1] != "0" else "1")]}
    assert (await yard.client.post(ROUTE, json=forged, headers=headers)).json()["code"] == "forged_serial"
    await yard.post(packed, yard.seen("13T08:00:00", "pallet", "away"))
    page = (await yard.client.get(f"/{serial}", headers=HTML)).text
    assert page.index("<span>in</span>") < page.index("<span>away</span>")


def _everything(yard: Yard) -> list[dict[str, Any]]:
    p, lot = yard.at("pallet"), [{"epcClass": yard.lot, "quantity": 1.5, "uom": "KGM"}]
    report = {"type": "Temperature", "value": 0.5, "uom": "CEL", "time": "2026-09-01T08:00:00Z", "ext:probe": "3"}
    return [
        yard.seen("01T08:00:00", "item", "a", action="ADD", bizStep="https://ref.gs1.org/cbv/BizStep-commissioning",
                  disposition="active", ilmd={"ext:grade": "一级"}, certificationInfo=["urn:example:cert:1"],
                  persistentDisposition={"set": ["completeness_verified"]}),
        event("ObjectEvent", DAY + "01T09:00:00", epcList=[yard.at("item")], quantityList=lot, readPoint=place("b"),
              bizLocation={"id": "urn:epc:id:sgln:6901234.00001.0"},
              bizTransactionList=[{"type": "po", "bizTransaction": "urn:example:po:1"}],
              sourceList=[{"type": "possessing_party", "source": "urn:example:party:1"}],
              destinationList=[{"type": "location", "destination": "urn:example:place:1"}],
              sensorElementList=[{"sensorMetadata": {"deviceID": "urn:example:d:1"}, "sensorReport": [report]}]),
        yard.packs("02T08:00:00", "pallet", "item"),
        event("AssociationEvent", DAY + "02T09:00:00", action="ADD", parentID=p, childEPCs=[yard.at("item")]),
        event("TransactionEvent", DAY + "02T10:00:00", parentID=p, epcList=[yard.at("item")],
              bizTransactionList=[{"bizTransaction": "urn:example:inv:1"}]),
        event("TransformationEvent", DAY + "02T11:00:00", inputQuantityList=lot, outputEPCList=[yard.at("item")],
              transformationID="urn:example:t:1"),
        yard.packs("05T08:00:00", "pallet", action="DELETE"),
    ]  # fmt: skip


async def _told(yard: Yard) -> dict[str, Any]:
    await yard.build("item", "pallet")
    headers = yard.firm.headers | {"Content-Type": "application/ld+json"}
    answer = await yard.client.post(ROUTE, content=json.dumps(document(*_everything(yard))), headers=headers)
    assert answer.json()["summary"]["created"] == 7, answer.text
    short = {"handle": yard.at("item"), "eventId": "s-" + yard.name, "eventTime": "2026-09-06T08:00:00+08:00"}
    short |= {
        "bizStep": "harvesting",
        "type": "TransactionEvent",
        "disposition": "很好",
        "readPoint": "良梨镇",
        "note": "x",
    }
    await yard.post(short)
    wrong = yard.seen("06T09:00:00", "item", "wrong")
    await yard.post(wrong, wrong | {"errorDeclaration": {"declarationTime": "2026-09-07T08:00:00Z", "ext:by": "QC"}})
    return await yard.trace("item")


async def test_a_trace_as_a_document(yard: Yard, settings: Any) -> None:
    found = await _told(yard)
    events = found["epcisBody"]["eventList"]
    assert [e["type"] for e in events] == [
        "ObjectEvent", "ObjectEvent", "AggregationEvent", "AssociationEvent", "TransactionEvent",
        "TransformationEvent", "ObjectEvent", "ObjectEvent",
    ]  # fmt: skip
    first, short = events[0], events[6]
    assert first["epcList"] == [f"{settings.public_url}/{yard.at('item')}"]
    assert (first["bizStep"], first["ilmd"]) == ("commissioning", {"ext:grade": "一级"})
    assert first["@context"] == [{"ext": "https://e.example/"}]  # what `ext:` means goes with the event
    assert events[1]["sensorElementList"][0]["sensorReport"][0]["ext:probe"] == "3"
    assert short["bizStep"] == f"{settings.public_url}/vocabulary/step/harvesting"
    assert short["readPoint"]["idnode:name"] == "良梨镇"
    assert events[7]["errorDeclaration"]["ext:by"] == "QC"
    # What was exported is the same event when it comes back.
    back = await yard.client.post(
        ROUTE, json=found | {"epcisBody": {"eventList": events[:6]}}, headers=yard.firm.headers
    )
    assert [r["outcome"] for r in back.json()["results"]] == ["unchanged"] * 6, back.text
    plain = await yard.client.get(ROUTE, params={"handle": yard.at("item")}, headers=yard.firm.headers)
    assert plain.headers["content-type"] == "application/json"
    asked = {"handle": yard.at("item"), "format": "epcis"}
    assert (await yard.client.get(ROUTE, params=asked, headers=yard.firm.headers)).json()["type"] == "EPCISDocument"


@pytest.mark.skipif(SCHEMA is None, reason=f"no ../{_NAME}: GS1's schema lies beside the project, not in it")
async def test_a_document_is_valid_by_the_published_schema(yard: Yard) -> None:
    assert SCHEMA is not None
    schema = json.loads(SCHEMA.read_text("utf-8"))
    validator = jsonschema.Draft7Validator(schema, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER)
    found = await _told(yard)
    assert [f"{list(e.absolute_path)}: {e.message}" for e in validator.iter_errors(found)] == []
    found["epcisBody"]["eventList"][0]["colour"] = "red"
    assert list(validator.iter_errors(found))  # it does look


async def test_an_event_from_before_there_were_documents(yard: Yard, node: Any) -> None:
    await yard.build("item")
    short = {"handle": yard.at("item"), "eventId": "old-" + yard.name, "eventTime": "2026-09-06T08:00:00+08:00"}
    await yard.post(short | {"bizStep": "storing", "readPoint": "旧库", "note": "旧"})
    before = (await yard.trace("item"))["epcisBody"]
    async with reading(node) as conn:
        await conn.execute(
            "DELETE FROM event_document WHERE event_id = $1 AND shard = ANY ($2::smallint[])",
            short["eventId"],
            list(range(1024)),
        )
    assert (await yard.trace("item"))["epcisBody"] == before


async def test_what_can_be_asked_for(yard: Yard, stranger: Any) -> None:
    await yard.build("item")
    item = {"handle": yard.at("item"), "format": "epcis"}
    assert (await yard.trace("item"))["epcisBody"]["eventList"] == []
    assert (await yard.client.get(ROUTE, params=item)).status_code == 401
    assert (await yard.client.get(ROUTE, params=item, headers=stranger.headers)).status_code in (403, 404)
    unknown = item | {"handle": yard.at("none")}
    assert (await yard.client.get(ROUTE, params=unknown, headers=yard.firm.headers)).status_code == 404
    odd = item | {"format": "xml"}
    assert (await yard.client.get(ROUTE, params=odd, headers=yard.firm.headers)).status_code == 400
