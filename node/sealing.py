# cython: annotation_typing=False
"""Keys from the master secret: digests of API keys and sealed columns.

The file holds one `generation:base64` line for each generation of the secret; the last one seals, all of them open,
so that what was sealed before a rotation stays readable. Every use has a key of its own by HKDF-SHA256 (RFC 5869).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from node.config import ConfigError

_SECRET_BYTES = 32
_NONCE_BYTES = 12


@dataclass(eq=False)
class Sealer:
    """The master secret, by generation (1..255)."""

    secrets: dict[int, bytes] = field(repr=False)
    current: int = field(init=False)  # the newest generation
    oldest: int = field(init=False)
    _derived: dict[tuple[str, int], bytes] = field(default_factory=dict, repr=False)
    _keyed: dict[int, dict[str, Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.current, self.oldest = max(self.secrets), min(self.secrets)

    @classmethod
    def from_file(cls, path: Path) -> Sealer:
        """Read the secret; raises ConfigError where it cannot be read, is malformed or others may read it."""
        try:
            mode = path.stat().st_mode
            lines = path.read_text("ascii").split()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"NODE_SECRET_FILE {path} cannot be read: {error}") from None
        if mode & 0o077:
            raise ConfigError(f"NODE_SECRET_FILE {path} is readable by others: chmod 600 it")
        try:
            found = {int(n): base64.b64decode(text, validate=True) for n, text in (x.split(":") for x in lines)}
        except ValueError:
            raise ConfigError(f"NODE_SECRET_FILE {path}: lines must be generation:base64") from None
        if not found or any(len(s) < _SECRET_BYTES or not 0 < n < 256 for n, s in found.items()):
            raise ConfigError(f"NODE_SECRET_FILE {path}: needs generations 1..255 of at least 32 bytes each")
        return cls(found)

    def derive(self, label: str, generation: int) -> bytes:
        """The 32-byte key for one use; ConfigError where that generation is not in the file."""
        if generation not in self.secrets:
            raise ConfigError(f"generation {generation} of the master secret is missing")
        key = self._derived.get((label, generation))
        if key is None:
            kdf = HKDF(SHA256(), 32, salt=None, info=label.encode())
            key = self._derived[label, generation] = kdf.derive(self.secrets[generation])
        return key

    def mac(self, label: str, generation: int, size: int, body: bytes) -> bytes:
        """Keyed BLAKE2b (RFC 7693), a MAC by itself; a label has one size. The key's block is taken in once: a copy of
        that state and a body cost two thirds of a digest from the key."""
        states = self._keyed.get(generation)
        if states is None:
            states = self._keyed[generation] = {}
        keyed = states.get(label)
        if keyed is None:
            keyed = states[label] = hashlib.blake2b(key=self.derive(label, generation), digest_size=size)
        state = keyed.copy()
        state.update(body)
        digest: bytes = state.digest()
        return digest

    def digest(self, label: str, secret: bytes, generation: int) -> bytes:
        """HMAC-SHA256: enough for a secret of 256 random bits, which no dictionary holds."""
        return hmac.new(self.derive(label, generation), secret, hashlib.sha256).digest()

    def seal(self, label: str, plain: bytes) -> bytes:
        """AES-256-GCM under the current generation: generation byte, nonce, ciphertext with tag."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self.derive(label, self.current)).encrypt(nonce, plain, label.encode())
        return bytes([self.current]) + nonce + sealed

    def open(self, label: str, sealed: bytes) -> bytes:
        """What `seal` sealed under the same label; ValueError where it was altered."""
        nonce, text = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return AESGCM(self.derive(label, sealed[0])).decrypt(nonce, text, label.encode())
        except InvalidTag:
            raise ValueError("sealed column was altered or belongs to another use") from None


def create_secret_file(path: Path) -> None:
    """Make a new master secret, readable by its owner only; an existing file is left alone."""
    line = f"1:{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w") as file:
        file.write(line)
