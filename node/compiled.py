"""What of the node itself runs compiled: what a scan goes through, from the same Python, by Cython.

`pyproject.toml` lists these modules too. A `.pxd` beside a module declares which of its classes are structures, and the
types of their fields, which stand there in the order of the source; modules that take in each other's are compiled
together or not at all. Where there was no C compiler, or with another Python than the one that they were compiled for,
the sources run. A checkout's compiled modules hide what is changed in their sources: `make` makes them again, and the
tests refuse to run with old ones.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

MODULES = (
    "node.scan_memory",
    "node.scan_tokens",
    "node.sealing",
    "node.scans",
    "node.sketch",
    "node.tally",
    "node.counted_scans",
    "node.http.answers",
    "node.http.begun_pages",
    "node.http.connection",
    "node.http.copy_groups",
    "node.http.frames",
    "node.http.known_heads",
    "node.http.page_copies",
    "node.http.protocol",
    "node.http.scan_protocol",
)


def state() -> Literal["compiled", "pure"]:
    """compiled where all of them are."""
    return "pure" if any(_file(name).suffix == ".py" for name in MODULES) else "compiled"


def stale() -> list[str]:
    """Those of a checkout that were compiled from an older source."""
    if not (Path(__file__).parents[1] / "pyproject.toml").exists():
        return []
    made = {name: file for name in MODULES if (file := _file(name)).suffix != ".py"}
    return [name for name, file in made.items() if any(_age(file) < _age(source) for source in sources(name))]


def sources(name: str) -> set[Path]:
    """What a module is compiled from: its Python, its declarations, and those that these take in."""
    python = _source(name)
    return {python, *_declared(python.with_suffix(".pxd"), set())}


def _declared(file: Path, found: set[Path]) -> set[Path]:
    if file not in found and file.exists():
        found.add(file)
        for name in re.findall(r"^from (\S+) cimport", file.read_text("utf-8"), re.MULTILINE):
            _declared(_source(name).with_suffix(".pxd"), found)
    return found


def _source(name: str) -> Path:
    file = _file(name)
    return file.with_name(file.name.partition(".")[0] + ".py")


def _age(file: Path) -> float:
    return file.stat().st_mtime


def _file(name: str) -> Path:
    found = find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin)
