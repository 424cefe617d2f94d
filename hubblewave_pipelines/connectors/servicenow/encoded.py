"""Encoded queries as the connector writes them, and the reading of those that jobs give as filters."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from hubblewave_pipelines.core.stream import Window

_SECOND = timedelta(seconds=1)
_FIELD = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z0-9_]+)*")
_OPERATORS = re.compile(
    r"ISNOTEMPTY|ISEMPTY|EMPTYSTRING|ANYTHING|STARTSWITH|ENDSWITH|NOT ?LIKE|DOES NOT CONTAIN|CONTAINS|LIKE"
    r"|NOT ?IN|INSTANCEOF|IN|BETWEEN|SAMEAS|NSAMEAS|DYNAMIC|ON|NOTON|VALCHANGES|CHANGESFROM|CHANGESTO"
    r"|>=|<=|!=|=|>|<"
)


class Unreadable(ValueError):
    """The filter cannot be told apart into conditions; an instance would ignore parts of it."""


def escaped(value: str) -> str:
    """A value as it stands in a query."""
    return value.replace("^", "^^")


def literal(at: datetime) -> str:
    """UTC, whole seconds, as queries and answers have it."""
    return at.strftime("%Y-%m-%d %H:%M:%S")


def bounds(window: Window) -> tuple[str | None, str | None]:
    """The window as literals, widened to whole seconds: stamps have no more."""
    low, high = window.low, window.high
    if high is not None and high.microsecond:
        high = high.replace(microsecond=0) + _SECOND
    return None if low is None else literal(low), None if high is None else literal(high)


def conditions(field: str, window: Window) -> list[str]:
    low, high = bounds(window)
    found = [] if low is None else [f"{field}>={low}"]
    return found if high is None else [*found, f"{field}<{high}"]


def joined(filter: str | None, every: Sequence[str], order: str = "") -> str:
    """Filter and further conditions, which hold in EACH of its alternatives (^NQ)."""
    groups = [group.strip("^") for group in _split(filter, "^NQ")] if filter else [""]
    found = "^NQ".join("^".join(part for part in (group, *every) if part) for group in groups)
    return f"{found}^{order}".strip("^") if order else found


def fields_of(filter: str) -> set[str]:
    """The fields that a filter asks about. Raises Unreadable."""
    found = set()
    for part in _split(filter, "^"):
        condition = part.removeprefix("NQ").removeprefix("OR") if part[:2] in ("NQ", "OR") else part
        if condition in ("", "EQ"):
            continue
        if part.startswith(("ORDERBY", "GROUPBY")):
            raise Unreadable("it orders or groups, which is the reading's own business")
        name = _FIELD.match(condition)
        if name is None or _OPERATORS.match(condition, name.end()) is None:
            raise Unreadable(f"{condition[:80]!r} is no field with an operator and a value")
        found.add(name.group())
    return found


def _split(text: str, by: str) -> Iterator[str]:
    """The parts between separators; doubled carets are a value's."""
    part, place = "", 0
    while place < len(text):
        if text.startswith("^^", place):
            part += "^^"
            place += 2
        elif text.startswith(by, place):
            yield part
            part = ""
            place += len(by)
        else:
            part += text[place]
            place += 1
    yield part
