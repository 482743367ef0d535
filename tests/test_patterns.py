"""Patterns as automata: what one accepts, `re` accepts; and on plain ASCII the other way round."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.patterns import automaton
from node.templates import load_industries

OF_TEMPLATES = sorted({f.pattern for t in load_industries() for f in t.fields if f.pattern})
OTHERS = [
    "a*b+c?", "(ab|a)(c|bcd)(d*)", "(a|b|)c", "((a{2}|b){1,3}x)?", "[^a-c\\d]x", "[-a]+", "[a-]{2,}", "a|b|cd",
    "\\.\\-\\w\\W\\s\\S", ".{2,4}", "梨[ab]?", "[梨a]b", "(ab){0}c", "x{3}", "a{0,2}a", "",
]  # fmt: skip


def accepts(table: bytes, text: str) -> bool:
    state = 1
    for byte in text.encode() + b'"':
        state = table[state * 256 + byte]
    return state != 0


@pytest.mark.parametrize("pattern", OF_TEMPLATES + OTHERS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_an_automaton_accepts_what_re_accepts(pattern: str, data: st.DataObject) -> None:
    table = automaton(pattern)
    assert table is not None
    usual = st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)
    near = st.text(st.sampled_from("abcdx019.-_ A()F梨转（\u0660\u3000国G"), max_size=8)
    text = data.draw(usual | near)
    cut = data.draw(st.integers(0, len(text)))
    for candidate in (text, text[:cut] + text[cut + 1 :], text + "a", text[:cut] + "9" + text[cut:]):
        if '"' in candidate or "\n" in candidate:
            continue
        matches = re.fullmatch(pattern, candidate) is not None
        assert accepts(table, candidate) <= matches
        if candidate.isascii():
            assert accepts(table, candidate) == matches


@pytest.mark.parametrize(
    "pattern",
    ["a(?=b)", "(?:a)", "(?i)a", "(a)\\1", "a*?", "a++", "^a", "a$", "\\bA", "[\\x41]", "a{", "[[a]", "(a{99}){99}", "(a*)*b", "(a|b|){2}", "\\u0041"],
)  # fmt: skip
def test_what_has_no_automaton(pattern: str) -> None:
    assert automaton(pattern) is None
