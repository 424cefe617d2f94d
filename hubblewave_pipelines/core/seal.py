"""Signed places: short lists of values that clients carry for us and cannot change or mix up."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from hubblewave_pipelines.core.errors import CursorMismatch

_VERSION = b"\x01"
_SEAL = 16


class Seal:
    """Signs places of one thing: `secret` is the tenant's, `bound` says which list or feed.

    `mismatch` is what the holder of a place is told when it belongs to something else.
    """

    def __init__(self, secret: bytes, bound: object, mismatch: str) -> None:
        self._key = hashlib.sha256(secret + repr(bound).encode()).digest()
        self._mismatch = mismatch

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")[:_SEAL]

    def close(self, values: Sequence[str | int | None]) -> str:
        """The values as URL-safe text."""
        payload = _VERSION + json.dumps(values, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(payload) + payload).decode().rstrip("=")

    def open(self, text: str) -> list[Any]:
        """The values. Raises CursorMismatch when the text was changed, cut, or made elsewhere."""
        try:
            padded = (text + "=" * (-len(text) % 4)).encode("ascii")
            sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise CursorMismatch(self._mismatch) from error
        mac, payload = sealed[:_SEAL], sealed[_SEAL:]
        if not hmac.compare_digest(mac, self._mac(payload)) or payload[:1] != _VERSION:
            raise CursorMismatch(self._mismatch)
        values: list[Any] = json.loads(payload[1:])
        return values
