"""The calls of a day: what is sent for an arrival, and how the oracle judges its answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Any

import orjson

from loadtest.acceptance.arrivals import Arrival, popular
from loadtest.acceptance.firms import SINGLE, Batch, Firm, Share
from loadtest.acceptance.lean import Lean, NoAnswer, Reply, Target
from loadtest.acceptance.oracle import Oracle
from loadtest.acceptance.tally import Tally

_IMAGE = re.compile(rb'<img class="claim" src="([^"]+)"')
_AWAY = (429, 500, 502, 503, 504)  # of a write: its outcome is unknown
_SINGLES = 10_000_000  # numbers for each generator
_OF_A_BATCH = 20
MALFORMED = ("/{p}//x", "/{p}/%00", "/{p}/%FF%FE", "/{p}/a%0Ab", "/{p}/../x", "/{p}/" + "x" * 3000)


class Failed(Exception):
    """No answer to judge: (cause, example)."""

    def __init__(self, cause: str, example: str = "") -> None:
        super().__init__(cause)
        self.cause, self.example = cause, example


class Nothing(Exception):
    """There is nothing to ask just now: no page was seen yet, or a write of that handle is under way."""


@dataclass(slots=True)
class Single:
    """A registration from a production line, sent once; whether it was acknowledged is the oracle's to know."""

    batch: Batch
    number: int
    key: str  # Idempotency-Key
    answer: bytes = b""


