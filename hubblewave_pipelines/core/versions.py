"""The versions of a record as what happened to it: created, updated, deleted, restored, by whom."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import CursorMismatch
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.seal import Seal

DEFAULT_SIZE, MAX_SIZE = 20, 200
_ELSEWHERE = "The cursor does not belong to this record's history."
_NULL = b"null"


class Version(msgspec.Struct, array_like=True):
    """A state a record was in, newest first in lists; `position` orders them and never changes.

    A version that ended by deletion says when and by whom; the deletion's position is one higher.
    """

    position: int
    deleted_at: str | None
    deleted_by: msgspec.Raw
    version: int
    at: str
    by: msgspec.Raw
    values: dict[str, msgspec.Raw]


class Change(msgspec.Struct):
    """One field; values are JSON as PostgreSQL wrote them."""

    field: str
    old: msgspec.Raw = msgspec.field(name="from")
    new: msgspec.Raw = msgspec.field(name="to")


class Event(msgspec.Struct):
    """What made a version, or ended the last one. `changes` is None where nothing is known of the
    version before, because it is older than the record's history."""

    version: int
    kind: str
    at: str
    by: msgspec.Raw
    changes: list[Change] | None


class Events(msgspec.Struct):
    """A page of events, newest first; `next` is the position to go on before, None at the end."""

    items: list[Event]
    next: int | None


def versions_from(text: str) -> list[Version]:
    return msgspec.json.decode(text, type=list[Version])


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Fields whose values differ; a field that one side does not know is null there."""
    null = msgspec.Raw(_NULL)
    pairs = ((name, old.get(name, null), new.get(name, null)) for name in {**new, **old})
    return [Change(name, a, b) for name, a, b in pairs if bytes(a) != bytes(b)]


def _events(versions: Sequence[Version]) -> Iterator[tuple[int, Event]]:
    for index, found in enumerate(versions):
        if found.deleted_at is not None:
            gone = _changes(found.values, {})
            yield (
                found.position + 1,
                Event(found.version + 1, "deleted", found.deleted_at, found.deleted_by, gone),
            )
        prior = versions[index + 1] if index + 1 < len(versions) else None
        kind, changes = "updated", None
        if prior is not None and prior.deleted_at is None:
            changes = _changes(prior.values, found.values)
        elif prior is not None or found.version == 1:
            kind = "created" if found.version == 1 else "restored"
            changes = _changes({}, found.values)
        yield found.position, Event(found.version, kind, found.at, found.by, changes)


def page_of_events(versions: Sequence[Version], *, before: int | None, size: int) -> Events:
    """The newest `size` events before a position, from the versions around them (`size` + 2)."""
    found = [(at, event) for at, event in _events(versions) if before is None or at < before]
    shown = found[:size]
    return Events([event for _, event in shown], shown[-1][0] if len(found) > size else None)


class Bookmarks:
    """Makes and reads the cursors of one record's history; `secret` is the tenant's."""

    def __init__(self, secret: bytes, entity: Entity, record_id: UUID) -> None:
        self._seal = Seal(secret, ("history", entity.id, str(record_id)), _ELSEWHERE)

    def mark(self, position: int) -> str:
        return self._seal.close((position,))

    def position(self, mark: str) -> int:
        """Raises CursorMismatch when it was changed, cut, or made for another history."""
        values = self._seal.open(mark)
        if len(values) != 1:
            raise CursorMismatch(_ELSEWHERE)
        return int(values[0])


def parse_history(given: Iterable[tuple[str, str]], marks: Bookmarks) -> tuple[int | None, int]:
    """The position that a request for history goes on before, and the size of its page.

    Raises MalformedRequest naming every bad parameter, and CursorMismatch.
    """
    found = Given.of_address(given)
    found.only(("after", "pageSize"))
    size, after = found.whole("pageSize", DEFAULT_SIZE, MAX_SIZE), found.text("after")
    found.done()
    return None if after is None else marks.position(after), size
