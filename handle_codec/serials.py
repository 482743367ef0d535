"""Minted serials: a counter becomes a suffix that is short, of one length, safe to read aloud, unguessable and
self-checking. With the prefix's key a forged suffix is told from a minted one without any look-up.

A letter and 13 characters of Crockford's base 32: FF1 (NIST SP 800-38G) over 5 zero digits and 8 digits of counter.
The 25 zero bits are the proof: of 2^65 suffixes of a letter, as many are right as counters were issued. One counter
and one key per prefix, never per lot: two lots would mint the same suffix. Serials of a retired key stay in
circulation, so whoever keeps the keys keeps them for ever.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from stdnum.exceptions import ValidationError
from stdnum.iso7064 import mod_37_36

from handle_codec import twin
from handle_codec.errors import InvalidCode
from handle_codec.pure.ff1 import COUNTERS, SERIAL, Update, UpdateInto
from handle_codec.pure.handles import MAX_INPUT

__all__ = [
    "COUNTERS",
    "FAMILIES",
    "KEY_BYTES",
    "SerialKey",
    "with_check_character",
    "without_check_character",
]

# letter: cipher and the key's number. Suffixes of this form that people invent are refused, so the letters are few;
# the first is V, with which no syllable begins in pinyin. The second and third key of a cipher are for rotation.
FAMILIES = {"V": ("aes", 1), "R": ("aes", 2), "Q": ("aes", 3), "E": ("sm4", 1), "K": ("sm4", 2), "T": ("sm4", 3)}
KEY_BYTES = 16

_CIPHERS = {"aes": algorithms.AES, "sm4": algorithms.SM4}
_NOT_UPPER = re.compile(r"[^0-9A-Z]")


@dataclass(slots=True, frozen=True)
class SerialKey:
    """One prefix's key of one number. `key` is 16 bytes; `letter` one of FAMILIES. ValueError otherwise."""

    prefix: str
    letter: str
    key: bytes = field(repr=False)
    _mask: bytes = field(init=False, repr=False)
    _update_into: UpdateInto = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.letter not in FAMILIES or len(self.key) != KEY_BYTES:
            raise ValueError(f"letter {self.letter!r} or a key of {len(self.key)} bytes")
        tweak = hashlib.sha256(self.prefix.encode()).digest()[:8]
        # P of SP 800-38G: version 1, method 2, addition 1, radix 32, 10 rounds, u = 6, n = 13, t = 8.
        fixed = bytes([1, 2, 1, 0, 0, 32, 10, 6, 0, 0, 0, 13, 0, 0, 0, 8])
        mask = int.from_bytes(self._encryptor()[0](fixed), "big") ^ int.from_bytes(tweak, "big") << 64
        object.__setattr__(self, "_mask", mask.to_bytes(16, "big"))
        object.__setattr__(self, "_update_into", self._encryptor()[1])

    def mint(self, counter: int) -> str:
        """The serial of one counter, 0 to 32^8 - 1."""
        return self.mint_lines(counter, 1)[:SERIAL].decode()

    def mint_lines(self, first: int, count: int) -> bytes:
        """The serials of `count` counters from `first` on, a line each; one cipher call a round for 4,096 of them.

        Its cipher context is its own, so that it may run in a thread while `counter_of` answers.
        """
        return twin.mint_lines(self._encryptor()[1], self._mask, ord(self.letter), first, count)

    def counter_of(self, suffix: str, issued: int = COUNTERS) -> int:
        """The counter of a serial in any case; raises InvalidCode ("forged") where this key did not mint it or its
        counter is not below `issued`, ("serial_form") where it is no serial of this letter at all."""
        if suffix[:1].upper() != self.letter:
            raise InvalidCode("serial_form", 0)
        counter = twin.open_serial(self._update_into, self._mask, suffix)
        if not 0 <= counter < issued:
            raise InvalidCode("forged", 0)
        return counter

    def counters_of(self, buffer: bytes) -> list[int]:
        """The counters of serials of this letter, a line each; -1 for each that this key did not mint."""
        return twin.open_lines(self._encryptor()[1], self._mask, ord(self.letter), buffer)

    def _encryptor(self) -> tuple[Update, UpdateInto]:
        # ECB of single blocks is what FF1 is made of: each block is the input of one round.
        context = Cipher(_CIPHERS[FAMILIES[self.letter][0]](self.key), modes.ECB()).encryptor()  # noqa: S305
        return context.update, context.update_into


def with_check_character(suffix: str) -> str:
    """A suffix of digits and capitals with its ISO 7064 MOD 37,36 check character behind it; raises InvalidCode.

    For suffixes that people invent and type. It finds slips, not forgers.
    """
    _check_capitals(suffix, MAX_INPUT - 1)
    return suffix + mod_37_36.calc_check_digit(suffix)


def without_check_character(text: str) -> str:
    """The suffix before the check character; raises InvalidCode where that is wrong."""
    _check_capitals(text, MAX_INPUT)
    if len(text) == 1:
        raise InvalidCode("empty", 0)
    try:
        mod_37_36.validate(text)
    except ValidationError:
        raise InvalidCode("check_character", len(text) - 1) from None
    return text[:-1]


def _check_capitals(text: str, most: int) -> None:
    if len(text) > most:
        raise InvalidCode("input_length", most)
    if not text:
        raise InvalidCode("empty", 0)
    if wrong := _NOT_UPPER.search(text):
        raise InvalidCode("not_capitals", wrong.start())
