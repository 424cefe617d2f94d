"""Identifiers: time-ordered record ids, opaque physical names, API keys and their digests."""

import base64
import hashlib
import re
import secrets
import uuid
import zlib
from dataclasses import dataclass

import numpy as np

_RECORD_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OPAQUE = re.compile(r"[a-z2-7]{8}")
_KEY = re.compile(r"hw_live_([a-z2-7]{8})_([A-Za-z0-9_-]{43})([0-9a-f]{8})")


def opaque_id() -> str:
    """A random 40-bit name of 8 characters from [a-z2-7], safe inside an SQL identifier."""
    return base64.b32encode(secrets.token_bytes(5)).decode().lower()


def is_opaque_id(text: str) -> bool:
    return _OPAQUE.fullmatch(text) is not None


def as_id(text: str) -> uuid.UUID | None:
    """The record id written as `text` in a path or body, or None when it cannot be one."""
    return uuid.UUID(text) if _RECORD_ID.fullmatch(text) else None


def uuid7s(count: int, *, unix_ms: int) -> list[uuid.UUID]:
    """`count` version 7 UUIDs (RFC 9562 section 5.7) that ascend in the order returned.

    The 12 bits after the version and the first 20 bits after the variant are a counter (method 1
    of section 6.2), so ids made by one call sort in call order even within one millisecond.
    """
    start = secrets.randbits(24)
    random_tail = np.frombuffer(secrets.token_bytes(count * 6), dtype=np.uint8).reshape(count, 6)
    ids: list[uuid.UUID] = []
    stamp = unix_ms & 0xFFFF_FFFF_FFFF
    for index in range(count):
        counter = start + index
        tail = int.from_bytes(random_tail[index].tobytes(), "big") & 0x3FF_FFFF_FFFF
        value = (
            (stamp << 80)
            | (0x7 << 76)
            | ((counter >> 20 & 0xFFF) << 64)
            | (0b10 << 62)
            | ((counter & 0xF_FFFF) << 42)
            | tail
        )
        ids.append(uuid.UUID(int=value))
    return ids


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as its holder sees it; only `id` and `digest` are ever stored."""

    id: str
    secret: str

    @property
    def text(self) -> str:
        """`hw_live_<id>_<secret><crc32>`: the checksum lets secret scanners reject look-alikes."""
        body = f"hw_live_{self.id}_{self.secret}"
        return f"{body}{zlib.crc32(body.encode()):08x}"

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret. The secret holds 256 random bits, so no slow hash is needed."""
        return hashlib.sha256(self.secret.encode()).digest()


def new_api_key() -> ApiKey:
    return ApiKey(opaque_id(), secrets.token_urlsafe(32))


def parse_api_key(text: str) -> ApiKey | None:
    """The key written as `text`, or None when it cannot be one (form or checksum wrong)."""
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    key = ApiKey(match[1], match[2])
    return key if key.text == text else None
