"""The report of an acceptance run: result.json, report.html and report.pdf.

`python -m loadtest.acceptance.report FOLDER` writes both again from the folder's result.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.acceptance import pdf, report_front, report_load, report_node
from loadtest.acceptance.report_html import STYLE

FORMAT = "idnode-acceptance/1"
Result = dict[str, Any]
_SECTIONS = (
    report_front.front, report_front.limits, report_load.over_time, report_load.by_call, report_load.troubles,
    report_load.ledger, report_node.database, report_node.resources, report_node.drills, report_node.steps,
    report_node.chapters, report_node.machine,
)  # fmt: skip


def render(result: Result) -> str:
    """One self-contained page without script; whatever the run did not get to is said to be missing."""
    body = "".join(section(result) for section in _SECTIONS)
    return (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>二级节点验收测试报告</title>'
        f"<style>{STYLE}</style></head><body>{body}</body></html>\n"
    )


def write(result: Result, folder: Path) -> list[Path]:
    """The files that were written. Where the PDF cannot be made this says so on stderr and goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    document, page, paper = folder / "result.json", folder / "report.html", folder / "report.pdf"
    _whole(document, json.dumps(result, ensure_ascii=False))
    made = render(result)
    _whole(page, made)
    try:
        pdf.write(made, paper)
    except pdf.NoPdf as error:
        paper.unlink(missing_ok=True)  # an older run's must not lie beside this one's figures
        print(f"没有 PDF / no PDF: {error}", file=sys.stderr)
        return [document, page]
    return [document, page, paper]


def _whole(path: Path, text: str) -> None:
    """Whole or not at all: a full disk must not leave half of what was there before."""
    scratch = path.with_name(path.name + ".new")
    try:
        # Half of a surrogate pair out of a node's answer becomes what JSON writes for it; the page has none left.
        scratch.write_text(text, "utf-8", errors="backslashreplace")
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    scratch.rename(path)


def read(place: Path) -> Result:
    """A folder's result.json, or the file itself. Raises ValueError that says what is wrong with it."""
    path = place / "result.json" if place.is_dir() else place
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{path}: no JSON") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{path}: no result of an acceptance run ({FORMAT})")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) != 1:
        print("python -m loadtest.acceptance.report FOLDER", file=sys.stderr)
        return 2
    folder = Path(words[0])
    try:
        result = read(folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(map(str, write(result, folder if folder.is_dir() else folder.parent))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
