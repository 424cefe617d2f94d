"""What a search finds: the issues that the index has, in the order asked for, and the place after one."""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import total_ordering
from typing import TYPE_CHECKING, Any

from hubblewave_pipelines.sandboxes.jira import catalog
from hubblewave_pipelines.sandboxes.jira.jql import JqlError, Site, parse
from hubblewave_pipelines.sandboxes.stage import Row

if TYPE_CHECKING:
    from hubblewave_pipelines.sandboxes.jira.site import Jira

KEPT = 8
UNBOUNDED = (
    "Unbounded JQL queries are not allowed here. Please add a search restriction to your query."
)
WRONG_ZONE = 34_200_000  # nine and a half hours


@dataclass(frozen=True, slots=True)
class Found:
    rows: Sequence[Row]
    key: Callable[[Row], Any]
    sorted_by: tuple[str, ...]  # what a row must still have for `key`

    def past(self, row: Row) -> int:
        """Where the rows after this one begin, also when it is not among them any more."""
        return bisect_right(self.rows, self.key(row), key=self.key)


def find(site: "Jira", jql: str, *, shifted: bool = False, bounded: bool = False) -> Found:
    """Raises JqlError."""
    place = (jql, shifted, len(site.stage.changes), site.stage.pending)
    query = parse(jql, site_of(site, WRONG_ZONE if shifted else 0))
    if bounded and query.where is None:
        raise JqlError(UNBOUNDED)
    key = _key(query.order)
    rows = site.found.get(place)
    if rows is None:
        where = query.where
        rows = sorted((r for r in site.issues.indexed() if where is None or where(r)), key=key)
        if not re.search(r"\(\s*\)|-\d+[mhdw]", jql):  # those move with the clock
            while len(site.found) >= KEPT:
                del site.found[next(iter(site.found))]
            site.found[place] = rows
    return Found(
        rows, key, ("id", "project", "number", *(field for field, _ in query.order), "created")
    )


def site_of(site: "Jira", shift: int = 0) -> Site:
    def key_of(text: str) -> tuple[str, int] | None:
        number = site.key(text)
        row = None if number is None else site.issues.rows.get(number)
        return None if row is None else (row["project"], row["number"])

    return Site(
        now=site.clock.now(),
        zone=site.zone,
        account=catalog.ACCOUNT,
        projects=frozenset(catalog.PROJECTS),
        fields=catalog.clause_names(),
        key_of=key_of,
        to_the_minute=site.to_the_minute,
        shift=shift,
    )


def _key(order: Sequence[tuple[str, bool]]) -> Callable[[Row], Any]:
    """Keys sort by project, then by number; `id` is another name of `key` in JQL."""
    wanted = order or (("created", True),)

    def one(row: Row, field: str, descending: bool) -> Any:
        value = (row["project"], row["number"]) if field == "key" else row.get(field)
        missing = value is None or isinstance(value, (list, dict))
        found = (missing, "" if missing else value)
        return Descending(found) if descending else found

    return lambda row: (
        *(one(row, field, descending) for field, descending in wanted),
        int(row["id"]),
    )


@total_ordering
class Descending:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descending) and bool(self.value == other.value)

    def __lt__(self, other: "Descending") -> bool:
        return bool(other.value < self.value)

    __hash__ = None  # type: ignore[assignment]
