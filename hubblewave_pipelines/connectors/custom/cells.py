"""Records of a plain HTTP API as cells of canonical text, and instants in the forms such APIs take."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.errors import VendorRefused

_JSON = msgspec.json.Encoder(decimal_format="number")


def cell(value: Any, kind: FieldKind) -> str | None:
    """JSON as text of one form per kind (core.stream); what cannot be read as its kind stays as it is,
    for the mapping to refuse with its record."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind is FieldKind.DATETIME:
        return _instant_text(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str) and kind is not FieldKind.JSON:
        return value
    return _JSON.encode(value).decode()


def _instant_text(value: Any) -> str:
    found = instant(value)
    if found is None:
        return str(value)
    text = found.isoformat(timespec="microseconds" if found.microsecond else "seconds")
    return text.removesuffix("+00:00") + "Z"


def instant(value: Any) -> datetime | None:
    """Epoch seconds or milliseconds (told apart by size), or ISO 8601; without a zone it is UTC."""
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, int | Decimal):
            number = Decimal(value)
            seconds = number / (1000 if abs(number) >= 100_000_000_000 else 1)
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
                microseconds=int(seconds * 1_000_000)
            )
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # not an instant, which is what None says
    return None


def sent(at: datetime, format: str) -> str:
    """An instant as a parameter of a window."""
    match format:
        case "iso":
            return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case "iso_seconds":
            return at.isoformat(timespec="seconds").replace("+00:00", "Z")
        case "date":
            return at.date().isoformat()
        case "epoch_seconds":
            return str(int(at.timestamp()))
        case "epoch_milliseconds":
            whole = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
            return str(whole)
    raise VendorRefused(f"There is no format {format} of instants.")
