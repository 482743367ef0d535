"""The application's edges: pages of its own, limits, unknown paths, the path decoded once, and what nobody foresaw."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keeping import until_kept

from node import app as application
from node import polling
from node.app import Guard


async def test_landing_page_lists_the_demo_only_in_dev(
    client: Any, make_firm: Any, other_settings: Any, open_app: Any
) -> None:
    firm = await make_firm(name="萧县示范食品有限公司")
    await client.post("/api/v1/handles", json={"handle": f"{firm.prefix}/shown"}, headers=firm.headers)
    assert "萧县示范食品有限公司" not in (await client.get("/")).text
    async with open_app(other_settings(dev=True)) as dev:
        page = (await dev.get("/")).text
        assert "萧县示范食品有限公司" in page
        assert f"http://127.0.0.1:8000/{firm.prefix}/shown" in page


async def test_docs_name_every_call_and_fetch_nothing_from_elsewhere(client: Any) -> None:
    page = await client.get("/api/docs")
    assert page.status_code == 200
    paths = (await client.get("/api/openapi.json")).json()["paths"]
    assert "/api/v1/handles:batch" in paths
    assert all(path in page.text for path in paths)
    assert "<script" not in page.text
    assert "cdn" not in page.text


async def test_an_unknown_path_is_a_problem_document(client: Any) -> None:
    answer = await client.get("/api/v1/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"
    wrong = await client.put("/api/v1/lots")
    assert wrong.status_code == 405
    assert wrong.headers["content-type"] == "application/problem+json"


async def test_headers_over_their_limit_are_refused(client: Any) -> None:
    answer = await client.get("/health/live", headers={"X-Long": "x" * 20_000})
    assert answer.status_code == 431


async def test_the_path_is_decoded_once_and_strictly(client: Any, firm: Any) -> None:
    await client.post("/api/v1/handles", json={"handle": f"{firm.prefix}/P-1"}, headers=firm.headers)
    for path in (f"/{firm.prefix}/P-1", f"/{firm.prefix}%2FP-1", f"/{firm.prefix}/%50-1"):
        assert (await client.get(path)).status_code == 200, path
    for path, status in (
        (f"/{firm.prefix}/%2550-1", 422),  # decoded once it holds a percent sign
        (f"/{firm.prefix}/%ff", 422),
        (f"/{firm.prefix}/p-1", 404),  # suffixes are exact
        (f"/{firm.prefix}/a%00b", 422),
        ("/88.999.77777/x", 404),
    ):
        assert (await client.get(path)).status_code == status, path


async def test_owner_and_stranger_race_on_one_handle(
    client: Any, firm: Any, stranger: Any, examples: Any, node: Any
) -> None:
    """What only the owner may see reaches neither the cache nor anybody else, in whatever order they ask."""
    handle = f"{firm.prefix}/RACE-1"
    example = examples["pear"]
    attributes = example["lot"] | example["item"]
    row = {"handle": handle, "template": "pear", "attributes": attributes}
    assert (await client.post("/api/v1/handles", json=row, headers=firm.headers)).status_code == 201
    askers = [firm.headers, stranger.headers, {}, {"Cookie": "a=b"}] * 10
    answers = await asyncio.gather(*(client.get(f"/{handle}", headers=headers) for headers in askers))
    for headers, answer in zip(askers, answers, strict=True):
        assert ("dest_party" in answer.json()["attributes"]) == (headers == firm.headers)
        expected = "private, no-store" if headers else "no-cache"
        assert answer.headers["cache-control"] == expected
    assert (await client.get(f"/{handle}")).status_code == 200
    await polling.ensure(node)
    kept = await until_kept(node, handle)
    assert attributes["variety"].encode() in kept[handle]
    assert attributes["dest_party"].encode() not in kept[handle]


async def test_what_nobody_foresaw_is_a_problem_document_without_detail() -> None:
    inner = FastAPI()
    inner.add_exception_handler(Exception, application._unforeseen)

    @inner.get("/boom")
    async def boom() -> None:
        raise RuntimeError("the secret is 42")

    transport = httpx.ASGITransport(app=Guard(inner))
    async with httpx.AsyncClient(transport=transport, base_url="http://node.test") as client:
        answer = await client.get("/boom")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "42" not in answer.text


async def test_forwarded_addresses_are_believed_only_from_trusted_proxies(settings: Any, other_settings: Any) -> None:
    from ipaddress import ip_network

    from node.http.requests import client_address

    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", b"203.0.113.9, 198.51.100.7")]}
    assert client_address(scope, settings) == "10.0.0.1"
    trusting = other_settings(trusted_proxies=(ip_network("10.0.0.0/8"),))
    assert client_address(scope, trusting) == "198.51.100.7"
    both = other_settings(trusted_proxies=(ip_network("10.0.0.0/8"), ip_network("198.51.100.7/32")))
    assert client_address(scope, both) == "203.0.113.9"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
_rows = st.fixed_dictionaries(
    {},
    optional={
        "handle": _json | st.builds("88.999.1001/{}".format, st.text(max_size=20)),
        "template": _json | st.sampled_from(["pear", "home@1", "pear@x"]),
        "lot": _json,
        "attributes": _json,
        "values": _json | st.lists(st.fixed_dictionaries({"index": _json, "type": _json, "data": _json}), max_size=3),
        "eventTime": _json,
        "bizStep": _json,
        "credit_code": _json,
        "contact": _json,
    },
)
ROUTES = ["/api/v1/handles", "/api/v1/lots", "/api/v1/handles:batch", "/api/v1/events", "/api/v1/applications"]


@pytest.mark.parametrize("route", ROUTES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_rows | _json | st.lists(_rows, max_size=3))
async def test_no_body_makes_a_500(client: Any, firm: Any, route: str, body: Any) -> None:
    headers = firm.headers | {"content-type": "application/json"}
    answer = await client.post(route, content=json.dumps(body).encode(), headers=headers)  # NaN and Infinity too
    assert answer.status_code < 500, answer.text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.text(max_size=60), query=st.text(max_size=20), accept=st.sampled_from(["*/*", "text/html", "x;q=z"]))
async def test_no_path_makes_a_500(client: Any, tail: str, query: str, accept: str) -> None:
    for start in ("/88.999.1001/", "/api/handles/", "/find?id="):
        url = httpx.URL(scheme="http", host="node.test", raw_path=_raw(start, tail, query))
        answer = await client.get(url, headers={"Accept": accept})
        assert answer.status_code < 500, (url, answer.text)


@pytest.mark.parametrize("who", ["enterprise", "operator", "nobody"])
async def test_no_parameter_makes_a_500(client: Any, firm: Any, operator_headers: Any, who: str) -> None:
    headers = {"enterprise": firm.headers, "operator": operator_headers, "nobody": {}}[who]
    odd = ["%00", "%ff", "-1", "99999999999999999999", "a%00b", "%F0%9F%8D%90", "OTk5OTk5OTp4", "LTE6AA==", "x" * 3000]
    for text in odd:
        for path in (
            f"/api/v1/prefixes/{firm.prefix}/handles?after={text}",
            f"/api/v1/prefixes/{firm.prefix}/handles?limit={text}",
            f"/api/v1/prefixes/{text}/handles",
            f"/api/v1/handles/{firm.prefix}/{text}",
            f"/api/v1/events?handle={text}",
            f"/api/v1/templates/{text}",
            f"/api/v1/applications?after={text}&status={text}",
            f"/api/v1/applications/{text}",
            f"/api/v1/audit?after={text}",
            f"/api/v1/statistics?prefix={text}",
            f"/{firm.prefix}/{text}?qr={text}",
            f"/api/handles/{firm.prefix}/A?index={text}",
            f"/static/{text}",
        ):
            answer = await client.get(path, headers=headers)
            assert answer.status_code < 500, (path, answer.text)
        for path in (f"/api/v1/handles/{firm.prefix}/{text}?reason={text}", f"/api/v1/keys/{text}"):
            answer = await client.delete(path, headers=headers | {"If-Match": text.replace("%", "")})
            assert answer.status_code < 500, (path, answer.text)
        answer = await client.post(f"/api/v1/prefixes/{text}:suspend", json={"reason": "x"}, headers=headers)
        assert answer.status_code < 500, answer.text


def _raw(start: str, tail: str, query: str) -> bytes:
    from urllib.parse import quote

    mark = "&" if "?" in start else "?"
    return f"{start}{quote(tail, safe='/%?:')}{mark}{quote(query, safe='=&%')}".encode()
