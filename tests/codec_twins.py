"""Both twins for tests that run on each, and what a call gives, refusals included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from handle_codec import InvalidCode, packages, pure, schemes, serials

try:
    from handle_codec import _speed
except ImportError:
    _speed = None

needs_compiled = pytest.mark.skipif(_speed is None, reason="the compiled twin was not built (no C compiler?)")
TWINS = ["pure", pytest.param("compiled", marks=needs_compiled)]


def twin_named(name: str) -> ModuleType:
    return pure if name == "pure" else _speed


def outcome(function: Any, *arguments: Any) -> Any:
    """What a twin gives, its refusals by class, code and position; any other exception is let through."""
    try:
        return function(*arguments)
    except InvalidCode as error:
        return type(error), error.code, error.position


@contextmanager
def swapped(twin: ModuleType) -> Iterator[None]:
    """The modules that stand on a twin, on this one."""
    modules = (schemes, packages, serials)
    before = [module.twin for module in modules]
    try:
        for module in modules:
            module.twin = twin  # type: ignore[attr-defined]
        yield
    finally:
        for module, old in zip(modules, before, strict=True):
            module.twin = old  # type: ignore[attr-defined]
