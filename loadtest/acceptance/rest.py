"""What the run asks a node for besides its load: is it one of ours, whose key is this, what do its counters say."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from node.demo import credit_code


class Incomplete(Exception):
    """The run cannot go on; `zh` and `en` say why, for the first page of the report."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(f"{zh} / {en}")
        self.zh, self.en = zh, en


class Rest:
    """A node's REST API as one enterprise, or as an operator."""

    def __init__(self, url: str, key: str = "") -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.AsyncClient(base_url=url, headers=headers, timeout=120)

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        """The JSON of an answer; once more after a moment where it is away, Incomplete where it refuses."""
        for wait in (0.5, 2.0, 5.0, 10.0, None):
            try:
                answer = await self.client.request(method, path, **more)
            except httpx.HTTPError as error:
                said = f"{type(error).__name__} {error}"
                if "CERTIFICATE_VERIFY_FAILED" in said:
                    raise Incomplete(
                        f"节点的证书不受信任，可用 --ca 指定签发者：{error}",
                        f"the node's certificate is not trusted; --ca names its issuer: {error}",
                    ) from None
            else:
                if answer.is_success:
                    return _document(answer, path)
                said = f"{answer.status_code} {answer.text[:300]}"
                if answer.status_code == 401:
                    raise Incomplete("密钥无效或已吊销", f"the key is refused ({path}: {said})")
                if answer.status_code < 500 and answer.status_code != 429:
                    raise Incomplete(f"节点拒绝了 {path}：{said}", f"the node refused {path}: {said}")
            if wait is not None:
                await asyncio.sleep(wait)
        raise Incomplete(f"节点没有应答 {path}：{said}", f"the node does not answer {path}: {said}")

    async def close(self) -> None:
        await self.client.aclose()


def _document(answer: httpx.Response, path: str) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise Incomplete(
            f"{path} 的应答不是 JSON，对方不是本系统的节点", f"{path} is answered without JSON: not a node of this kind"
        ) from None


async def prefix_of(rest: Rest) -> str:
    """The prefix of the key's enterprise; Incomplete where this is not a node of ours or the key not good."""
    listed = await rest.ask("GET", "/api/v1/templates")
    names = {t.get("name") for t in listed.get("templates", [])} if isinstance(listed, dict) else set()
    if "pear@1" not in names:
        raise Incomplete(
            "对方不是本系统的节点（没有行业模板）", "this is no node of ours: it has no industry templates"
        )
    found = await rest.ask("GET", "/api/v1/prefixes")
    usable = [p["prefix"] for p in found.get("prefixes", []) if p.get("status") == "enabled"]
    if not usable:
        raise Incomplete("此密钥的企业没有启用的前缀", "the key's enterprise has no enabled prefix")
    return str(usable[0])


async def new_owner(operator: Rest, number: int, industry: str, spread: int) -> tuple[str, str]:
    """An enterprise applies and is approved: (prefix, key)."""
    form = {
        "credit_code": credit_code(1000 + number),
        "name": f"宿州市示范企业{number:03d}有限公司",
        "industry": industry,
        "county": "341302",
        "contact": {"person": "张示范", "phone": "0557-8010000", "email": f"firm{number}@example.com"},
    }
    applied = await operator.ask("POST", "/api/v1/applications", json=form)
    decision = {"decision": "approve", "reason": "验收测试 / acceptance run", "spread": spread}
    decided = await operator.ask("POST", f"/api/v1/applications/{applied['id']}:decide", json=decision)
    return decided["prefix"], decided["api_key"]


async def registered(rest: Rest, prefix: str) -> int:
    """What the counters say is registered under a prefix; asked until two answers agree, for they are folded each
    second."""
    before = -1
    for _ in range(20):
        now = int((await rest.ask("GET", f"/api/v1/statistics?prefix={prefix}"))["registered"])
        if now == before:
            return now
        before = now
        await asyncio.sleep(1.2)
    return before
