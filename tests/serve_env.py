"""The environment of an `idnode serve` over a test's database."""

from __future__ import annotations

from typing import Any


def serve_env(settings: Any) -> dict[str, str]:
    return {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "NODE_SECRET_FILE": str(settings.secret_file),
        "PUBLIC_URL": settings.public_url,
        "METRICS_PORT": "0",
        "FENCE_POLL": str(settings.fence_poll),
        "FENCE_LEASE": str(settings.fence_lease),
        "COPIES_SECONDS": str(settings.copies),
    }
