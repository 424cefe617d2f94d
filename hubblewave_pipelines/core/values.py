"""One value of a field: read from JSON or from text, and checked against the field's rules."""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache, partial
from uuid import UUID

import re2

from hubblewave_pipelines.core.entity import Field, FieldKind, Json

# RE2 syntax, so that the same patterns serve vectorised checks. Each must match the whole text.
INTEGER = r"[+-]?[0-9]{1,19}"
NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
DECIMAL = r"[+-]?([0-9]{1,1000}(\.[0-9]{0,1000})?|\.[0-9]{1,1000})"
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
DATETIME = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
)
UUID_TEXT = r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
# The address form of the HTML standard, with at least one dot in the domain.
EMAIL = (
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
URL = r"(https?|ftp)://[^\s/?#]+[^\s]*"
EMAIL_LENGTH, URL_LENGTH = 254, 2048
TRUE_WORDS = frozenset({"true", "t", "yes", "y", "1", "on"})
FALSE_WORDS = frozenset({"false", "f", "no", "n", "0", "off"})
_INT64 = range(-(2**63), 2**63)

TEXT_KINDS = frozenset(
    {FieldKind.TEXT, FieldKind.LONGTEXT, FieldKind.EMAIL, FieldKind.URL, FieldKind.ENUM}
)
ORDERED_KINDS = frozenset(
    {
        FieldKind.INTEGER,
        FieldKind.NUMBER,
        FieldKind.DECIMAL,
        FieldKind.DATE,
        FieldKind.DATETIME,
    }
)


class Refused(Exception):
    """A value breaks a rule of its field: `code` for programs, `detail` for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@lru_cache(maxsize=1024)
def pattern(text: str) -> "re2._Regexp[str]":
    """The compiled RE2 pattern, which runs in linear time. Raises re2.error when it is not one."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(text, options)


def shown(value: object) -> str:
    """The value as a short quotation for an error message."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return json.dumps(text if len(text) <= 60 else text[:57] + "...", ensure_ascii=False)


def _matches(expression: str, text: str) -> bool:
    try:
        return pattern(expression).fullmatch(text) is not None
    except UnicodeEncodeError:  # half of a surrogate pair is no character of any pattern
        return False


# Our own forms without nested repetition: here the standard library is as linear, and much quicker.
_INTEGER, _NUMBER, _DECIMAL = re.compile(INTEGER), re.compile(NUMBER), re.compile(DECIMAL)
_DATE, _DATETIME, _UUID_TEXT = re.compile(DATE), re.compile(DATETIME), re.compile(UUID_TEXT)


def _storable(text: str) -> str:
    """PostgreSQL stores no NUL, and UTF-8 has no lone surrogates."""
    if text.isascii() and "\x00" not in text:
        return text
    if "\x00" in text:
        raise Refused("nul", "contains a NUL character, which text cannot hold")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused("encoding", "contains half of a surrogate pair") from error
    return text


def _text(text: str) -> str:
    return _storable(text)


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise Refused("type", f"expected a whole number, got {shown(text)}")
    return _int64(int(text))


def _int64(value: int) -> int:
    if value not in _INT64:
        raise Refused("range", "is outside the 64-bit range")
    return value


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise Refused("type", f"expected a number, got {shown(text)}")
    return _finite(float(text))


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise Refused("range", "is not a finite number")
    return value


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        raise Refused("type", f"expected a decimal like 12.50, got {shown(text)}")
    return Decimal(text)


def _boolean(text: str) -> bool:
    word = text.lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise Refused("type", f"expected true or false, got {shown(text)}")


def _date(text: str) -> date:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError as error:
        raise Refused("format", f"expected a date like 2026-01-31, got {shown(text)}") from error


def _datetime(text: str) -> datetime:
    """A time without a zone is taken as UTC."""
    try:
        if not _DATETIME.fullmatch(text):
            raise ValueError(text)
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Refused(
            "format", f"expected a time like 2026-01-31T08:30:00Z, got {shown(text)}"
        ) from error


def _email(text: str) -> str:
    if len(text) > EMAIL_LENGTH or not _matches(EMAIL, text):
        raise Refused("format", f"expected an e-mail address, got {shown(text)}")
    return text


def _url(text: str) -> str:
    if len(text) > URL_LENGTH or not _matches(URL, text):
        raise Refused("format", f"expected an http, https or ftp URL, got {shown(text)}")
    return _storable(text)


def _uuid(text: str) -> UUID:
    if not _UUID_TEXT.fullmatch(text):
        raise Refused("format", f"expected a UUID, got {shown(text)}")
    return UUID(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _json(text: str) -> Json:
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused("format", f"expected JSON, got {shown(text)}") from error
    return _json_value(value)


def _json_value(value: Json, depth: int = 0) -> Json:
    if depth > 64:
        raise Refused("depth", "is nested more than 64 levels deep")
    if isinstance(value, str):
        _storable(value)
    elif isinstance(value, float):
        _finite(value)
    elif isinstance(value, list):
        for item in value:
            _json_value(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _storable(key)
            _json_value(item, depth + 1)
    return value


_FROM_TEXT: Mapping[FieldKind, Callable[[str], object]] = {
    FieldKind.TEXT: _text,
    FieldKind.LONGTEXT: _text,
    FieldKind.INTEGER: _integer,
    FieldKind.NUMBER: _number,
    FieldKind.DECIMAL: _decimal,
    FieldKind.BOOLEAN: _boolean,
    FieldKind.DATE: _date,
    FieldKind.DATETIME: _datetime,
    FieldKind.EMAIL: _email,
    FieldKind.URL: _url,
    FieldKind.UUID: _uuid,
    FieldKind.JSON: _json,
    FieldKind.ENUM: _text,
}

# What a JSON value of each kind must be before its text form is read; None: handled apart.
_JSON_TYPE: Mapping[FieldKind, str] = {
    FieldKind.TEXT: "a string",
    FieldKind.LONGTEXT: "a string",
    FieldKind.INTEGER: "a whole number",
    FieldKind.NUMBER: "a number",
    FieldKind.DECIMAL: 'a decimal string like "12.50"',
    FieldKind.BOOLEAN: "true or false",
    FieldKind.DATE: "a string like 2026-01-31",
    FieldKind.DATETIME: "a string like 2026-01-31T08:30:00Z",
    FieldKind.EMAIL: "a string",
    FieldKind.URL: "a string",
    FieldKind.UUID: "a UUID string",
    FieldKind.JSON: "any JSON",
    FieldKind.ENUM: "a string",
}


_NUMBERS = (int, float)
_NEVER_SPELLED = frozenset({FieldKind.BOOLEAN, FieldKind.INTEGER, FieldKind.NUMBER})


def _of_json_type(kind: FieldKind, value: Json) -> object:
    if isinstance(value, str) and kind is not FieldKind.JSON and kind not in _NEVER_SPELLED:
        return _FROM_TEXT[kind](value)
    if kind is FieldKind.JSON:
        return _json_value(value)
    numeric = isinstance(value, _NUMBERS) and not isinstance(value, bool)
    if kind is FieldKind.BOOLEAN and isinstance(value, bool):
        return value
    if kind is FieldKind.INTEGER and numeric and isinstance(value, int):
        return _int64(value)
    if kind is FieldKind.NUMBER and numeric:
        try:
            return _finite(float(value))
        except OverflowError as error:
            raise Refused("range", "is not a finite number") from error
    if kind is FieldKind.DECIMAL and numeric:
        return _decimal(format(Decimal(repr(_finite_number(value))), "f"))
    raise Refused("type", f"expected {_JSON_TYPE[kind]}, got {shown(value)}")


def _finite_number(value: float) -> float:
    return value if isinstance(value, int) else _finite(value)


def limit(field: Field, bound: float | int | str) -> object:
    """A min or max of `field` as a value that its values can be compared with.

    Raises Refused when the bound is not a value of the field's kind.
    """
    if field.kind is FieldKind.DECIMAL and not isinstance(bound, str):
        return Decimal(repr(bound))
    if field.kind is FieldKind.INTEGER and isinstance(bound, float) and bound.is_integer():
        return int(bound)
    return _of_json_type(field.kind, bound)


def _checked(field: Field, value: object) -> object:
    """The value, when it keeps the rules of the field beyond its kind."""
    if isinstance(value, str) and field.kind in TEXT_KINDS:
        if field.max_length is not None and len(value) > field.max_length:
            raise Refused("length", f"is {len(value)} characters long; at most {field.max_length}")
        if field.pattern is not None and not _matches(field.pattern, value):
            raise Refused("pattern", f"{shown(value)} does not match {field.pattern}")
        if field.kind is FieldKind.ENUM and value not in field.enum:
            raise Refused("enum", f"{shown(value)} is not one of {', '.join(field.enum)}")
    if field.min is not None and value < limit(field, field.min):  # type: ignore[operator]
        raise Refused("range", f"is less than {field.min}")
    if field.max is not None and value > limit(field, field.max):  # type: ignore[operator]
        raise Refused("range", f"is more than {field.max}")
    return value


def from_json(field: Field, value: Json) -> object:
    """The Python value that a JSON value (not null) stands for. Raises Refused."""
    return _checked(field, _of_json_type(field.kind, value))


def from_text(field: Field, text: str) -> object:
    """The Python value that a text cell (not empty) stands for. Raises Refused."""
    return _checked(field, _FROM_TEXT[field.kind](text))


def reference(value: Json) -> UUID:
    if not isinstance(value, str):
        raise Refused("type", f"expected the id of a record, got {shown(value)}")
    return _uuid(value)


# What JSON writes a value of a kind as most often, and how it is read then.
_PLAIN: Mapping[FieldKind, tuple[type, Callable[..., object]]] = {
    FieldKind.TEXT: (str, _storable),
    FieldKind.LONGTEXT: (str, _storable),
    FieldKind.INTEGER: (int, _int64),
    FieldKind.NUMBER: (float, _finite),
    FieldKind.DECIMAL: (str, _decimal),
    FieldKind.BOOLEAN: (bool, bool),
    FieldKind.DATE: (str, _date),
    FieldKind.DATETIME: (str, _datetime),
    FieldKind.EMAIL: (str, _email),
    FieldKind.URL: (str, _url),
    FieldKind.UUID: (str, _uuid),
}


def reader(field: Field) -> Callable[[Json], object]:
    """`from_json` for one field, which asks for nothing twice: a bulk request has 1,000 records."""
    rules = (field.max_length, field.pattern, field.min, field.max)
    plain = _PLAIN.get(field.kind) if all(rule is None for rule in rules) else None
    if plain is None:
        return partial(from_json, field)
    expected, read = plain

    def quick(value: Json) -> object:
        return read(value) if type(value) is expected else from_json(field, value)

    return quick


_SPACE = re.compile(r"\s+")


def squeezed(name: str) -> str:
    """A name as people vary it: case, spaces, dashes and underscores do not count."""
    return _SPACE.sub("", name).replace("_", "").replace("-", "").lower()
