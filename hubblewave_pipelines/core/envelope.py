"""Secrets at rest: AES-256-GCM, bound to the place they are stored in, with the key's id beside them."""

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hubblewave_pipelines.core.errors import Misconfigured

KEY_BYTES = 32
_VERSION = "hw1"
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret is stored. A sealed text that is moved elsewhere no longer opens."""

    tenant_id: UUID
    table: str
    row: str
    column: str

    def bound(self, key_id: str) -> bytes:
        parts = (_VERSION, str(self.tenant_id), self.table, self.row, self.column, key_id)
        return "|".join(parts).encode()


def read_key(text: str) -> bytes:
    """A key as it is configured: 32 bytes in base64. Raises Misconfigured."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Misconfigured("The secret key is not base64.") from error
    if len(key) != KEY_BYTES:
        raise Misconfigured(f"The secret key has {len(key)} bytes; it must have {KEY_BYTES}.")
    return key


def new_key() -> str:
    """A fresh key in the form that `read_key` reads."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def key_id(key: bytes) -> str:
    """Names a key without giving it away."""
    return hashlib.sha256(b"hubblewave key id " + key).hexdigest()[:8]


class Envelope:
    """Seals with one key, opens what any of its keys has sealed."""

    def __init__(self, key: bytes, *older: bytes) -> None:
        self._id = key_id(key)
        self._keys: Mapping[str, AESGCM] = {key_id(k): AESGCM(k) for k in (key, *older)}

    def seal(self, place: Place, secret: str) -> str:
        """`hw1.<key id>.<nonce>.<ciphertext>`, good only at `place`."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._keys[self._id].encrypt(nonce, secret.encode(), place.bound(self._id))
        return ".".join((_VERSION, self._id, _coded(nonce), _coded(sealed)))

    def open(self, place: Place, sealed: str) -> str:
        """Raises Misconfigured when the key is not one of ours or the text is not from `place`."""
        version, _, rest = sealed.partition(".")
        name, _, parts = rest.partition(".")
        nonce, _, text = parts.partition(".")
        key = self._keys.get(name)
        if version != _VERSION or key is None:
            raise Misconfigured(
                f"A secret was sealed with the key {name[:16]}, and ours is {self._id}: put "
                "HUBBLEWAVE_SECRET_KEY (or the key file of the data directory) back."
            )
        try:
            return key.decrypt(_plain(nonce), _plain(text), place.bound(name)).decode()
        except (InvalidTag, ValueError) as error:
            raise Misconfigured(
                f"A secret in {place.table}.{place.column} was altered or comes from another row."
            ) from error


def _coded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


def _plain(text: str) -> bytes:
    return base64.urlsafe_b64decode(text)
