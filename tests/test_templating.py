"""`t(zh, en)` decided where a template is compiled, and lines that are kept: never of another tongue or another value."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2 import Environment, TemplateSyntaxError

from node.http.templating import Tongue, groups, lines
from node.shown_links import Link

ENVIRONMENT = Environment(autoescape=True, extensions=[Tongue])


@pytest.mark.parametrize(
    ("template", "zh", "en"),
    [
        ('{{ t("是", "yes") }}', "是", "yes"),
        ('{{ t("共 %d 步", "%d steps") % (1 + 2) }}', "共 3 步", "3 steps"),
        ("{{ t(f(1, 2), [3, 4][1]) }}", "3", "4"),
        ("{{ f(t(1, 10), t(2, 20)) }}", "3", "30"),
        ('{{ t(t("内", "x"), t("y", "inner")) }}', "内", "inner"),
        ('{{ {"a": t("甲", "A")}["a"] }}{{ f(1, 2) }}', "甲3", "A3"),
        ("{% if t(true, false) %}中{% else %}E{% endif %}", "中", "E"),
        ("{% set t2 = (1, 2) %}{{ t2[t(0, 1)] }}", "1", "2"),
    ],
)
def test_one_of_two_tongues(template: str, zh: str, en: str) -> None:
    compiled = ENVIRONMENT.from_string(template)
    assert compiled.render(zh=True, f=lambda a, b: a + b) == zh
    assert compiled.render(zh=False, f=lambda a, b: a + b) == en


@pytest.mark.parametrize("template", ['{{ t("一", "two", "three") }}', '{{ t("一") }}', "{{ t() }}"])
def test_more_or_less_than_two_texts_are_no_template(template: str) -> None:
    with pytest.raises(TemplateSyntaxError, match="two texts"):
        ENVIRONMENT.from_string(template)


def _line(**changes: Any) -> dict[str, Any]:
    line = {"zh": "农残", "en": "Residues", "type": "E", "value": "1 合格", "value_en": "passed", "result": None}
    return {**line, "link": None, **changes}


def test_lines_that_are_kept_are_told_apart() -> None:
    link = Link("id.example.com", "https://id.example.com/a", live=True)
    changes: list[dict[str, Any]] = [
        {},
        {"value": "2 不合格", "value_en": "failed"},
        {"result": True},
        {"result": False},
        {"type": "F", "value": link.url, "link": link},
        {"type": "F", "value": link.url, "link": Link(link.host, link.url, live=False)},
        {"value": "<b>"},
    ]
    looks = [str(lines(zh, [_line(**change)])) for _ in range(2) for zh in (True, False) for change in changes]
    half = len(looks) // 2
    assert looks[:half] == looks[half:]  # asked for again, the same
    assert len(set(looks)) == half
    assert "&lt;b&gt;" in looks[6]


def test_groups_that_are_kept_are_told_apart() -> None:
    one = {"code": "tests", "zh": "检测", "en": "Tests", "fields": [_line()]}
    other = one | {"fields": [_line(value="2 不合格", value_en="failed")]}
    changes = [(one, {}, False), (one, {}, True), (one, {"tests": "M0 0"}, False), (other, {}, False)]
    changes += [(one | {"zh": "检", "en": "T"}, {}, False)]
    looks = [
        str(groups(zh, icons, [of], bare=bare)) for _ in range(2) for zh in (True, False) for of, icons, bare in changes
    ]
    half = len(looks) // 2
    assert looks[:half] == looks[half:]
    assert len(set(looks)) == half
