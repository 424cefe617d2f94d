"""JQL as the connector writes it: closed windows by epoch milliseconds, and filters of jobs kept in their brackets."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hubblewave_pipelines.core.errors import FilterIgnored
from hubblewave_pipelines.core.stream import Window

MINUTE = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EVERYTHING = 'created >= "1970-01-02"'  # Cloud refuses a query without a restriction
ORDER = "ORDER BY key ASC"


def milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


def floor(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def ceiling(at: datetime) -> datetime:
    return floor(at + MINUTE - timedelta(microseconds=1))


def widened(window: Window) -> Window:
    """To whole minutes: some Jira reads epoch literals to the minute. What is too much is left out
    again by the stamps of the issues.
    """
    low, high = window.low, window.high
    return Window(None if low is None else floor(low), None if high is None else ceiling(high))


def where(filter: str | None, window: Window, *more: str, field: str = "updated") -> str:
    """The condition of a window. Epoch milliseconds mean the same in every account's time zone."""
    wide = widened(window)
    parts = [f"({filter})"] if filter else []
    if wide.low is not None:
        parts.append(f"{field} >= {milliseconds(wide.low)}")
    if wide.high is not None:
        parts.append(f"{field} < {milliseconds(wide.high)}")
    parts += more
    return " AND ".join(parts or [EVERYTHING])


def checked(filter: str) -> str:
    """A job's filter that stays within its brackets. Raises FilterIgnored."""
    depth, quote, place = 0, "", 0
    plain = ""
    while place < len(filter):
        char = filter[place]
        if quote:
            if char == "\\":
                place += 1
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
            plain += " "
        else:
            depth += (char == "(") - (char == ")")
            plain += char
            if depth < 0:
                break
        place += 1
    if depth or quote:
        raise FilterIgnored(
            f"The filter has a quotation mark or bracket without its other: {filter[:80]}"
        )
    words = plain.lower().split()
    if any(pair == ("order", "by") for pair in pairwise(words)):
        raise FilterIgnored(
            "The filter must not sort: the order of reading is the connector's own."
        )
    return filter
