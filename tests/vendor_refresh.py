"""`make vendor`: fetches by name, through npm, the files of npm packages that the tests use, and writes down what came.

    python tests/vendor_refresh.py [package=version ...]

Without arguments the versions of tests/vendor/vendored.json are fetched again, which must give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "vendor"
LEDGER = FOLDER / "vendored.json"
FILES = {"axe-core": ("axe.min.js", "LICENSE")}  # tests pages for accessibility; served to nobody


def main(asked: list[str]) -> None:
    ledger: dict[str, Any] = json.loads(LEDGER.read_text()) if LEDGER.exists() else {}
    versions = {name: entry["version"] for name, entry in ledger.items()} | dict(word.split("=", 1) for word in asked)
    for name in FILES:
        entry = fetch(name, versions.get(name, "latest"))
        known = ledger.get(name)
        if known and known["version"] == entry["version"] and known["sha256"] != entry["sha256"]:
            sys.exit(f"{name} {entry['version']} came with other bytes than are written down")
        ledger[name] = entry
        print(f"{name} {entry['version']}, {entry['licence']}")
    LEDGER.write_text(json.dumps(ledger, indent=2, sort_keys=True) + "\n")


def fetch(name: str, version: str) -> dict[str, Any]:
    """The package's files into tests/vendor/<name>/; npm itself checks the registry's digest of the archive."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=scratch, check=True)
        (archive,) = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as packed:
            read = {f: packed.extractfile(f"package/{f}").read() for f in ("package.json", *FILES[name])}  # type: ignore[union-attr]
    about = json.loads(read.pop("package.json"))
    target = FOLDER / name
    target.mkdir(parents=True, exist_ok=True)
    for file, content in read.items():
        (target / file).write_bytes(content)
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in read.items()}
    return {"version": about["version"], "licence": about["license"], "sha256": digests}


if __name__ == "__main__":
    main(sys.argv[1:])
