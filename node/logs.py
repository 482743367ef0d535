"""JSON lines on stderr or to a file, written by a thread of their own so that the loop never waits for a disk."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what `extra=` gave. JSON escapes control characters,
    so that no caller can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class _Queue(logging.handlers.QueueHandler):
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # Same process, so the record need not be made fit for pickling; `exc_info` must survive for the formatter.
        return record


def setup(level: str, file: Path | None = None) -> logging.handlers.QueueListener:
    """Send all logging through one queue; call `.stop()` on the answer to write what is left."""
    target: logging.Handler = logging.FileHandler(file) if file else logging.StreamHandler(sys.stderr)
    target.setFormatter(JsonFormatter())
    lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
    root = logging.getLogger()
    root.handlers = [_Queue(lines)]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    listener = logging.handlers.QueueListener(lines, target)
    listener.start()
    return listener
