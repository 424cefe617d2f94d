"""Cursors: a place in a list, sealed to the tenant, entity, sort and filter it belongs to."""

from collections.abc import Sequence
from typing import Any

from hubblewave_pipelines.core import seal
from hubblewave_pipelines.core.errors import CursorMismatch
from hubblewave_pipelines.core.query import (
    All,
    Comparison,
    Filter,
    LinkedFrom,
    Not,
    Page,
    Position,
    Query,
    Related,
)

_ELSEWHERE = (
    "The cursor does not belong to this list: use it with the same path, sort and filter "
    "as the page it came from."
)


def _spelled(found: Filter) -> object:
    """A filter by physical names only, so that renaming a field breaks no cursor."""
    if isinstance(found, Comparison):
        column = found.column
        return (column.physical, column.kind.value, found.operator.value, found.value)
    if isinstance(found, Not):
        return ("not", _spelled(found.part))
    if isinstance(found, Related):
        return (found.quantifier.value, found.hop.spelled, _spelled(found.part))
    if isinstance(found, LinkedFrom):
        return ("from", found.source.id, found.hop.spelled, str(found.record_id))
    word = "and" if isinstance(found, All) else "or"
    return (word, *(_spelled(part) for part in found.parts))


class Seal:
    """Signs the cursors of one list; `secret` is the tenant's."""

    def __init__(self, secret: bytes, query: Query) -> None:
        keys = [
            (
                key.column.physical,
                key.column.kind.value,
                key.descending,
                key.nulls_first,
                *(hop.spelled for hop in key.path),
            )
            for key in query.sort
        ]
        self._width = len(keys)
        bound: tuple[object, ...] = (query.entity.id, keys, _spelled(query.filter))
        if not query.view.present:
            bound += (query.view.deleted.value, query.view.as_of)
        self._seal = seal.Seal(secret, bound, _ELSEWHERE)

    def cursor(self, values: Sequence[str | None]) -> str:
        """The cursor of the record with these sort values."""
        return self._seal.close(values)

    def position(self, cursor: str, *, backward: bool) -> Position:
        """The place a cursor names.

        Raises CursorMismatch when it was changed, cut, or made for another list.
        """
        values = self._seal.open(cursor)
        if len(values) != self._width:
            raise CursorMismatch(_ELSEWHERE)
        return Position(tuple(values), backward)


def page_info(query: Query, page: Page, secret: bytes) -> dict[str, Any]:
    """What a list says of its page. Numbers of pages and items are None unless they were counted;
    the number of the page is None for a page found by cursor.
    """
    seal = Seal(secret, query)
    position = query.position
    backward = position is not None and position.backward
    total = page.total
    return {
        "currentPage": query.page if position is None else None,
        "pageSize": query.page_size,
        "totalPages": None if total is None else -(-total // query.page_size),
        "totalItems": total,
        "hasNextPage": True if backward else page.more,
        "hasPreviousPage": page.more if backward else position is not None or query.page > 1,
        "startCursor": None if page.first is None else seal.cursor(page.first),
        "endCursor": None if page.last is None else seal.cursor(page.last),
    }
