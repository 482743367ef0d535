"""What the recogniser answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

# The national enumeration for a prefix's scheme (CAICT's interfacing agreement, table 2); others are not reported.
_NATIONAL = {
    "handle": "Handle",
    "foreign_handle": "Handle",
    "doi": "Handle",
    "oid": "OID",
    "vaa": "VAA",
    "ecode": "Ecode",
    "gtin": "GS1",
    "sscc": "GS1",
    "gs1_elements": "GS1",
    "gs1_digital_link": "GS1",
}


class Confidence(IntEnum):
    """How sure the scheme is; the smaller, the surer."""

    CERTAIN = 0  # a mark of the scheme itself: a prefix, brackets, an address form
    LIKELY = 1  # the form fits, and a check digit or a narrow grammar with it
    POSSIBLE = 2  # the form fits; others would fit too


@dataclass(slots=True, frozen=True)
class Candidate:
    """One reading of a code.

    `canonical` is the form under which equal codes are equal; `checked` and `unchecked` name what was held against the
    rules and what could not be (stable words); `parts` are the pieces that mean something, for GS1 by application
    identifier.
    """

    scheme: str
    canonical: str
    confidence: Confidence
    checked: tuple[str, ...]
    unchecked: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def national(self) -> str:
        """The scheme in the words of the national enumeration, "" where that has none."""
        if self.scheme == "did" and self.parts.get("method") == "bid":
            return "DID:BID"
        return _NATIONAL.get(self.scheme, "")
