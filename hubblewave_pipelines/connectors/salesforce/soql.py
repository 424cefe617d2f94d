"""SOQL as it is sent: quoted texts, unquoted instants with a zone, conditions that cannot mix."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from hubblewave_pipelines.core.errors import VendorRefused
from hubblewave_pipelines.core.stream import Stream, Window

_ESCAPES = {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LITERALS = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)


def quoted(text: str) -> str:
    """A text literal."""
    return "'" + "".join(_ESCAPES.get(letter, letter) for letter in text) + "'"


def instant(at: datetime) -> str:
    """A dateTime literal, in UTC. Stamps are whole seconds, so that nothing is lost by rounding up."""
    utc = at.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def conditions(stream: Stream, window: Window, filter: str | None, after: str | None = None) -> str:
    """A WHERE clause with a space before it, or nothing. Raises VendorRefused for a filter that
    would reach out of its brackets.
    """
    parts = []
    if stream.cursor is not None and window.low is not None:
        parts.append(f"{stream.cursor} >= {instant(window.low)}")
    if stream.cursor is not None and window.high is not None:
        parts.append(f"{stream.cursor} < {instant(window.high)}")
    if filter is not None:
        _check(filter)
        parts.append(f"({filter})")
    if after is not None:
        parts.append(f"{stream.key} > {quoted(after)}")
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def select(fields: Sequence[str], stream: Stream, where: str, *, ordered: bool) -> str:
    order = f" ORDER BY {stream.key}" if ordered else ""
    return " ".join(("SELECT", ", ".join(fields), "FROM", stream.name)) + where + order


def counting(stream: Stream, where: str) -> str:
    return select(("COUNT()",), stream, where, ordered=False)


def _check(filter: str) -> None:
    depth = 0
    for letter in _LITERALS.sub("", filter):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth < 0:
            break
    if depth != 0 or "'" in _LITERALS.sub("", filter):
        raise VendorRefused(
            "The filter is no condition of SOQL: its brackets or quotes are not closed."
        )
