"""Events for tests: bodies of every type, and the rules of the published schema that need no schema to check."""

from __future__ import annotations

import re
from typing import Any

OFFSET = "+08:00"
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s<>\"{}|\\^`\u0080-\uffff]+")
_COMMON = {
    "type", "eventTime", "eventTimeZoneOffset", "recordTime", "eventID", "certificationInfo", "errorDeclaration",
    "bizStep", "disposition", "readPoint", "bizLocation", "bizTransactionList", "sourceList", "destinationList",
    "sensorElementList", "@context",
}  # fmt: skip
_OWN = {
    "ObjectEvent": {"action", "epcList", "quantityList", "persistentDisposition", "ilmd"},
    "AggregationEvent": {"action", "parentID", "childEPCs", "childQuantityList"},
    "AssociationEvent": {"action", "parentID", "childEPCs", "childQuantityList"},
    "TransactionEvent": {"action", "parentID", "epcList", "quantityList"},
    "TransformationEvent": {
        "inputEPCList", "inputQuantityList", "outputEPCList", "outputQuantityList", "transformationID",
        "persistentDisposition", "ilmd",
    },
}  # fmt: skip


def event(kind: str, when: str = "2026-09-12T08:00:00", **members: Any) -> dict[str, Any]:
    """An event in EPCIS 2.0; `when` is local time of China."""
    body = {"type": kind, "eventTime": f"{when}{OFFSET}", "eventTimeZoneOffset": OFFSET, "bizStep": "packing"}
    if kind != "TransformationEvent":
        body["action"] = "ADD" if kind == "AggregationEvent" else "OBSERVE"
    return body | members


def place(name: str) -> dict[str, str]:
    return {"id": "geo:33.6,116.9", "ext:name": name}


def document(*events: dict[str, Any]) -> dict[str, Any]:
    return {
        "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"ext": "https://e.example/"}],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-09-12T08:00:00Z",
        "epcisBody": {"eventList": list(events)},
    }


def check_document(found: dict[str, Any]) -> None:
    """The main rules of GS1's schema: members, required ones, addresses, times; not its vocabulary lists."""
    assert {"@context", "type", "schemaVersion", "creationDate", "epcisBody"} <= found.keys()
    assert found["type"] == "EPCISDocument"
    for shown in found["epcisBody"]["eventList"]:
        kind = shown["type"]
        extra = shown.keys() - _COMMON - _OWN[kind]
        assert all(_URI.fullmatch(name) for name in extra), extra
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", shown["eventTime"])
        assert re.fullmatch(r"[+-]\d\d:\d\d", shown["eventTimeZoneOffset"])
        addresses = [shown["eventID"]]
        for name in ("epcList", "childEPCs", "inputEPCList", "outputEPCList"):
            addresses += shown.get(name, [])
        for name in ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList"):
            addresses += [entry["epcClass"] for entry in shown.get(name, [])]
        addresses += [shown["parentID"]] if "parentID" in shown else []
        addresses += [shown[name]["id"] for name in ("readPoint", "bizLocation") if name in shown]
        assert all(_URI.fullmatch(address) for address in addresses), addresses
        assert kind == "TransformationEvent" or shown["action"] in ("ADD", "OBSERVE", "DELETE")
        for name in ("bizStep", "disposition"):
            assert name not in shown or re.fullmatch("[a-z_]+", shown[name]) or _URI.fullmatch(shown[name])
        if declared := shown.get("errorDeclaration"):
            assert "declarationTime" in declared
