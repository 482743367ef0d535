"""NIST SP 800-38G, method FF1: the general form over any block cipher, and the form that minted serials use.

A serial is 13 digits of base 32: 5 zeros and 8 of counter, enciphered. With 13 digits a half has 30 or 35 bits, and
with a tweak of 8 bytes a round is one cipher block: PRF(P || Q) = CIPH(Q xor CIPH(P)), where CIPH(P) never changes.
That constant, the tweak xored in, is the `mask` of the functions below: 16 bytes, of which round i changes the last 6
(i, then NUM(B) in 5 bytes).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from handle_codec.errors import InvalidCode

ALPHABET = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford base 32: no I, L, O, U
SERIAL = 14  # characters: the family's letter and 13 digits
LETTERS = "VRQEKT"  # of the families, as serials.FAMILIES gives them their ciphers
COUNTERS = 32**8
ROUNDS = 10
CHUNK = 4096  # blocks for one cipher call: 128 KiB of buffers stay in the second-level cache

VALUES = {chr(c): v for v, c in enumerate(ALPHABET)}
VALUES |= {c.lower(): v for c, v in VALUES.items()} | dict.fromkeys("Oo", 0) | dict.fromkeys("IiLl", 1)
_SHAPE = re.compile(f"[{LETTERS}{LETTERS.lower()}][0-9A-TV-Za-tv-z]{{{SERIAL - 1}}}")
_FOLDED = str.maketrans("OIL", "011")
_WIDTHS = (30, 35)  # bits of the half that an even or odd round makes

Update = Callable[[bytes], bytes]
UpdateInto = Callable[[bytearray, bytearray], int]


def is_serial(suffix: str) -> bool:
    """Whether the suffix has the form of a minted serial, in any case and with O, I and L; says nothing of a key."""
    return len(suffix) == SERIAL and _SHAPE.fullmatch(suffix) is not None


def fold_serial(suffix: str) -> str:
    """A suffix of the minted form in upper case with O, I, L as 0, 1, 1; any other suffix as it is."""
    return suffix.upper().translate(_FOLDED) if is_serial(suffix) else suffix


def encrypt(cipher: Update, radix: int, tweak: bytes, digits: list[int]) -> list[int]:
    """FF1.Encrypt: `cipher` enciphers one block of 16 bytes; algorithm 7 of SP 800-38G."""
    return _feistel(cipher, radix, tweak, digits, range(ROUNDS))


def decrypt(cipher: Update, radix: int, tweak: bytes, digits: list[int]) -> list[int]:
    """FF1.Decrypt, algorithm 8."""
    return _feistel(cipher, radix, tweak, digits, range(ROUNDS - 1, -1, -1))


def _feistel(cipher: Update, radix: int, tweak: bytes, digits: list[int], rounds: range) -> list[int]:
    size = len(digits)
    u = size // 2
    v = size - u
    width = ((radix**v - 1).bit_length() + 7) // 8
    taken = 4 * -(-width // 4) + 4
    fixed = bytes([1, 2, 1]) + radix.to_bytes(3, "big") + bytes([10, u % 256])
    fixed += size.to_bytes(4, "big") + len(tweak).to_bytes(4, "big")
    tweak += bytes(-(len(tweak) + width + 1) % 16)
    a, b = _number(digits[:u], radix), _number(digits[u:], radix)
    backwards = rounds.step < 0
    for i in rounds:
        shown = a if backwards else b
        pad = _prf(cipher, fixed + tweak + bytes([i]) + shown.to_bytes(width, "big"))
        block = pad
        for j in range(1, -(-taken // 16)):
            block += cipher((int.from_bytes(pad, "big") ^ j).to_bytes(16, "big"))
        y = int.from_bytes(block[:taken], "big")
        modulus = radix ** (v if i % 2 else u)
        if backwards:
            a, b = (b - y) % modulus, a
        else:
            a, b = b, (a + y) % modulus
    return _digits(a, u, radix) + _digits(b, v, radix)


def _prf(cipher: Update, data: bytes) -> bytes:
    """CBC-MAC, algorithm 6."""
    chain = bytes(16)
    for at in range(0, len(data), 16):
        chain = cipher(bytes(x ^ y for x, y in zip(chain, data[at : at + 16], strict=True)))
    return chain


def _number(digits: list[int], radix: int) -> int:
    number = 0
    for digit in digits:
        number = number * radix + digit
    return number


def _digits(number: int, size: int, radix: int) -> list[int]:
    digits = []
    for _ in range(size):
        number, digit = divmod(number, radix)
        digits.append(digit)
    return digits[::-1]


def mint_lines(update_into: UpdateInto, mask: bytes, letter: int, first: int, count: int) -> bytes:
    """The serials of `count` counters from `first` on, a line of 14 characters each; one cipher call a round and chunk.

    `update_into(blocks, into)` enciphers whole blocks; `into` has 15 bytes more than `blocks`, as OpenSSL wants it.
    """
    if not (first >= 0 and count >= 0 and first + count <= COUNTERS):
        raise ValueError(f"counters are 0 to {COUNTERS - 1}")
    lines = bytearray()
    for start in range(first, first + count, CHUNK):
        counters = range(start, min(start + CHUNK, first + count))
        # The five zeros and the counter's first digit are one half of 30 bits, its other seven digits the other.
        halves = [(c >> 35, c & 0x7FFFFFFFF) for c in counters]
        for i in range(ROUNDS):
            pads = _pads(update_into, mask, i, [b for _, b in halves])
            keep = (1 << _WIDTHS[i % 2]) - 1
            halves = [(b, a + pad & keep) for (a, b), pad in zip(halves, pads, strict=True)]
        for a, b in halves:
            lines.append(letter)
            number = a << 35 | b
            lines.extend(ALPHABET[number >> shift & 31] for shift in range(60, -1, -5))
            lines.append(0x0A)
    return bytes(lines)


def open_serial(update_into: UpdateInto, mask: bytes, serial: str) -> int:
    """The counter of a serial, letter and all; -1 where it was not minted with this key. Raises InvalidCode."""
    return _open(update_into, mask, [_read(serial)])[0]


def open_lines(update_into: UpdateInto, mask: bytes, letter: int, buffer: bytes) -> list[int]:
    """The counters of many serials, a line of 14 characters and "\\n" each; -1 where one has another letter, is
    malformed or was not minted with this key. The last line may go without its end."""
    counters: list[int] = []
    lines = buffer.removesuffix(b"\n").split(b"\n") if buffer else []
    for start in range(0, len(lines), CHUNK):
        numbers = [_line_number(line, letter) for line in lines[start : start + CHUNK]]
        opened = _open(update_into, mask, [max(number, 0) for number in numbers])
        counters += [c if number >= 0 else -1 for c, number in zip(opened, numbers, strict=True)]
    return counters


def _line_number(line: bytes, letter: int) -> int:
    """The 65 bits of a line, -1 where it is no serial of this letter (either case)."""
    if len(line) != SERIAL or line[0] | 0x20 != letter | 0x20:
        return -1
    try:
        return _read(line.decode("latin-1"))
    except InvalidCode:
        return -1


def _read(serial: str) -> int:
    if len(serial) != SERIAL:
        raise InvalidCode("serial_form", min(len(serial), SERIAL))
    number = 0
    for at in range(1, SERIAL):
        value = VALUES.get(serial[at])
        if value is None:
            raise InvalidCode("serial_form", at)
        number = number << 5 | value
    return number


def _open(update_into: UpdateInto, mask: bytes, numbers: list[int]) -> list[int]:
    halves = [(number >> 35, number & 0x7FFFFFFFF) for number in numbers]
    for i in range(ROUNDS - 1, -1, -1):
        pads = _pads(update_into, mask, i, [a for a, _ in halves])
        keep = (1 << _WIDTHS[i % 2]) - 1
        halves = [(b - pad & keep, a) for (a, b), pad in zip(halves, pads, strict=True)]
    return [-1 if a >> 5 else a << 35 | b for a, b in halves]


def _pads(update_into: UpdateInto, mask: bytes, i: int, halves: list[int]) -> list[int]:
    """NUM(S) of each half, its low 40 bits: more than a half has, and the rest falls to the modulus."""
    head, last = mask[:10], int.from_bytes(mask[10:], "big") ^ i << 40
    blocks = bytearray(b"".join(head + (last ^ half).to_bytes(6, "big") for half in halves))
    into = bytearray(len(blocks) + 15)
    update_into(blocks, into)
    return [int.from_bytes(into[at + 7 : at + 12], "big") for at in range(0, len(blocks), 16)]
