"""The same page as PDF, by WeasyPrint.

It lays out the report's own HTML, so there is no second document to keep right; pages, headers of tables and fonts
are its business. It needs Pango of the system (Debian: libpango-1.0-0, libpangoft2-1.0-0) and any font with Chinese.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


class NoPdf(Exception):
    """Why there is none, for people."""


def write(page: str, path: Path) -> None:
    """Raises NoPdf, and leaves no file then: WeasyPrint or Pango is missing, no font has Chinese, the disk is full."""
    try:
        import weasyprint
    except (ImportError, OSError) as error:  # OSError: Pango is not there
        raise NoPdf(f"WeasyPrint cannot start ({str(error).splitlines()[0]}); pip install weasyprint, "
                    "apt-get install libpango-1.0-0 libpangoft2-1.0-0") from None  # fmt: skip
    if not _has_chinese():
        raise NoPdf("no font with Chinese: apt-get install fonts-noto-cjk")
    try:
        document = weasyprint.HTML(string=page, url_fetcher=_nothing).write_pdf()
        path.write_bytes(document)
    except Exception as error:  # any bug of a layout engine: the run has its HTML all the same
        path.unlink(missing_ok=True)
        raise NoPdf(f"{type(error).__name__}: {error}") from error


def _has_chinese() -> bool:
    """Without fontconfig's tool nobody knows: then it is tried."""
    tool = shutil.which("fc-list")
    if tool is None:
        return True
    done = subprocess.run([tool, ":lang=zh-cn", "family"], capture_output=True, timeout=60, check=False)  # noqa: S603
    return bool(done.stdout.strip())


def _nothing(url: str, *args: object, **options: object) -> dict[str, object]:
    """The page refers to nothing; text of a node's answers must not make it."""
    raise ValueError(f"the report fetches nothing, and not {url[:100]}")
