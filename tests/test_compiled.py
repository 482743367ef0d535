"""The modules that are compiled from their Python: they are when they should be, and the sources serve alike."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from node import compiled

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not os.environ.get("DEMAND_COMPILED"), reason="only CI demands that they are compiled")
def test_they_are_compiled() -> None:
    assert compiled.state() == "compiled"


def test_each_is_listed_and_keeps_its_meaning() -> None:
    """Typed by annotations a None where a float is said would be refused, and a long int cut off."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["ext-modules"]
    listed = {one["name"]: one for one in table if one["name"].startswith("node.")}
    assert tuple(listed) == compiled.MODULES
    for name, one in listed.items():
        source = f"{name.replace('.', '/')}.py"
        assert one["sources"] == [source]
        assert {source, *one.get("depends", [])} == {str(file.relative_to(ROOT)) for file in compiled.sources(name)}
        assert one["optional"] is True
        assert (ROOT / source).read_text("utf-8").startswith("# cython: annotation_typing=False\n")


@pytest.mark.parametrize("file", sorted(ROOT.glob("node/**/*.pxd")), ids=lambda file: file.stem)
def test_what_is_declared_is_what_the_source_has(file: Path) -> None:
    """A dataclass takes its arguments in the order of the declarations where it is compiled, and leaves out of them
    what is not declared there."""
    declared, name = dict[str, list[str]](), ""
    for line in file.read_text("utf-8").splitlines():
        if found := re.match(r"cdef class (\w+)(?:\(\w+\))?:?$", line):
            name = found[1]
        elif found := re.match(r"    cdef (?:public |readonly )?[\w ]+? (\w+(?:, \w+)*)$", line):
            declared.setdefault(name, []).extend(found[1].split(", "))
    written = {
        one.name: [line.target.id for line in one.body if isinstance(line, ast.AnnAssign)]  # type: ignore[union-attr]
        for one in ast.parse(file.with_suffix(".py").read_text("utf-8")).body
        if isinstance(one, ast.ClassDef) and any("dataclass" in ast.unparse(what) for what in one.decorator_list)
    }
    assert {name: fields for name, fields in declared.items() if name in written} == {
        name: fields for name, fields in written.items() if name in declared
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of which none is compiled, but for the codec."""
    folder = tmp_path_factory.mktemp("plain")
    for name in ("node", "handle_codec", "loadtest", "migrations", "tests"):
        skipped = ("__pycache__",) if name == "handle_codec" else ("__pycache__", "*.so", "vendor")
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*skipped))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if name not in ("TESTS_SHARED", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=own, capture_output=True, text=True, check=False, timeout=300
    )


def test_without_a_compiler_the_sources_serve(plain: Path) -> None:
    told = run_in(plain, "-c", "from node import compiled as c; print(c.state(), c.stale(), c.__file__)")
    assert told.stdout == f"pure [] {plain}/node/compiled.py\n", told.stderr
    done = run_in(plain, "-m", "pytest", "-q", "tests/test_scans.py", "tests/test_scan_protocol.py")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.skipif(compiled.state() == "pure", reason="nothing is compiled here")
def test_a_source_that_was_changed_is_seen(plain: Path) -> None:
    for made in (ROOT / "node").glob("sealing.*.so"):
        shutil.copy2(made, plain / "node")
    source = plain / "node" / "sealing.py"
    try:
        os.utime(source)
        told = run_in(plain, "-c", "from node import compiled as c; print(c.stale())")
        assert told.stdout == "['node.sealing']\n", told.stderr
        done = run_in(plain, "-m", "pytest", "-q", "tests/test_compiled.py")
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert "node.sealing" in done.stderr
    finally:
        for made in (plain / "node").glob("sealing.*.so"):
            made.unlink()
