"""Reading an entity set of the SAP sandbox: which rows a request gets, and where the next page or delta begins."""

import base64
import json
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote

from hubblewave_pipelines.sandboxes.sap.keys import KEY
from hubblewave_pipelines.sandboxes.sap.literals import comparable
from hubblewave_pipelines.sandboxes.sap.model import EntitySet, EntityType
from hubblewave_pipelines.sandboxes.sap.options import Asked, BadOption, in_key_order, sorting
from hubblewave_pipelines.sandboxes.stage import Stage, Table

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A page. `skip_token` goes into its next link, `delta_token` into its delta link."""

    rows: list[Row]
    deleted: list[str]  # keys, of a delta
    count: int | None = None
    skip_token: str | None = None
    delta_token: str | None = None


def seal(**place: Any) -> str:
    return (
        base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode())
        .decode()
        .rstrip("=")
    )


def unseal(token: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.urlsafe_b64decode(token.strip("'") + "=="))
    except ValueError as error:
        raise BadOption("Invalid token") from error
    if not isinstance(found, dict):
        raise BadOption("Invalid token")
    return found


def find(
    stage: Stage, table: Table, part: EntitySet, asked: Asked, *, page: int | None, track: bool
) -> Found:
    """One page of a set. `page`: the most rows that the server gives at once. Raises BadOption.

    Server paging follows the key; a page that comes out full has a next link even when nothing
    follows it, as Gateway's own paging does.
    """
    shape = part.type
    if asked.delta_token is not None:
        return _changes(stage, table, shape, asked, page)
    place = unseal(asked.skip_token) if asked.skip_token else {}
    began = place.get("n", len(stage.changes))
    left = place["left"] if "left" in place else asked.top
    after = place.get("after") or _low(asked)
    count = sum(1 for _ in _matching(table, asked, None)) if asked.count else None
    if in_key_order(asked.order, shape):
        rows_after = _matching(table, asked, after)
        skip = 0 if place else asked.skip
        most = min(limit for limit in (left, page, 10**9) if limit is not None)
        rows = list(islice(rows_after, skip, skip + most))
    else:
        everything = list(_matching(table, asked, None))
        for name, down in reversed(asked.order):
            everything.sort(key=sorting(name, shape), reverse=down)
        skip = place.get("skip", asked.skip)
        most = min(limit for limit in (left, page, 10**9) if limit is not None)
        rows = everything[skip : skip + most]
    remaining = None if left is None else left - len(rows)
    token = None
    if page is not None and len(rows) == page and remaining != 0:
        token = seal(after=rows[-1][KEY], skip=skip + len(rows), left=remaining, n=began)
    delta = seal(n=began) if track and token is None and asked.top is None else None
    return Found(rows, [], count, token, delta)


def count(table: Table, asked: Asked) -> int:
    return sum(1 for _ in _matching(table, asked, _low(asked)))


def _low(asked: Asked) -> str | None:
    """A key text below which nothing matches."""
    low = asked.filter.low if asked.filter is not None else None
    return None if low is None else quote(str(low), safe="")


def _matching(table: Table, asked: Asked, after: str | None) -> Any:
    rows = table.rows
    keys = table.keys(after)
    if asked.filter is None:
        return (rows[key] for key in keys)
    matches = asked.filter.matches
    return (row for key in keys if matches(row := rows[key]))


def _changes(
    stage: Stage, table: Table, shape: EntityType, asked: Asked, page: int | None
) -> Found:
    """What changed since a delta link, each record once as it is now; at least once over all links:
    its last change before the link comes again.
    """
    place = unseal(asked.delta_token or "")
    if asked.skip_token:
        place = unseal(asked.skip_token)
    since, until = place.get("n"), place.get("until", len(stage.changes))
    if not isinstance(since, int) or since > len(stage.changes):
        raise BadOption("The delta token is not valid any more")
    own = [change.key for change in stage.changes[since:until] if change.table == table.name]
    earlier = (
        change.key for change in reversed(stage.changes[:since]) if change.table == table.name
    )
    touched = list(dict.fromkeys([*islice(earlier, 1), *own]))
    begin = place.get("at", 0)
    chosen = touched[begin : begin + page] if page is not None else touched
    rows = [table.rows[key] for key in chosen if key in table.rows]
    gone = [key for key in chosen if key not in table.rows]
    more = begin + len(chosen) < len(touched)
    token = seal(n=since, until=until, at=begin + len(chosen)) if more else None
    return Found(rows, gone, None, token, None if more else seal(n=until))


def related(table: Table, name: str, value: Any, shape: EntityType) -> list[Row]:
    """Rows whose first key property has this value: the items of an order."""
    prop = shape.by_name[name]
    wanted = comparable(prop, value)
    found = []
    for key in table.keys(quote(str(value), safe="")):
        row = table.rows[key]
        if comparable(prop, row[name]) != wanted:
            break
        found.append(row)
    return found
