"""Metrics of every process, for Prometheus; no label ever holds a prefix, a suffix or an address."""

from __future__ import annotations

from bisect import bisect_left

from prometheus_client import Counter, Gauge, Histogram

_MILLISECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

resolve_total = Counter("resolve_total", "Resolutions by result and by what answered", ["result", "source"])
# What needed no task is not in here: it took less than the first bucket, and observing it as long again.
resolve_seconds = Histogram("resolve_seconds", "Time to resolve in a task", buckets=_MILLISECONDS)
http_requests_total = Counter("http_requests_total", "Requests by route template and status", ["route", "status"])
http_request_seconds = Histogram("http_request_seconds", "Time to answer", ["route"], buckets=_MILLISECONDS)
registered_rows_total = Counter("registered_rows_total", "Rows of registrations by outcome", ["outcome"])
cache_inconsistent_total = Counter("cache_inconsistent_total", "Entries that the observer found to be served wrong")
auth_failures_total = Counter("auth_failures_total", "Refused keys, sessions and logins", ["reason"])
cache_errors_total = Counter("cache_errors_total", "Commands that Valkey did not answer")
outbox_oldest_seconds = Gauge(
    "outbox_oldest_seconds", "Age of the oldest message in the outbox", multiprocess_mode="mostrecent"
)
pool_wait_seconds = Histogram("pool_wait_seconds", "Wait for a PostgreSQL connection", buckets=_MILLISECONDS)
webhook_deliveries_total = Counter("webhook_deliveries_total", "Tries to deliver a webhook message", ["outcome"])
host_checks_total = Counter("host_checks_total", "Checks of proofs of hosts", ["outcome"])
refused_turns_total = Counter("refused_turns_total", "Requests sent away where too many waited", ["work", "of"])
shed_total = Counter("shed_total", "Requests refused at once while too many waited", ["what"])
scan_claims_total = Counter("scan_claims_total", "Claims of scans by what became of them", ["outcome"])
settlements_lost_total = Counter("settlements_lost_total", "Settlements of counts that could not be applied")


class Resolved:
    """Counts resolutions for `resolve_total` at the price of a dict: a labelled counter shared by processes costs more
    than a hot answer. Housekeeping tells Prometheus once a second, and a worker once more when it stops."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self.copies = 0  # hits in a worker's own memory

    def count(self, result: str, source: str) -> None:
        key = (result, source)
        self._counts[key] = self._counts.get(key, 0) + 1

    def tell(self) -> None:
        counts, self._counts = self._counts, {}
        if self.copies:
            counts["hit", "copy"], self.copies = self.copies, 0
        for (result, source), number in counts.items():
            resolve_total.labels(result, source).inc(number)


class Shed:
    """The same for what is refused in an overload, where every microsecond is wanted elsewhere."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, what: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1

    def tell(self) -> None:
        counts, self._counts = self._counts, {}
        for what, number in counts.items():
            shed_total.labels(what).inc(number)


class Requests:
    """The same for requests that need no task: `http_requests_total`, and `http_request_seconds` by its own buckets."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], int] = {}
        self._seconds: dict[str, list[float]] = {}  # by route: the sum, then how many in each bucket

    def count(self, route: str, status: int, seconds: float) -> None:
        key = (route, status)
        self._counts[key] = self._counts.get(key, 0) + 1
        cells = self._seconds.get(route)
        if cells is None:
            cells = self._seconds[route] = [0.0] * (len(_MILLISECONDS) + 2)
        cells[0] += seconds
        cells[bisect_left(_MILLISECONDS, seconds) + 1] += 1  # a bucket holds its bound; the last is all above

    def tell(self) -> None:
        counts, self._counts = self._counts, {}
        for (route, status), number in counts.items():
            http_requests_total.labels(route, str(status)).inc(number)
        times, self._seconds = self._seconds, {}
        for route, (total, *buckets) in times.items():
            told = http_request_seconds.labels(route)
            # prometheus_client has no way to add many: these two are all that its own observe() adds to.
            told._sum.inc(total)
            for bucket, those in zip(told._buckets, buckets, strict=True):
                if those:
                    bucket.inc(those)


class Claims:
    """The same for `scan_claims_total`, by what became of the claim."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("refused", "gathered", "dropped", "committed"), 0)

    def tell(self) -> None:
        for outcome, number in self.counts.items():
            if number:
                scan_claims_total.labels(outcome).inc(number)
                self.counts[outcome] = 0


resolved = Resolved()
requests = Requests()
shed = Shed()
claims = Claims()


def tell() -> None:
    """Tell Prometheus what was counted in memory."""
    resolved.tell()
    requests.tell()
    shed.tell()
    claims.tell()
