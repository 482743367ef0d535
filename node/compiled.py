"""What of the node itself runs compiled: what a scan goes through, from the same Python, by Cython.

`pyproject.toml` lists these modules too. Where there was no C compiler, or with another Python than the one that they
were compiled for, the sources run. A checkout's compiled modules hide what is changed in their sources: `make` makes
them again, and the tests refuse to run with old ones.
"""

from __future__ import annotations

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
    files = {name: _file(name) for name in MODULES}
    sources = {name: file.with_name(file.name.partition(".")[0] + ".py") for name, file in files.items()}
    return [name for name in MODULES if files[name].stat().st_mtime < sources[name].stat().st_mtime]


def _file(name: str) -> Path:
    found = find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin)
