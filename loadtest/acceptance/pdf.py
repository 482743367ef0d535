"""HTML to PDF by the browser that is there: it lays out Chinese as the report does, and needs no library of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
_SECONDS = 60


def browser() -> str | None:
    """The path of a Chromium; None where there is none."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


def make(page: Path, target: Path) -> Path | None:
    """Print `page` to `target`; None where it could not be made."""
    program = browser()
    if program is None:
        return None
    # As root Chromium refuses to start in its sandbox; the page is our own and loads nothing.
    unsafe = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="idnode-pdf-", ignore_cleanup_errors=True) as profile:
        command = [
            program,
            "--headless",
            *unsafe,
            "--disable-gpu",
            f"--user-data-dir={profile}",
            "--no-pdf-header-footer",
        ]
        command += [f"--print-to-pdf={target.absolute()}", page.absolute().as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            return None
    return target if done.returncode == 0 and target.exists() else None
