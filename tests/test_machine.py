"""The machine under a benchmark."""

from __future__ import annotations

import re
from pathlib import Path

from loadtest.machine import in_memory


def _locked() -> int:
    """Bytes of this process that stay in memory."""
    found = re.search(r"VmLck:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


def test_large_files_stay_in_memory_while_the_block_runs(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "table").write_bytes(bytes(2 << 20))
    (tmp_path / "base" / "small").write_bytes(b"x")
    (tmp_path / "base" / "gone").symlink_to(tmp_path / "removed-meanwhile")
    (tmp_path / "pg_wal").mkdir()
    (tmp_path / "pg_wal" / "segment").write_bytes(bytes(2 << 20))  # written, not read
    before = _locked()
    with in_memory(tmp_path) as held:
        assert (held, _locked() - before) == (2 << 20, 2 << 20)
    assert _locked() == before
