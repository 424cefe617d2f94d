"""Every row of a query once, in the order of sys_id, with the traps of limits, ACLs and ignored filters closed.

The limit of a request is applied before ACLs take rows away, so that a page may be short or empty
with more behind it. A page is the last one when the instance's own count of what lies past the last
row says so. That count is asked for on the first page and on the one that is expected to be the
last, which on clean runs costs no request at all.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from hubblewave_pipelines.connectors.servicenow.encoded import bounds, escaped
from hubblewave_pipelines.connectors.servicenow.table_api import Row, TableApi
from hubblewave_pipelines.core.errors import FilterIgnored, PartialAnswer, TransactionCancelled
from hubblewave_pipelines.core.stream import Window

_LEAST = 10  # rows; a transaction that is too slow for so many will not end for fewer
_PLAIN = re.compile(r"[0-9a-f]{32}")  # these sort the same in every collation


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk stands: past row `after`, `offset` further rows of it that ACLs hid entirely.
    `left` is how many rows are thought to come; None: not known.
    """

    after: str | None = None
    limit: int = 0
    offset: int = 0
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    rows: Sequence[Row]
    place: Place | None  # None after the last

    @property
    def position(self) -> dict[str, Any] | None:
        return None if self.place is None else asdict(self.place)


def walk(
    api: TableApi,
    table: str,
    query: Callable[[str], str],
    fields: Sequence[str],
    place: Place,
    *,
    stamp: str | None = None,
    window: Window | None = None,
) -> Iterator[Step]:
    """`query` makes the whole query of a further condition. `stamp` is the field that each row must
    have inside `window`.

    Raises FilterIgnored, PartialAnswer and what the session raises.
    """
    guard = _Guard(table, stamp, window or Window())
    at: Place | None = place
    while at is not None:
        more = "" if at.after is None else f"sys_id>{escaped(at.after)}"
        asked = query(more)
        try:
            found = api.rows(
                table,
                asked,
                fields,
                at.limit,
                offset=at.offset,
                counted=at.left is None or at.left <= at.limit,
            )
        except TransactionCancelled:
            if at.limit <= _LEAST:
                raise
            at = Place(at.after, max(_LEAST, at.limit // 2), at.offset, at.left)
            continue
        rows = guard.checked(found.rows, at.after)
        total = found.total
        if total is None and (at.left is None or at.left <= at.limit or len(rows) < at.limit):
            if len(found.rows) < at.limit:
                total = api.count(table, asked)
        following = _following(at, rows, total)
        yield Step(rows, following)
        at = following


def _following(at: Place, rows: Sequence[Row], total: int | None) -> Place | None:
    """Where to go on. `total` counts what lies past `after`, hidden rows with it."""
    last = rows[-1]["sys_id"] if rows else None
    if total is None:
        left = None if at.left is None or len(rows) < at.limit else at.left - at.limit
        return Place(last or at.after, at.limit, 0, left)
    looked_at = min(at.limit, max(0, total - at.offset))
    behind = max(0, total - at.offset - at.limit)
    hidden = looked_at - len(rows)
    if last is not None:
        if behind == 0 and hidden <= 0:
            return None
        return Place(last, at.limit, 0, behind + max(0, hidden))
    if behind == 0:
        return None  # all that there was, was looked at, and ACLs hid it
    return Place(at.after, at.limit, at.offset + at.limit, behind)


class _Guard:
    """What each page must be like, whatever the instance made of the query."""

    def __init__(self, table: str, stamp: str | None, window: Window) -> None:
        self._table = table
        self._stamp = stamp
        self._low, self._high = bounds(window)
        self._before: frozenset[str] = frozenset()

    def checked(self, rows: Sequence[Row], after: str | None) -> Sequence[Row]:
        """The rows without those of the page before. Raises FilterIgnored and PartialAnswer."""
        fresh = []
        for row in rows:
            key = row.get("sys_id")
            if not isinstance(key, str) or not key:
                raise PartialAnswer(f"Records of {self._table} came without sys_id.")
            if self._stamp is not None:
                self._inside(key, row.get(self._stamp) or "")
            if key != after and key not in self._before:
                fresh.append(row)
        if rows and not fresh:
            raise FilterIgnored(
                f"{self._table}: the instance sent the same records again instead of those past"
                f" {after}: it ignored the condition on sys_id."
            )
        keys = [row["sys_id"] for row in fresh]
        self._ascending([key for key in (after, *keys) if key is not None])
        self._before = frozenset(keys)
        return fresh

    def _inside(self, key: str, stamp: str) -> None:
        low, high = self._low, self._high
        if (low is None or stamp >= low) and (high is None or stamp < high):
            return
        raise FilterIgnored(
            f"{self._table} {key} has {self._stamp} {stamp or '(none)'}, and [{low or 'since ever'},"
            f" {high or 'now'}) was asked for: the instance ignored the filter or reads it in another"
            " time zone. Nothing of this answer was used."
        )

    def _ascending(self, keys: Sequence[str]) -> None:
        """Compared here only where every collation agrees."""
        plain = [key for key in keys if _PLAIN.fullmatch(key)]
        if any(one >= other for one, other in pairwise(plain)):
            raise FilterIgnored(
                f"{self._table}: records did not come in the order of sys_id, so that none can be told"
                " to be the last. Nothing of this answer was used."
            )
