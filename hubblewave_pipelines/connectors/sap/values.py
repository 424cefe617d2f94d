"""Values of OData: JSON -> canonical text, canonical text -> literals in URLs, and keys as one text."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from hubblewave_pipelines.connectors.sap.edmx import Property
from hubblewave_pipelines.core.entity import FieldKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS = re.compile(r"^/Date\((-?\d+)([+-]\d+)?\)/$")
_DURATION = re.compile(r"^P(?:0D)?T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(\.\d+)?S)?$")
_DATS = re.compile(r"^\d{8}$")
_WHOLE = frozenset({"Byte", "SByte", "Int16", "Int32", "Int64"})
_KINDS = {
    "Boolean": FieldKind.BOOLEAN,
    "Decimal": FieldKind.DECIMAL,
    "Double": FieldKind.NUMBER,
    "Single": FieldKind.NUMBER,
    "Guid": FieldKind.UUID,
    "Date": FieldKind.DATE,
    "DateTime": FieldKind.DATETIME,
    "DateTimeOffset": FieldKind.DATETIME,
}
_SEMANTIC_DATE = "yearmonthday"
_LONG = 255

Cell = str | None
Reader = Callable[[Any], Cell]


def kind_of(prop: Property) -> FieldKind:
    if prop.edm in _WHOLE:
        return FieldKind.INTEGER
    if prop.edm == "DateTime" and prop.shown == "Date":
        return FieldKind.DATE
    if prop.edm == "String" and prop.semantics == _SEMANTIC_DATE:
        return FieldKind.DATE
    if prop.edm == "String":
        long = prop.max_length is None or prop.max_length > _LONG
        return FieldKind.LONGTEXT if long else FieldKind.TEXT
    if prop.edm in _KINDS:
        return _KINDS[prop.edm]
    is_simple = "." not in prop.edm and "(" not in prop.edm
    return FieldKind.TEXT if is_simple else FieldKind.JSON  # Time, TimeOfDay, Binary stay texts


def reader(prop: Property) -> Reader:
    """What turns a JSON value of this property into its canonical text."""
    kind = kind_of(prop)
    match kind:
        case FieldKind.DATE:
            return _day
        case FieldKind.DATETIME:
            return _instant
        case FieldKind.INTEGER | FieldKind.DECIMAL | FieldKind.NUMBER:
            return _number
        case FieldKind.BOOLEAN:
            return _boolean
        case FieldKind.UUID:
            return _lowered
        case FieldKind.JSON:
            return _json
        case _:
            return _time if prop.edm in ("Time", "Duration") else _text


def _text(value: Any) -> Cell:
    return value if value is None or isinstance(value, str) else str(value)


def _lowered(value: Any) -> Cell:
    return None if value is None else str(value).lower()


def _json(value: Any) -> Cell:
    return None if value is None else msgspec.json.encode(value).decode()


def _boolean(value: Any) -> Cell:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value)


def _number(value: Any) -> Cell:
    """Plain digits, as many decimals as were sent; the parser has kept fractions as Decimal."""
    if value is None:
        return None
    try:
        return format(Decimal(value), "f")
    except (InvalidOperation, ValueError, TypeError):
        return str(value)  # NaN, INF: for validation to refuse, with its row


def _moment(value: str) -> datetime | None:
    found = _TICKS.match(value)
    if found is None:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=int(found[1]))
    except OverflowError:
        return None


def _day(value: Any) -> Cell:
    if value is None or value in ("", "00000000", "0000-00-00"):
        return None  # SAP's initial date
    text = str(value)
    moment = _moment(text)
    if moment is not None:
        return moment.date().isoformat()
    if _DATS.match(text):
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text.split("T", 1)[0]


def _instant(value: Any) -> Cell:
    """The offset of a V2 date is for showing it only: its number counts from 1970 in UTC."""
    if value is None or value == "":
        return None
    text = str(value)
    moment = _moment(text)
    if moment is None:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return text
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return iso(moment)


def _time(value: Any) -> Cell:
    if value is None:
        return None
    found = _DURATION.match(str(value))
    if found is None:
        return str(value)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    return f"{hours:02}:{minutes:02}:{seconds:02}"


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with `Z`, and as many digits of the second as there are."""
    text = moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()
    if moment.microsecond:
        text = f"{text}.{moment.microsecond:06}".rstrip("0")
    return f"{text}Z"


def literal(prop: Property, text: str, version: int) -> str:
    """A canonical text as it stands in a filter or a key, not yet percent-encoded."""
    if prop.edm == "String":
        value = text.replace("-", "") if prop.semantics == _SEMANTIC_DATE else text
        return "'" + value.replace("'", "''") + "'"
    if version == 4:
        return text
    match prop.edm:
        case "DateTime":
            return f"datetime'{text}'" if "T" in text else f"datetime'{text}T00:00:00'"
        case "DateTimeOffset":
            return f"datetimeoffset'{text}'"
        case "Time":
            hours, minutes, seconds = text.split(":")
            return f"time'PT{hours}H{minutes}M{seconds}S'"
        case "Guid":
            return f"guid'{text}'"
        case "Decimal":
            return f"{text}M"
        case "Int64":
            return f"{text}L"
        case _:
            return text


def join_key(parts: Sequence[str]) -> str:
    """The values of a composite key as one text: percent-encoded (all but A-Z a-z 0-9 - . _ ~),
    with `/` between, in the order of the metadata. `split_key` is its inverse.
    """
    return "/".join(quote(part, safe="") for part in parts)


def split_key(text: str) -> tuple[str, ...]:
    return tuple(unquote(part) for part in text.split("/"))


def key_values(text: str, keys: Sequence[str]) -> tuple[str, ...]:
    """A record's key as the values of the key properties. Raises ValueError."""
    if len(keys) == 1:
        return (text,)
    parts = split_key(text)
    if len(parts) != len(keys):
        raise ValueError(f"{text!r} is no key of {', '.join(keys)}")
    return parts


def predicate(
    keys: Sequence[str], properties: Mapping[str, Property], version: int, values: Sequence[str]
) -> str:
    """`A eq 'x' and B eq 'y'`."""
    return " and ".join(
        f"{name} eq {literal(properties[name], value, version)}"
        for name, value in zip(keys, values, strict=True)
    )


def beyond(
    keys: Sequence[str], properties: Mapping[str, Property], version: int, values: Sequence[str]
) -> str:
    """All keys after this one in the order of the key, in the form that an index can follow:
    `A ge 'x' and (A gt 'x' or B gt 'y')`.
    """
    terms = [
        literal(properties[name], value, version) for name, value in zip(keys, values, strict=True)
    ]
    if len(keys) == 1:
        return f"{keys[0]} gt {terms[0]}"
    parts = []
    for at, name in enumerate(keys):
        equal = [f"{keys[n]} eq {terms[n]}" for n in range(1, at)]
        parts.append(" and ".join([*equal, f"{name} gt {terms[at]}"]))
    wrapped = [f"({part})" if " and " in part else part for part in parts]
    return f"{keys[0]} ge {terms[0]} and ({' or '.join(wrapped)})"
