"""Jinja as the pages need it: texts escaped, invisible characters named, the reader's language alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from markupsafe import Markup

from node.shown_links import Link

# What shows as nothing, or turns the text around it: two names that look the same would not be the same.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_OPENING, _CLOSING = ("lparen", "lbracket", "lbrace"), ("rparen", "rbracket", "rbrace")


class Tongue(Extension):
    """`t(zh, en)` of a template becomes `(zh if zh else en)`, the one on the reader's language, where it is compiled:
    a call costs Jinja 1.5 us, and a scan page has fifty."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        waiting: list[int | None] = []  # of each bracket that is open: the commas still to come, None where not t's
        for token in stream:
            ours = waiting[-1] if waiting else None
            if token.test("name:t") and stream.current.type == "lparen":
                bracket = next(stream)
                waiting.append(1)
                yield bracket
            elif ours is not None and (token.type == "comma") != bool(ours) and token.type in ("comma", "rparen"):
                raise TemplateSyntaxError("t takes two texts", token.lineno, stream.name, stream.filename)
            elif ours and token.type == "comma":
                waiting[-1] = 0
                yield from (Token(token.lineno, "name", word) for word in ("if", "zh", "else"))
            else:
                if token.type in _OPENING:
                    waiting.append(None)
                elif token.type in _CLOSING:
                    waiting.pop()
                yield token


def visible(value: Any) -> Any:
    """Invisible characters as `[U+200B]`; registered long ago or elsewhere, so what registration refuses is no answer
    here. Our own markup and what is no text pass."""
    if type(value) is not str or value.isascii():
        return value
    return _INVISIBLE.sub(lambda found: f"[U+{ord(found[0]):04X}]", value)


_environment = Environment(
    loader=PackageLoader("node.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
    finalize=visible,
    extensions=[Tongue],
)


@lru_cache(256)
def icon(path: str) -> Markup:
    """A stroke icon; `path` is tested where it is read (node/trades.py)."""
    return Markup(
        '<svg class="icon" viewBox="0 0 24 24" width="24" height="24" aria-hidden="true"><path d="{}"/></svg>'
    ).format(path)


_environment.globals["icon"] = icon
_TEMPLATES = {
    name: _environment.get_template(f"{name}.html") for name in ("scan", "scans", "problem", "home", "docs", "leaving")
}  # compiled once
_LINES: dict[bool, Any] = {
    zh: _environment.get_template("lines.html").make_module({"zh": zh}) for zh in (True, False)
}  # their macros, by whether they speak Chinese


class _Line(NamedTuple):
    """What a line of a group, without a table, is shown by."""

    zh: str
    en: str
    type: str
    value: str
    value_en: str
    result: bool | None
    link: Link | None


def render(name: str, zh: bool, values: Mapping[str, Any]) -> str:
    """A template in one language."""
    spoken = {"zh": zh, "value": partial(_value, zh)}
    return _TEMPLATES[name].render(spoken, **values)


def lines(zh: bool, fields: Iterable[Mapping[str, Any]]) -> Markup:
    """Lines of a group one below the other."""
    return Markup("").join([_line(zh, field) for field in fields])


def groups(zh: bool, icons: Mapping[str, str], shown: Sequence[Mapping[str, Any]], *, bare: bool = False) -> Markup:
    """Groups with their headings, or without; `icons` by a group's code."""
    return Markup("").join([
        _kept_group(zh, one["zh"], one["en"], icons.get(one["code"], ""), bare, lines(zh, one["fields"]))
        for one in shown
    ])  # fmt: skip


def facts(zh: bool, fields: Iterable[Mapping[str, Any]]) -> Markup:
    """What stands under a product's name."""
    return Markup("").join([_kept("fact", zh, as_key(field)) for field in fields])


def pairs(zh: bool, values: Sequence[Mapping[str, str]]) -> Markup:
    """Handle values by their types."""
    return _LINES[zh].pairs(values) if values else Markup("")


@lru_cache(2048)  # as lines: a call of the macro takes 15 us. At 2 KB, 4 MB
def _kept_group(zh: bool, zh_name: str, en_name: str, path: str, bare: bool, inner: Markup) -> Markup:
    return _LINES[zh].group(zh_name, en_name, path, bare, inner)  # type: ignore[no-any-return]


def _line(zh: bool, field: Mapping[str, Any]) -> Markup:
    if field["type"] == "T":
        return _LINES[zh].line(field)  # type: ignore[no-any-return]
    return _kept("line", zh, as_key(field))


def _value(zh: bool, field: Mapping[str, Any]) -> Markup:
    return _kept("value", zh, as_key(field))


def as_key(field: Mapping[str, Any]) -> _Line:
    """What a field's line is shown by."""
    return _Line(
        field["zh"], field["en"], field["type"], field["value"], field["value_en"], field["result"], field["link"]
    )


@lru_cache(8192)  # items of a lot have most lines in common; Jinja takes 25 us for one. At some 400 bytes, 3 MB
def _kept(macro: str, zh: bool, line: _Line) -> Markup:
    return getattr(_LINES[zh], macro)(line)  # type: ignore[no-any-return]
