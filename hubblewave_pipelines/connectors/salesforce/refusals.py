"""Salesforce's refusals in words: what its list of {errorCode, message} says."""

import json

from hubblewave_pipelines.core.errors import VendorRefused
from hubblewave_pipelines.outbound.session import Session

_SHOWN = 300


def code_of(error: VendorRefused) -> str:
    """The first errorCode of the answer, or nothing where it has no such form."""
    return _first(error.body)[0]


def explained(error: VendorRefused, session: Session) -> VendorRefused:
    """The same with what Salesforce says of it."""
    code, message = _first(error.body)
    if not code:
        return error
    said = session.redacted(f"Salesforce refused ({code}): {message}"[:_SHOWN])
    return VendorRefused(said, answered=error.answered, body=error.body)


def _first(body: bytes) -> tuple[str, str]:
    try:
        found = json.loads(body)
    except ValueError:
        return "", ""
    first = found[0] if isinstance(found, list) and found else found
    if not isinstance(first, dict):
        return "", ""
    return str(first.get("errorCode", "")), " ".join(str(first.get("message", "")).split())