@dataclass
class Day:
    """One generator at work."""

    target: Target
    share: Share
    oracle: Oracle
    tally: Tally
    worker: int
    start: float  # monotonic, of the run
    tag: str
    later: int = 0  # singles of earlier phases
    singles: list[Single] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)  # addresses of images that no phone asked for yet
    timeout: float = 10.0
    wait: Callable[[float], None] = lambda seconds: None
    spawn: Callable[[Callable[[], None]], Any] = lambda work: work()
    following: list[Any] = field(default_factory=list)  # replays under way

    def run(self, client: Lean, arrival: Arrival, begin: float) -> None:
        """Do what is due and note what came of it. Latency counts from when it was due."""
        due = begin + arrival.due
        late = monotonic() - due
        if late > 0.01:
            self.tally.late += 1
            self.tally.latest = max(self.tally.latest, late)
        cause = example = ""
        industry = "none"
        try:
            industry = getattr(self, f"_{arrival.call}")(client, arrival)
        except Failed as failed:
            cause, example = failed.cause, failed.example
        except NoAnswer as error:
            cause = str(error)
        except Nothing:
            return
        now = monotonic()
        self.tally.offer(due - self.start)
        self.tally.done(now - self.start, arrival.call, industry or "none", (now - due) * 1000, cause, example)

    def skip(self, arrival: Arrival, begin: float) -> None:
        """The phase is long over: what still waits for a connection is given up, and counted as an error."""
        now = monotonic()
        taken = (now - begin - arrival.due) * 1000
        self.tally.offer(begin + arrival.due - self.start)
        self.tally.done(now - self.start, arrival.call, "none", taken, "not_sent", "no connection became free")

    # --- reading

    def _subject(self, arrival: Arrival) -> tuple[Batch, int, int]:
        """(lot, number, version before all writes) of what an arrival is about; one in twenty was registered today."""
        if self.singles and arrival.luck > 0.95:
            single = self.singles[int(arrival.pick * len(self.singles))]
            return single.batch, single.number, 0
        position = popular(arrival.pick, arrival.luck / 0.95, self.share.size)
        batch, number = self.share.item(min(position, self.share.size - 1))
        return batch, number, 1

    def _resolve(self, client: Lean, arrival: Arrival) -> str:
        batch, number, first = self._subject(arrival)
        reply = client.ask(self.target.request("GET", "/" + batch.firm.handle(number)))
        self.judge("resolve", batch, number, first, reply.status, reply.body, reply)
        return batch.firm.trade

    def judge(
        self, call: str, batch: Batch, number: int, first: int, status: int, body: bytes | dict[str, Any], reply: Reply
    ) -> None:
        """Hold an answer to one handle against the oracle."""
        firm, begun, ended = batch.firm, reply.begun, reply.ended
        if status >= 500 or status == 429:
            raise Failed(str(status), _short(body))
        document = orjson.loads(body) if isinstance(body, bytes) else body
        if status == 200:
            fault = self.oracle.record(firm, number, batch.lot, document, begun, ended, first)
        elif status == 404 and document.get("code") == "handle_not_found":
            fault = self.oracle.absent(firm, number, begun, ended, first)
        else:
            fault = "wrong", "200", f"{status} {_short(body)}"
        if fault:
            self.tally.fault(fault[0], call, firm.handle(number), fault[1], fault[2], ended - self.start)

    def _batch_resolve(self, client: Lean, arrival: Arrival) -> str:
        pick = Random(arrival.pick)
        asked = [self._subject(Arrival(0, "resolve", 0, pick.random(), pick.random())) for _ in range(_OF_A_BATCH)]
        self.resolve_many(client, asked)
        return asked[0][0].firm.trade

    def resolve_many(self, client: Lean, asked: Sequence[tuple[Batch, int, int]]) -> None:
        """POST /api/v1/resolve:batch, each result judged."""
        names = [batch.firm.handle(number) for batch, number, _ in asked]
        reply = client.ask(self.target.request("POST", "/api/v1/resolve:batch", orjson.dumps({"handles": names})))
        if reply.status != 200:
            raise Failed(str(reply.status), _short(reply.body))
        results = orjson.loads(reply.body)["results"]
        if [r["handle"] for r in results] != names:
            self.tally.fault("wrong", "batch_resolve", names[0], "results in order", "others", 0)
            return
        for (batch, number, first), result in zip(asked, results, strict=True):
            body = result.get("record") or result.get("problem") or {}
            self.judge("batch_resolve", batch, number, first, result["status"], body, reply)

    def _scan(self, client: Lean, arrival: Arrival) -> str:
        batch, number, first = self._subject(arrival)
        firm, handle = batch.firm, batch.firm.handle(number)
        reply = client.ask(self.target.request("GET", "/" + handle, Accept="text/html"))
        if reply.status >= 500 or reply.status == 429:
            raise Failed(str(reply.status))
        if reply.status == 404:
            fault = self.oracle.absent(firm, number, reply.begun, reply.ended, first)
        elif reply.status != 200 or f"<code>{handle}</code>".encode() not in reply.body:
            fault = "wrong", f"the page of {handle}", f"{reply.status}, another page"
        else:
            fault = self._page(firm, number, first, reply)
        if fault:
            self.tally.fault(fault[0], "scan", handle, fault[1], fault[2], reply.ended - self.start)
        found = _IMAGE.search(reply.body)
        if found and len(self.claims) < 2000:
            self.claims.append(found[1].decode())
        return firm.trade

    def _page(self, firm: Firm, number: int, first: int, reply: Reply) -> tuple[str, object, object] | None:
        """A page names its version by its URL, from the second one on."""
        start = firm.address(number, 0)[:-1].encode()
        seen = {int(v) for v in re.findall(re.escape(start) + rb"(\d+)", reply.body)} or {1}
        if len(seen) > 1:
            return "wrong", "one version", sorted(seen)
        return self.oracle.version(firm, number, seen.pop(), reply.begun, reply.ended, first)

    def _claim(self, client: Lean, arrival: Arrival) -> str:
        """The image that a phone asks for after its page; none where no page was seen yet."""
        if not self.claims:
            raise Nothing
        path = self.claims.pop(int(arrival.pick * len(self.claims)))
        path = "/" + path.partition("://")[2].partition("/")[2] if "://" in path else path
        reply = client.ask(self.target.request("GET", path))
        if reply.status != 200:
            raise Failed(str(reply.status), _short(reply.body))
        if not reply.body.startswith(b"GIF89a"):
            self.tally.fault("wrong", "claim", path, "an image", _short(reply.body), reply.ended - self.start)
        return "none"

    def _unknown(self, client: Lean, arrival: Arrival) -> str:
        """Handles that nobody registered, and prefixes that are not here; half of them will be registered soon."""
        batch, _ = self.share.item(int(arrival.pick * self.share.size))
        firm = batch.firm
        if arrival.luck < 0.5:  # the singles to come: what was said of them before is not remembered too long
            self._resolve_single_to_come(client, arrival)
            return firm.trade
        absent = arrival.luck < 0.9
        handle = f"{firm.prefix}/{firm.run}-NO-{arrival.number}" if absent else f"88.999.99999999/{arrival.number}"
        reply = client.ask(self.target.request("GET", "/" + handle))
        if reply.status >= 500 or reply.status == 429:
            raise Failed(str(reply.status))
        code = orjson.loads(reply.body).get("code")
        expected = "handle_not_found" if absent else "unknown_prefix"
        if reply.status != 404 or code != expected:
            got = f"{reply.status} {code}"
            self.tally.fault("wrong", "unknown", handle, expected, got, reply.ended - self.start)
        return firm.trade

    def _resolve_single_to_come(self, client: Lean, arrival: Arrival) -> None:
        number = self._single_number(len(self.singles) + int(arrival.pick * 3))
        batch = self._single_batch(number)
        reply = client.ask(self.target.request("GET", "/" + batch.firm.handle(number)))
        self.judge("unknown", batch, number, 0, reply.status, reply.body, reply)

    def _malformed(self, client: Lean, arrival: Arrival) -> str:
        batch, _ = self.share.item(int(arrival.pick * self.share.size))
        path = MALFORMED[arrival.number % len(MALFORMED)].replace("{p}", batch.firm.prefix)
        reply = client.ask(self.target.request("GET", path))
        if reply.status >= 500 or reply.status == 429:
            raise Failed(str(reply.status))
        named = b'"code"' in reply.body and b"problem+json" in reply.head
        if not 400 <= reply.status < 500 or not named:
            got = f"{reply.status} {_short(reply.body)}"
            self.tally.fault("wrong", "malformed", path[:100], "4xx with a code", got, reply.ended - self.start)
        return "none"

    # --- writing

    def _single_number(self, n: int) -> int:
        """Odd: none ends in 0, for which the codec would have to rewrite a weight (industry_rows)."""
        return SINGLE + self.worker * _SINGLES + 2 * (self.later + n) + 1

    def _single_batch(self, number: int) -> Batch:
        return self.share.written[number // 2 % len(self.share.written)]

    def _register(self, client: Lean, arrival: Arrival) -> str:
        number = self._single_number(len(self.singles))
        batch = self._single_batch(number)
        firm = batch.firm
        single = Single(batch, number, f"{self.tag}-{self.worker}-{number}")
        known = self.oracle.item(firm, number, 0)
        self.oracle.lot_of[firm.index, number] = batch.lot
        self.singles.append(single)
        self.oracle.sent((firm.index, number), known, monotonic())
        try:
            self._send_single(client, single, "register")
        except (NoAnswer, Failed):
            known.frozen = True
            self._again(firm.trade, lambda other: self._send_single(other, single, "replay"))
            raise
        if arrival.luck < 0.3:  # the line reads back what it was told is registered
            reply = client.ask(self.target.request("GET", "/" + firm.handle(number)))
            self.judge("register", batch, number, 0, reply.status, reply.body, reply)
        return firm.trade

    def _send_single(self, client: Lean, single: Single, call: str, key: bool = True) -> None:
        """Once more is the same: with its Idempotency-Key the same answer, without it 200 and unchanged."""
        firm, handle = single.batch.firm, single.batch.firm.handle(single.number)
        body = orjson.dumps(firm.document(single.number, single.batch.lot, 1))
        more = {"Idempotency_Key": single.key} if key else {}
        known = self.oracle.item(firm, single.number, 0)
        settled = bool(single.answer)
        reply = client.ask(self.target.request("POST", "/api/v1/handles", body, firm.key, **more))
        if reply.status in _AWAY:
            raise Failed(str(reply.status), _short(reply.body))
        fault: tuple[str, object, object] | None = None
        if reply.status not in (200, 201):
            fault = "wrong", "201", f"{reply.status} {_short(reply.body)}"
        elif settled and not key and reply.status == 201:
            fault = "doubled", "200, unchanged", "201: created a second time"
        elif settled and key and reply.body != single.answer:
            fault = "doubled", single.answer[:200], reply.body[:200]
        if fault:
            self.tally.fault(fault[0], call, handle, fault[1], fault[2], reply.ended - self.start)
        if not settled and fault is None:
            single.answer = reply.body
            self.oracle.acknowledged((firm.index, single.number), known, 1, reply.ended)
        elif not key and fault is None:
            self.tally.count("singles_unchanged")

    def _again(self, industry: str, work: Callable[[Lean], None]) -> None:
        """Duplicates after a time-out, as every careful client sends them: four tries beside all else, then the
        outcome stays open."""

        def tries() -> None:
            client = Lean(self.target, self.timeout)
            for seconds in (0.2, 1.0, 3.0, 8.0):
                self.wait(seconds)
                begun, cause = monotonic(), ""
                self.tally.offer(begun - self.start)
                try:
                    work(client)
                except NoAnswer as error:
                    cause = str(error)
                except Failed as failed:
                    cause = failed.cause
                now = monotonic()
                self.tally.done(now - self.start, "replay", industry, (now - begun) * 1000, cause)
                if not cause:
                    break
            else:
                self.tally.count("in_doubt")
            client.close()

        self.following.append(self.spawn(tries))

    def _replay(self, client: Lean, arrival: Arrival) -> str:
        if not self.singles:
            raise Nothing
        single = self.singles[int(arrival.pick * len(self.singles))]
        if not single.answer:  # still under way
            raise Nothing
        self._send_single(client, single, "replay", key=arrival.luck < 0.5)
        return single.batch.firm.trade

    def _update(self, client: Lean, arrival: Arrival) -> str:
        """The next version of an item that no later import speaks of; If-Match holds off what comes too late."""
        position = popular(arrival.pick, arrival.luck, self.share.size)
        batch, number = self.share.item(position)
        firm = batch.firm
        if batch.index in self.share.aside:  # its neighbour instead
            batch = self.share.written[batch.index % len(self.share.written)]
            firm, number = batch.firm, batch.first + number % batch.count
        number = self._beyond_later(batch, number)
        known = self.oracle.item(firm, number)
        if known.frozen or number < firm.later or (known.writes and known.writes[-1][1] == float("inf")):
            raise Nothing
        before = known.latest
        version = self.oracle.sent((firm.index, number), known, monotonic())
        body = orjson.dumps(firm.document(number, batch.lot, version))
        path = f"/api/v1/handles/{firm.handle(number)}"
        put = self.target.request("PUT", path, body, firm.key, If_Match=f'"{before}"')
        try:
            self._put(client, put, batch, number, version, again=False)
        except (NoAnswer, Failed):
            known.frozen = True
            self._again(firm.trade, lambda other: self._put(other, put, batch, number, version, again=True))
            raise
        self.tally.count("updated")
        return firm.trade

    def _beyond_later(self, batch: Batch, number: int) -> int:
        """An item of the lot whose row is not sent again later, where it has one; never a broken one."""
        later, end = batch.firm.later, batch.first + batch.count
        if number < later < end - 1:
            number = later + number % (end - later)
        return number - (number % 200 == 199)

    def _put(self, client: Lean, put: bytes, batch: Batch, number: int, version: int, again: bool) -> None:
        firm, handle = batch.firm, batch.firm.handle(number)
        reply = client.ask(put)
        if reply.status in _AWAY:
            raise Failed(str(reply.status), _short(reply.body))
        known = self.oracle.item(firm, number)
        if reply.status == 412 and again:  # the first one got through: see whether it is there
            reply = client.ask(self.target.request("GET", f"/api/v1/handles/{handle}", key=firm.key))
        if reply.status == 200 and orjson.loads(reply.body).get("version") == version:
            self.oracle.acknowledged((firm.index, number), known, version, reply.ended)
            return
        if reply.status in _AWAY:
            raise Failed(str(reply.status), _short(reply.body))
        self.tally.fault("lost" if reply.status == 412 else "wrong", "update", handle, f"version {version}",
                         f"{reply.status} {_short(reply.body)}", reply.ended - self.start)  # fmt: skip
        known.frozen = True

    def _recall(self, client: Lean, arrival: Arrival) -> str:
        """A lot is recalled, or taken back: all its items say so at once."""
        if not self.share.recalled:
            raise Nothing
        batch = self.share.recalled[int(arrival.pick * len(self.share.recalled))]
        firm, known = batch.firm, self.oracle.lot(batch)
        if known.frozen or (known.writes and known.writes[-1][1] == float("inf")):
            raise Nothing
        version = self.oracle.sent(batch.lot, known, monotonic())
        action = "recall" if version % 2 else "restore"
        path = f"/api/v1/lots/{firm.prefix}/{batch.lot}:{action}"
        request = self.target.request("POST", path, orjson.dumps({"reason": "抽检"}), firm.key)

        def send(client: Lean) -> None:
            reply = client.ask(request)
            if reply.status in _AWAY:
                raise Failed(str(reply.status), _short(reply.body))
            if reply.status == 200:
                self.oracle.acknowledged(batch.lot, known, version, reply.ended)
            else:
                known.frozen = True
                self.tally.fault("wrong", "recall", f"{firm.prefix}/{batch.lot}", "200",
                                 f"{reply.status} {_short(reply.body)}", reply.ended - self.start)  # fmt: skip

        try:
            send(client)
        except (NoAnswer, Failed):
            known.frozen = True
            self._again(firm.trade, send)
            raise
        return firm.trade


def _short(body: object) -> str:
    return body[:300].decode(errors="replace") if isinstance(body, bytes) else str(body)[:300]
