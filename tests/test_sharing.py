"""Two processes that share the suite run each test once between them, and what looks back at a process in both."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import sharing

_CONFTEST = """
import os, sharing
def pytest_runtestloop(session):
    os.close(os.open(os.environ["START"], int(os.environ["END"])))  # waits for the other process, which opens its end
    return sharing.run(session, sharing.folder())
"""


def test_each_file_is_run_by_one_of_the_two(tmp_path: Path) -> None:
    suite, taken = tmp_path / "suite", tmp_path / "taken"
    suite.mkdir()
    taken.mkdir()
    (suite / "conftest.py").write_text(_CONFTEST)
    for n in range(12):
        told = f"print('ran a{n}', flush=True)"
        (suite / f"test_a{n:02d}.py").write_text(f"def test_one(): {told}\ndef test_two(): pass\n")
    (suite / "test_zz_last.py").write_text("def test_last(): print('ran last', flush=True)\n")
    env = os.environ | {"TESTS_SHARED": str(taken), "PYTHONPATH": str(Path(sharing.__file__).parent)}
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(suite)]
    os.mkfifo(start := tmp_path / "start")
    both = [
        subprocess.Popen(
            command, env=env | {"START": str(start), "END": str(end)}, cwd=suite, stdout=subprocess.PIPE, text=True
        )
        for end in (os.O_RDONLY, os.O_WRONLY)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    ran = re.findall(r"ran (\w+)", "".join(outputs))
    assert sorted(ran) == sorted([f"a{n}" for n in range(12)] + ["last"] * 2)


def test_who_is_told_of_no_other_runs_all() -> None:
    assert "TESTS_SHARED" not in os.environ  # taken out for whatever a test starts
