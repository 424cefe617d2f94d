"""Cloud's search by token: every issue of a query once, whatever the tokens do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hubblewave_pipelines.connectors.jira.searching import Found, Issue, Searcher
from hubblewave_pipelines.core.errors import PartialAnswer, VendorRefused

_TRIES = 3
_REMEMBERED = 3  # ids of the page before that a stored position holds
_EMPTY = 50  # pages without an issue in a row that still lead on


@dataclass(frozen=True, slots=True)
class Step:
    issues: Sequence[Issue]
    at: datetime
    position: dict[str, Any] | None


def walk(
    search: Searcher, jql: str, fields: Sequence[str], limit: int, position: dict[str, Any] | None
) -> Iterator[Step]:
    """A token is good for seven days. A stored one that has expired starts the walk anew: what was
    merged before is merged again, which changes nothing.
    """
    token = None if position is None else position["token"]
    before: Sequence[str] = () if position is None else position["before"]
    seen: set[str] = set()
    empty, stored = 0, position is not None
    while True:
        try:
            found = _page(search, jql, fields, limit, token, seen)
        except VendorRefused as error:
            if not stored or error.answered != 400:
                raise
            token, before = None, ()
            seen.clear()
            found = _page(search, jql, fields, limit, None, seen)
        stored = False
        known = frozenset(before)
        issues = [issue for issue in found.issues if issue["id"] not in known]
        token = found.token
        if found.issues:
            before, empty = [str(issue["id"]) for issue in found.issues], 0
        elif token is not None:
            empty += 1
            if empty > _EMPTY:
                raise PartialAnswer(f"Jira sent {empty} pages without an issue, each leading on.")
            continue
        last = token is None
        yield Step(
            issues, found.at, None if last else {"token": token, "before": before[-_REMEMBERED:]}
        )
        if last:
            return


def _page(
    search: Searcher, jql: str, fields: Sequence[str], limit: int, token: str | None, seen: set[str]
) -> Found:
    """A page whose token leads on. One that leads back is asked for again, and then refused."""
    failed: PartialAnswer | None = None
    for _ in range(_TRIES):
        try:
            found = search.by_token(jql, fields, limit, token)
        except PartialAnswer as error:
            failed = error
            continue
        if found.token is None or (found.token != token and found.token not in seen):
            seen.update(filter(None, (token,)))
            return found
        failed = PartialAnswer("Jira's page token leads back to a page that has been read.")
    assert failed is not None
    raise failed
