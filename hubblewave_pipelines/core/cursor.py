"""Cursors: a place in a list, sealed to the tenant, entity, sort and filter it belongs to."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from hubblewave_pipelines.core.errors import CursorMismatch
from hubblewave_pipelines.core.query import All, Comparison, Filter, Not, Page, Position, Query

_VERSION = b"\x01"
_SEAL = 16


def _spelled(found: Filter) -> object:
    """A filter by physical names only, so that renaming a field breaks no cursor."""
    if isinstance(found, Comparison):
        column = found.column
        return (column.physical, column.kind.value, found.operator.value, found.value)
    if isinstance(found, Not):
        return ("not", _spelled(found.part))
    word = "and" if isinstance(found, All) else "or"
    return (word, *(_spelled(part) for part in found.parts))


class Seal:
    """Signs the cursors of one list; `secret` is the tenant's."""

    def __init__(self, secret: bytes, query: Query) -> None:
        keys = [
            (key.column.physical, key.column.kind.value, key.descending, key.nulls_first)
            for key in query.sort
        ]
        self._width = len(keys)
        bound = repr((query.entity.id, keys, _spelled(query.filter)))
        self._key = hashlib.sha256(secret + bound.encode()).digest()

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")[:_SEAL]

    def cursor(self, values: Sequence[str | None]) -> str:
        """The cursor of the record with these sort values."""
        payload = _VERSION + json.dumps(values, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(payload) + payload).decode().rstrip("=")

    def position(self, cursor: str, *, backward: bool) -> Position:
        """The place a cursor names.

        Raises CursorMismatch when it was changed, cut, or made for another list.
        """
        padding = "=" * (-len(cursor) % 4)
        try:
            sealed = base64.b64decode(cursor + padding, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise _mismatch() from error
        mac, payload = sealed[:_SEAL], sealed[_SEAL:]
        if not hmac.compare_digest(mac, self._mac(payload)) or payload[:1] != _VERSION:
            raise _mismatch()
        values = json.loads(payload[1:])
        if len(values) != self._width:
            raise _mismatch()
        return Position(tuple(values), backward)


def _mismatch() -> CursorMismatch:
    return CursorMismatch(
        "The cursor does not belong to this list: use it with the same path, sort and filter "
        "as the page it came from."
    )


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
