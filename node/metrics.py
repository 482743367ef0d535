"""Metrics of every process, for Prometheus; no label ever holds a prefix, a suffix or an address."""

from prometheus_client import Counter, Gauge, Histogram

_MILLISECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

resolve_total = Counter("resolve_total", "Resolutions by result and by what answered", ["result", "source"])
resolve_seconds = Histogram("resolve_seconds", "Time to resolve", buckets=_MILLISECONDS)
http_requests_total = Counter("http_requests_total", "Requests by route template and status", ["route", "status"])
http_request_seconds = Histogram("http_request_seconds", "Time to answer", ["route"], buckets=_MILLISECONDS)
registered_rows_total = Counter("registered_rows_total", "Rows of registrations by outcome", ["outcome"])
auth_failures_total = Counter("auth_failures_total", "Refused keys, sessions and logins", ["reason"])
cache_errors_total = Counter("cache_errors_total", "Commands that Valkey did not answer")
outbox_oldest_seconds = Gauge(
    "outbox_oldest_seconds", "Age of the oldest message in the outbox", multiprocess_mode="mostrecent"
)
pool_wait_seconds = Histogram("pool_wait_seconds", "Wait for a PostgreSQL connection", buckets=_MILLISECONDS)
scan_claims_total = Counter("scan_claims_total", "Claims of scans by what became of them", ["outcome"])
settlements_lost_total = Counter("settlements_lost_total", "Settlements of counts that could not be applied")
