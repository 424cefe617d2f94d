"""Values on the wire: how OData V2 and V4 write a value in JSON and in a URL, and how each is read back."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from hubblewave_pipelines.sandboxes.sap.model import Property

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WRAPPED = re.compile(r"^(datetimeoffset|datetime|time|guid)'(.*)'$", re.DOTALL)
_DATE = re.compile(r"^/Date\((-?\d+)([+-]\d+)?\)/$")
_DURATION = re.compile(r"^PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?$")


class BadLiteral(ValueError):
    """A value that its property cannot hold, or a literal in no form of this version."""


def comparable(prop: Property, value: Any) -> Any:
    """The form in which the database compares and sorts: ALPHA numbers padded."""
    if prop.alpha and isinstance(value, str) and value.isdigit():
        return value.rjust(prop.alpha, "0")
    return value


def ticks(value: datetime) -> int:
    return (value - _EPOCH) // timedelta(milliseconds=1)


def duration(value: time) -> str:
    return f"PT{value.hour:02}H{value.minute:02}M{value.second:02}S"


def instant(value: datetime) -> str:
    """ISO 8601 in UTC with as many digits of the second as there are."""
    text = value.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{value.microsecond:06}".rstrip("0") + "Z" if value.microsecond else f"{text}Z"


def scaled(prop: Property, value: Decimal) -> str:
    """Gateway's form of a decimal: all its decimals, never an exponent."""
    return f"{value:.{prop.scale or 0}f}"


def _midnight(value: date) -> datetime:
    return datetime(value.year, value.month, value.day, tzinfo=UTC)


def json_v2(prop: Property, value: Any) -> Any:
    if value is None:
        return None
    match prop.edm:
        case "DateTime":
            return f"/Date({ticks(_midnight(value))})/"
        case "DateTimeOffset":
            return f"/Date({ticks(value)}+0000)/"
        case "Time":
            return duration(value)
        case "Decimal":
            return scaled(prop, value)
        case "Int64" | "Double" | "Guid":
            return str(value)
        case _:
            return value


def json_v4(prop: Property, value: Any, *, decimals: Callable[[str], Any]) -> Any:
    """`decimals` makes of a number's text what the client asked for: the text, or a JSON number."""
    if value is None:
        return None
    match prop.edm:
        case "DateTime":
            return value.isoformat()
        case "DateTimeOffset":
            return instant(value)
        case "Time":
            return value.isoformat()
        case "Decimal":
            return decimals(scaled(prop, value))
        case "Int64":
            return decimals(str(value))
        case "Guid":
            return str(value)
        case _:
            return value


def key_literal(prop: Property, value: Any, version: int) -> str:
    """A value as it stands in the parentheses of a canonical URL, not yet percent-encoded."""
    if prop.edm == "String":
        return "'" + str(value).replace("'", "''") + "'"
    if prop.edm == "Guid" and version == 2:
        return f"guid'{value}'"
    return str(value)


def read_literal(prop: Property, text: str, version: int) -> Any:
    """A literal of a URL as a value of the property. Raises BadLiteral."""
    if text == "null":
        return None
    try:
        if prop.edm == "String":
            return _quoted(text)
        if prop.edm == "Boolean":
            return {"true": True, "false": False}[text]
        if prop.edm in ("Int32", "Int64"):
            return int(text[:-1] if version == 2 and text[-1:] in "Ll" else text)
        if prop.edm == "Decimal":
            return Decimal(text[:-1] if version == 2 and text[-1:] in "Mm" else text)
        if prop.edm == "Double":
            return float(text[:-1] if version == 2 and text[-1:] in "Dd" else text)
        return _wrapped(prop, text) if version == 2 else read_text(prop, text)
    except (ValueError, KeyError, InvalidOperation) as error:
        raise BadLiteral(f"Invalid literal {text} for property '{prop.name}'") from error


def _quoted(text: str) -> str:
    if len(text) < 2 or text[0] != "'" or text[-1] != "'":
        raise BadLiteral(f"{text} is no string")
    return text[1:-1].replace("''", "'")


def _wrapped(prop: Property, text: str) -> Any:
    found = _WRAPPED.match(text)
    if found is None or found[1] != prop.edm.lower():
        raise BadLiteral(f"{text} is no {prop.edm}")
    return read_text(prop, found[2])


def read_text(prop: Property, text: str) -> Any:
    match prop.edm:
        case "DateTime":
            return date.fromisoformat(text.split("T", 1)[0])
        case "DateTimeOffset":
            value = datetime.fromisoformat(text)
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
        case "Time":
            found = _DURATION.match(text)
            if found is None:
                return time.fromisoformat(text)
            hours, minutes, seconds = (int(part or 0) for part in found.groups())
            return time(hours, minutes, seconds)
        case "Guid":
            return UUID(text)
        case _:
            raise BadLiteral(f"{prop.edm} has no such literal")


def read_json(prop: Property, value: Any, version: int) -> Any:
    """A member of a request body as a value of the property. Raises BadLiteral."""
    if value is None:
        if not prop.nullable:
            raise BadLiteral(f"Property '{prop.name}' must not be null")
        return None
    try:
        return _from_json(prop, value, version)
    except (ValueError, TypeError, InvalidOperation) as error:
        raise BadLiteral(f"Property '{prop.name}' has invalid value '{value}'") from error


def _from_json(prop: Property, value: Any, version: int) -> Any:
    if prop.edm == "String":
        if not isinstance(value, str) or (prop.length and len(value) > prop.length):
            raise BadLiteral(f"'{prop.name}' takes at most {prop.length} characters")
        return value
    if prop.edm == "Boolean":
        if not isinstance(value, bool):
            raise BadLiteral("not a boolean")
        return value
    if prop.edm in ("Int32", "Int64"):
        return int(value)
    if prop.edm == "Decimal":
        number = Decimal(str(value))
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int) or -exponent > (prop.scale or 0):
            raise BadLiteral("too many decimals")
        return number
    if prop.edm == "Double":
        return float(value)
    dated = _DATE.match(value) if version == 2 and isinstance(value, str) else None
    if dated is not None:
        moment = _EPOCH + timedelta(milliseconds=int(dated[1]))
        return moment.date() if prop.edm == "DateTime" else moment
    return read_text(prop, value)
