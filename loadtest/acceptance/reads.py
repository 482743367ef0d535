"""What is read in a day, and how the oracle judges the answers; the state of one generator."""

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
class Reads:
    """What one generator knows and has seen."""

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
    apart: bool = False  # what is the generator's own doing is no latency
    following: list[Any] = field(default_factory=list)  # replays under way

    def run(self, client: Lean, arrival: Arrival, begin: float, own: Callable[[], float] = float) -> None:
        """Do what is due and note what came of it. Latency counts from when it was due. Where a phase counts apart what
        is the generator's doing, `own` tells, once it is answered, the s that it was late with sending, and what its
        answers lay unread is not counted either."""
        due, lain = begin + arrival.due, client.lain
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
        taken = now - due
        if self.apart:
            taken -= own() + client.lain - lain
        self.tally.offer(due - self.start)
        self.tally.done(now - self.start, arrival.call, industry or "none", taken * 1000, cause, example)

    def skip(self, arrival: Arrival, begin: float) -> None:
        """The phase is long over: what still waits for a connection is given up, and counted as an error."""
        now = monotonic()
        taken = (now - begin - arrival.due) * 1000
        self.tally.offer(begin + arrival.due - self.start)
        self.tally.done(now - self.start, arrival.call, "none", taken, "not_sent", "no connection became free")

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
            raise Failed(str(status), short(body))
        document = orjson.loads(body) if isinstance(body, bytes) else body
        if status == 200:
            fault = self.oracle.record(firm, number, batch.lot, document, begun, ended, first)
        elif status == 404 and document.get("code") == "handle_not_found":
            fault = self.oracle.absent(firm, number, begun, ended, first)
        else:
            fault = "wrong", "200", f"{status} {short(body)}"
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
            raise Failed(str(reply.status), short(reply.body))
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
            raise Failed(str(reply.status), short(reply.body))
        if not reply.body.startswith(b"GIF89a"):
            self.tally.fault("wrong", "claim", path, "an image", short(reply.body), reply.ended - self.start)
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
            got = f"{reply.status} {short(reply.body)}"
            self.tally.fault("wrong", "malformed", path[:100], "4xx with a code", got, reply.ended - self.start)
        return "none"

    def _single_number(self, n: int) -> int:
        """Odd: none ends in 0, for which the codec would have to rewrite a weight (industry_rows)."""
        return SINGLE + self.worker * _SINGLES + 2 * (self.later + n) + 1

    def _single_batch(self, number: int) -> Batch:
        return self.share.written[number // 2 % len(self.share.written)]


def short(body: object) -> str:
    return body[:300].decode(errors="replace") if isinstance(body, bytes) else str(body)[:300]
