"""Files that are not ours to write: what is vendored, and what a style sheet may ask of an old browser."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
VENDOR = ROOT / "tests" / "vendor"


def test_what_is_vendored_is_what_is_written_down() -> None:
    ledger = json.loads((VENDOR / "vendored.json").read_text("utf-8"))
    assert set(ledger) == {folder.name for folder in VENDOR.iterdir() if folder.is_dir()}
    for name, entry in ledger.items():
        assert entry["version"]
        assert entry["licence"]
        digests = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (VENDOR / name).iterdir()}
        assert digests == entry["sha256"]


LATE = (
    "grid",
    "gap:",
    ":has(",
    ":is(",
    ":where(",
    "color-mix",
    "aspect-ratio",
    "inset:",
    "clamp(",
    "min(",
    "@layer",
    "&",
)


def test_an_old_browser_is_asked_for_nothing_that_it_lacks() -> None:
    """WeChat's webview may be as old as Chromium 53, which has flexbox and variables and none of these. Where the
    colours of text and paper are variables, a plain one stands before, for what is older still."""
    css = (ROOT / "node" / "web" / "static" / "page.css").read_text("utf-8")
    assert [late for late in LATE if late in css] == []
    for rule in ("body", ".card", ".good", ".good h1", ".warn", ".warn h1", "a"):
        (line,) = [line for line in css.splitlines() if line.startswith(f"{rule}{{")]
        for said in re.findall(r"(color|background):var\(", line):
            assert re.search(rf"[;{{]{said}:#[0-9a-f]+;{said}:var\(", line), (rule, said)
