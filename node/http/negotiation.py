"""Which form and which language of an answer a client prefers (RFC 9110 sections 12.5.1 and 12.5.4)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Reader:
    """Whom a page is written for. `lang` is zh or en; `chosen`: by the switch, so links keep it."""

    lang: str = "zh"
    chosen: bool = False

    @property
    def query(self) -> str:
        """What a link of the node's own carries along."""
        return f"?lang={self.lang}" if self.chosen else ""


CHINESE = Reader()
LANGUAGES = ("zh", "en")


def reader_of(accept_language: str, lang: str = "") -> Reader:
    """The switch (`?lang=`) before the browser's setting. Chinese unless English is clearly preferred: `*` and
    silence mean Chinese, and so does a word that is no language of ours."""
    if lang in LANGUAGES:
        return Reader(lang, True)
    chinese = english = any_language = 0.0
    for part in accept_language.lower().split(","):
        tag, *parameters = (p.strip() for p in part.split(";"))
        quality = _quality(parameters)
        if tag.partition("-")[0] == "zh":
            chinese = max(chinese, quality)
        elif tag.partition("-")[0] == "en":
            english = max(english, quality)
        elif tag == "*":
            any_language = max(any_language, quality)
    return Reader("en" if english > max(chinese, any_language) else CHINESE.lang)


def wants_page(accept: str) -> bool:
    """Whether text/html is preferred to JSON; `*/*` and silence mean JSON, for machines say no more."""
    page = data = any_type = 0.0
    for part in accept.lower().split(","):
        kind, *parameters = (p.strip() for p in part.split(";"))
        quality = _quality(parameters)
        if kind in ("text/html", "application/xhtml+xml"):
            page = max(page, quality)
        elif kind in ("application/json", "application/*"):
            data = max(data, quality)
        elif kind == "*/*":
            any_type = max(any_type, quality)
    return page > 0 and page >= (data or min(any_type, page))


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
