"""The values of expressions and what is done with them: exact decimals, texts, truth."""

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, DecimalException
from enum import StrEnum
from typing import TypeAlias

_MAX_TEXT = 1 << 20
_ARITHMETIC = Context(prec=60)
_NUMBER = re.compile(r"\s*[+-]?([0-9]{1,200}(\.[0-9]{0,200})?|\.[0-9]{1,200})\s*")

Value: TypeAlias = str | Decimal | bool | None


class Kind(StrEnum):
    """What an expression gives. The text of a column serves as a number if it is one."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"


class Unusable(Exception):
    """A row for which the expression has no result: why."""


def number_of(value: Value) -> Decimal | None:
    """Raises Unusable when a text is no number."""
    if value is None or isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not _NUMBER.fullmatch(value):
        raise Unusable(f'"{str(value)[:60]}" is no number')
    return Decimal(value.strip())


def text_of(value: Value) -> str | None:
    """How a value is written: numbers without exponent, truth as true and false."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f")


def bounded(value: str) -> str:
    if len(value) > _MAX_TEXT:
        raise Unusable(f"the text is longer than {_MAX_TEXT} characters")
    return value


def calculated(sign: str, a: Decimal, b: Decimal) -> Decimal:
    try:
        match sign:
            case "+":
                return _ARITHMETIC.add(a, b)
            case "-":
                return _ARITHMETIC.subtract(a, b)
            case "*":
                return _ARITHMETIC.multiply(a, b)
            case _:
                return _ARITHMETIC.divide(a, b)
    except DecimalException as error:
        why = "a division by zero" if sign == "/" and not b else "a number out of range"
        raise Unusable(why) from error


def compared(sign: str, a: str | Decimal | bool, b: str | Decimal | bool) -> bool:
    match sign:
        case "=":
            return a == b
        case "<>":
            return a != b
        case "<":
            return a < b  # type: ignore[operator]
        case "<=":
            return a <= b  # type: ignore[operator]
        case ">":
            return a > b  # type: ignore[operator]
        case _:
            return a >= b  # type: ignore[operator]


def _rounded(value: Decimal, places: Decimal | None) -> Decimal:
    digits = 0 if places is None else int(places)
    if not -30 <= digits <= 30:
        raise Unusable("round takes -30 to 30 places")
    return value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, context=_ARITHMETIC)


def _replaced(text: str, old: str, new: str) -> str:
    if not old:
        return text
    if len(text) + text.count(old) * (len(new) - len(old)) > _MAX_TEXT:
        raise Unusable(f"the text is longer than {_MAX_TEXT} characters")
    return text.replace(old, new)


def _whole(value: Decimal, how: str) -> Decimal:
    return value.quantize(Decimal(1), how, context=_ARITHMETIC)


_T, _N, _B = Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN
# Name: what it gives, what it takes; a `...` repeats the one before, at least once. A missing
# operand makes the result missing.
CALLABLE: Mapping[str, tuple[Kind, tuple[Kind, ...], int, Callable[..., Value]]] = {
    "upper": (_T, (_T,), 1, lambda a: a.upper()),
    "lower": (_T, (_T,), 1, lambda a: a.lower()),
    "trim": (_T, (_T,), 1, lambda a: a.strip()),
    "length": (_N, (_T,), 1, lambda a: Decimal(len(a))),
    "left": (_T, (_T, _N), 2, lambda a, n: a[: max(int(n), 0)]),
    "right": (_T, (_T, _N), 2, lambda a, n: a[-int(n) :] if n >= 1 else ""),
    "replace": (_T, (_T, _T, _T), 3, _replaced),
    "contains": (_B, (_T, _T), 2, lambda a, b: b in a),
    "number": (_N, (_N,), 1, lambda a: a),
    "text": (_T, (_T,), 1, lambda a: a),
    "round": (_N, (_N, _N), 1, lambda a, n=None: _rounded(a, n)),
    "floor": (_N, (_N,), 1, lambda a: _whole(a, ROUND_FLOOR)),
    "ceil": (_N, (_N,), 1, lambda a: _whole(a, ROUND_CEILING)),
    "abs": (_N, (_N,), 1, abs),
    "min": (_N, (_N, _N), 2, min),
    "max": (_N, (_N, _N), 2, max),
}
