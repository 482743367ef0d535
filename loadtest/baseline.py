"""The plain service that any FastAPI developer would write in a day: the yardstick, called the baseline, not a model.

One route to register, one to resolve, Pydantic on both, a Redis look-aside in front of PostgreSQL.
Started by loadtest.bench with DATABASE_URL and REDIS_URL set.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import redis.asyncio as redis
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel


class Value(BaseModel):
    index: int
    type: str
    data: Any
    ttl: int = 86400


class Record(BaseModel):
    handle: str
    values: list[Value]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=8, max_size=8)
    app.state.redis = redis.from_url(os.environ["REDIS_URL"])
    await app.state.pool.execute(
        "CREATE TABLE IF NOT EXISTS baseline_handle ("
        " handle text PRIMARY KEY, values jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now())"
    )
    yield
    await app.state.redis.aclose()
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan)


@app.post("/api/v1/handles", status_code=201)
async def register(record: Record) -> Record:
    values = json.dumps([v.model_dump() for v in record.values])
    try:
        await app.state.pool.execute(
            "INSERT INTO baseline_handle (handle, values) VALUES ($1, $2)", record.handle, values
        )
    except asyncpg.UniqueViolationError:
        raise HTTPException(409, "handle already exists") from None
    return record


@app.post("/api/v1/handles:batch")
async def register_batch(records: list[Record]) -> dict[str, int]:
    rows = [(r.handle, json.dumps([v.model_dump() for v in r.values])) for r in records]
    await app.state.pool.executemany(
        "INSERT INTO baseline_handle (handle, values) VALUES ($1, $2) ON CONFLICT DO NOTHING", rows
    )
    return {"accepted": len(rows)}


@app.get("/{prefix}/{suffix:path}")
async def resolve(prefix: str, suffix: str) -> Record:
    handle = f"{prefix}/{suffix}"
    cached = await app.state.redis.get(handle)
    if cached is not None:
        return Record(handle=handle, values=json.loads(cached))
    row = await app.state.pool.fetchrow("SELECT values FROM baseline_handle WHERE handle = $1", handle)
    if row is None:
        raise HTTPException(404, "handle not found")
    await app.state.redis.set(handle, row["values"], ex=3600)
    return Record(handle=handle, values=json.loads(row["values"]))
