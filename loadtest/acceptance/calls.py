"""The calls of a day: what is sent for an arrival, and how the oracle judges its answer. Here what is written."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import orjson

from loadtest.acceptance.arrivals import Arrival, popular
from loadtest.acceptance.firms import Batch
from loadtest.acceptance.lean import Lean, NoAnswer
from loadtest.acceptance.reads import Failed, Nothing, Reads, Single, short

_AWAY = (429, 500, 502, 503, 504)  # of a write: its outcome is unknown


class Day(Reads):
    """One generator at work."""

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
            raise Failed(str(reply.status), short(reply.body))
        fault: tuple[str, object, object] | None = None
        if reply.status not in (200, 201):
            fault = "wrong", "201", f"{reply.status} {short(reply.body)}"
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
                begun, lain, cause = monotonic(), client.lain, ""
                self.tally.offer(begun - self.start)
                try:
                    work(client)
                except NoAnswer as error:
                    cause = str(error)
                except Failed as failed:
                    cause = failed.cause
                now = monotonic()
                taken = now - begun - (client.lain - lain if self.apart else 0.0)
                self.tally.done(now - self.start, "replay", industry, taken * 1000, cause)
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
            raise Failed(str(reply.status), short(reply.body))
        known = self.oracle.item(firm, number)
        if reply.status == 412 and again:  # the first one got through: see whether it is there
            reply = client.ask(self.target.request("GET", f"/api/v1/handles/{handle}", key=firm.key))
        if reply.status == 200 and orjson.loads(reply.body).get("version") == version:
            self.oracle.acknowledged((firm.index, number), known, version, reply.ended)
            return
        if reply.status in _AWAY:
            raise Failed(str(reply.status), short(reply.body))
        self.tally.fault("lost" if reply.status == 412 else "wrong", "update", handle, f"version {version}",
                         f"{reply.status} {short(reply.body)}", reply.ended - self.start)  # fmt: skip
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
                raise Failed(str(reply.status), short(reply.body))
            if reply.status == 200:
                self.oracle.acknowledged(batch.lot, known, version, reply.ended)
            else:
                known.frozen = True
                self.tally.fault("wrong", "recall", f"{firm.prefix}/{batch.lot}", "200",
                                 f"{reply.status} {short(reply.body)}", reply.ended - self.start)  # fmt: skip

        try:
            send(client)
        except (NoAnswer, Failed):
            known.frozen = True
            self._again(firm.trade, send)
            raise
        return firm.trade
