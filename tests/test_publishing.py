"""Publishing a template over REST: once, for ever, and at once usable."""

from __future__ import annotations

from typing import Any

import pytest


def plum(**changes: Any) -> dict[str, Any]:
    return {
        "code": "plum",
        "version": 1,
        "zh": "李子",
        "en": "Plum",
        "industry": "pear",
        "gb4754": "A0151",
        "basis": ["示例 / example"],
        "groups": [{"code": "fruit", "zh": "果实", "en": "Fruit"}],
        "fields": [
            {
                "code": "sugar",
                "zh": "糖度",
                "en": "Sugar",
                "type": "N",
                "unit": "%",
                "min": 5,
                "visibility": "public",
                "group": "fruit",
            }
        ],
        **changes,
    }


async def test_a_version_is_published_once_and_used_at_once(client: Any, firm: Any, operator_headers: Any) -> None:
    first = await client.post("/api/v1/templates", json=plum(), headers=operator_headers)
    assert (first.status_code, first.json()) == (201, {"name": "plum@1", "created": True}), first.text
    again = await client.post("/api/v1/templates", json=plum(), headers=operator_headers)
    assert (again.status_code, again.json()["created"]) == (200, False)
    other = await client.post("/api/v1/templates", json=plum(en="Other"), headers=operator_headers)
    assert (other.status_code, other.json()["code"]) == (409, "already_exists")
    row = {"handle": f"{firm.prefix}/PLUM-1", "template": "plum", "attributes": {"sugar": 1}}
    refused = await client.post("/api/v1/handles", json=row, headers=firm.headers)
    assert {e["field"]: e["code"] for e in refused.json()["errors"]}["attributes.sugar"] == "out_of_range"
    lot = row | {"handle": f"{firm.prefix}/PLUM-LOT", "attributes": {"sugar": 12}}
    assert (await client.post("/api/v1/lots", json=lot, headers=firm.headers)).status_code == 201


async def test_a_newer_version_is_what_its_bare_code_means(client: Any, firm: Any, operator_headers: Any) -> None:
    for version in (1, 2):
        made = plum(code="quince", version=version)
        assert (await client.post("/api/v1/templates", json=made, headers=operator_headers)).status_code == 201
        lot = {"handle": f"{firm.prefix}/Q-{version}", "template": "quince", "attributes": {"sugar": 9}}
        assert (await client.post("/api/v1/lots", json=lot, headers=firm.headers)).status_code == 201
        assert (await client.get(f"/{firm.prefix}/Q-{version}")).json()["template"] == f"quince@{version}"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"code": "Plum!"},
        {"fields": 7},
        {"fields": [7]},
        {"groups": [7]},
        {"fields": [{"code": "x"}]},
        {"unknown": 1},
        {"rules": [{"code": "r", "kind": "order", "earlier": "none", "later": "sugar"}]},
    ],
    ids=str,
)
async def test_a_bad_template_is_refused_by_name(client: Any, operator_headers: Any, changes: dict[str, Any]) -> None:
    answer = await client.post("/api/v1/templates", json=plum(**{"code": "bad"} | changes), headers=operator_headers)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["detail"]
    assert (await client.get("/api/v1/templates/bad")).status_code == 422


async def test_enterprises_do_not_publish(client: Any, firm: Any) -> None:
    assert (await client.post("/api/v1/templates", json=plum(), headers=firm.headers)).status_code == 401
