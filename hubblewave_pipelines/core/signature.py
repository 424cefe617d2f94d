"""How webhook deliveries are signed: the X-HubbleWave-* headers and those of Standard Webhooks."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

_PREFIX = "whsec_"
_KEY_BYTES = 32
MIN_SECRET, MAX_SECRET = 16, 256


def new_secret() -> str:
    """A fresh secret `whsec_<base64 of 32 random bytes>`, good for both kinds of signature."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def secret_fault(secret: str) -> str | None:
    """What is wrong with a secret that a user brings, or None."""
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        return f"must have {MIN_SECRET} to {MAX_SECRET} characters"
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        return "must be printable ASCII without spaces"
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            return "must be base64 after `whsec_`"
        if not 24 <= len(key) <= 64:
            return "must hold 24 to 64 bytes of base64 after `whsec_`"
    return None


def sign(
    keys: Sequence[str],
    *,
    event: str,
    delivery: str,
    message: str,
    timestamp: int,
    body: bytes,
) -> dict[str, str]:
    """The headers of one attempt over exactly these body bytes.

    `keys` are the secrets that are good now. `X-HubbleWave-Signature` has room for one and takes
    the first, so during a rotation the old secret comes first until the new one is committed;
    `webhook-signature` carries one signature for each. `delivery` is this delivery's id, `message`
    the id by which receivers know a repeated event, `timestamp` seconds since 1970.

    The key of the `sha256=` signature is the secret's text, `whsec_` included (as GitHub does it);
    that of `v1,` the bytes which the base64 after `whsec_` holds (Standard Webhooks), or the text
    of a secret in any other form. Raises ValueError for a message id with a dot, which would let
    parts of the signed text change places.
    """
    if not keys:
        raise ValueError("nothing to sign with")
    if "." in message or not message:
        raise ValueError("a message id has no dot")
    signed = f"{message}.{timestamp}.".encode() + body
    hexed = hmac.digest(keys[0].encode(), body, "sha256").hex()
    return {
        "X-HubbleWave-Signature": f"sha256={hexed}",
        "X-HubbleWave-Event": event,
        "X-HubbleWave-Delivery": delivery,
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            "v1," + base64.b64encode(hmac.digest(_standard_key(key), signed, "sha256")).decode()
            for key in keys
        ),
    }


_SHA256_HEADERS = ("x-hub-signature-256", "x-hub-signature", "x-hubblewave-signature")
_TOLERANCE = 300.0  # seconds between a signed timestamp and our clock


def is_signed(headers: Mapping[str, str], body: bytes, secret: str, now: datetime) -> bool:
    """Whether these body bytes are signed with `secret`: `sha256=<hex>` in one of the usual headers, or as
    Standard Webhooks. `headers` are found by names in lower case. A signature that is there and wrong is
    not made good by another.
    """
    given = [headers[name] for name in _SHA256_HEADERS if name in headers]
    if given:
        wanted = "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()
        return all(_same(value.strip().lower(), wanted) for value in given)
    message, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (message and stamp.isascii() and stamp.isdigit() and len(stamp) < 12):
        return False
    if abs(now.timestamp() - int(stamp)) > _TOLERANCE:
        return False
    signed = f"{message}.{stamp}.".encode("utf-8", "surrogateescape") + body
    wanted = "v1," + base64.b64encode(hmac.digest(_standard_key(secret), signed, "sha256")).decode()
    return any(_same(value, wanted) for value in headers.get("webhook-signature", "").split())


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())


def _standard_key(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        return base64.b64decode(secret.removeprefix(_PREFIX))
    return secret.encode()
