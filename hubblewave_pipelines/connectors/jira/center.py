"""Data Center's search by startAt: places shift when issues leave the result, so that each page begins with
one that was read before, and results beyond the reach of startAt are cut up by when issues were created.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hubblewave_pipelines.connectors.jira.cloud import Step
from hubblewave_pipelines.connectors.jira.jql import milliseconds
from hubblewave_pipelines.connectors.jira.searching import Found, Searcher
from hubblewave_pipelines.connectors.jira.values import stamp
from hubblewave_pipelines.core.errors import PartialAnswer

_ANCHORS = 20  # ids of the page before; all of them would have to change at once to be lost
_TRIES = 3
_FULL = 0.8  # of the reach of startAt that a part is planned for

Range = tuple[int | None, int | None]  # created in [low, high), milliseconds


class Walk:
    """`jql` makes the whole query of further conditions and an order."""

    def __init__(
        self,
        search: Searcher,
        jql: Callable[..., str],
        fields: Sequence[str],
        limit: int,
        reach: int,
    ) -> None:
        self._search = search
        self._jql = jql
        self._fields = fields
        self._limit = min(limit, reach)
        self._reach = reach

    def steps(self, position: dict[str, Any] | None) -> Iterator[Step]:
        ranges: list[Range] = [(None, None)]
        start, anchors = 0, []
        if position is not None:
            ranges = [(low, high) for low, high in position["ranges"]]
            start, anchors = position["start"], list(position["anchors"])
        while ranges:
            yield from self._range(ranges, start, anchors)
            start, anchors = 0, []

    def _range(self, ranges: list[Range], start: int, anchors: list[str]) -> Iterator[Step]:
        """The first of the ranges; it is taken off at the end, or replaced by its parts."""
        jql = self._jql(*_created(ranges[0]))
        seen = set(anchors)
        back = _ANCHORS
        while True:
            found = self._page(jql, start)
            if found.total > self._reach:
                ranges[:1] = self._parts(ranges[0], found.total)
                return
            ids = [str(issue["id"]) for issue in found.issues]
            place = max((n for n, key in enumerate(ids) if key in anchors), default=-1)
            if anchors and place < 0 and start > 0:
                start = max(0, start - back)  # those read before have left: look for older ones
                back *= 2
                continue
            back = _ANCHORS
            fresh = [i for i in found.issues[place + 1 :] if str(i["id"]) not in seen]
            seen.update(ids)
            ended = start + len(ids) >= found.total or (
                not fresh and start + self._limit >= found.total
            )
            if ids:
                anchors = ids[-_ANCHORS:]
            start += max(1, len(ids) - 1) if ids else self._limit
            if ended:
                ranges.pop(0)
            if ended and not ranges:
                yield Step(fresh, found.at, None)
                return
            following = {
                "ranges": [list(one) for one in ranges],
                "start": 0 if ended else start,
                "anchors": [] if ended else anchors,
            }
            yield Step(fresh, found.at, following)
            if ended:
                return

    def _page(self, jql: str, start: int) -> Found:
        failed: PartialAnswer | None = None
        for _ in range(_TRIES):
            try:
                limit = max(0, min(self._limit, self._reach - start))
                return self._search.by_place(jql, self._fields, start, limit)
            except PartialAnswer as error:
                failed = error
        assert failed is not None
        raise failed

    def _parts(self, whole: Range, total: int) -> list[Range]:
        """The range in parts of about equal length in time, few enough to be likely to fit."""
        low, high = whole
        if low is None or high is None:
            first, last = (self._edge(whole, order) for order in ("ASC", "DESC"))
            low, high = first, last + 1
        count = max(2, -(-total // int(self._reach * _FULL or 1)))
        count = min(count, high - low)
        if count < 2:
            raise PartialAnswer(
                f"{total} issues were created in the same millisecond, and Jira gives no more than"
                f" {self._reach} of a search: let the operator raise its limit."
            )
        cuts = [low + (high - low) * n // count for n in range(count + 1)]
        bounds: list[int | None] = [*cuts]
        bounds[0], bounds[-1] = whole  # what is created meanwhile belongs to the last part
        return [(bounds[n], bounds[n + 1]) for n in range(count)]

    def _edge(self, whole: Range, direction: str) -> int:
        jql = self._jql(*_created(whole), order=f"ORDER BY created {direction}")
        found = self._search.by_place(jql, ("created",), 0, 1)
        if not found.issues:
            raise PartialAnswer("Jira counts issues that it does not show.")
        return milliseconds(stamp(str(found.issues[0]["fields"]["created"])))


def _created(part: Range) -> list[str]:
    low, high = part
    found = [] if low is None else [f"created >= {low}"]
    return found if high is None else [*found, f"created < {high}"]
