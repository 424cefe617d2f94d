"""The change feed's question: from which place, how many, which fields; and the token of a place."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import CursorMismatch
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.parameters import parse_fields
from hubblewave_pipelines.core.query import Column
from hubblewave_pipelines.core.seal import Seal

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
LONGEST_WAIT = 20  # seconds; proxies give up on silent connections somewhere above 30
_LAST_ID = UUID(int=2**128 - 1)
_ELSEWHERE = "The token does not belong to this feed: use it with the same entity it came from."


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of commits: after the change of record `id` by transaction `xid`.

    `began` is where the order ended when its reader set out from the beginning: what had been
    deleted by then it never saw, and needs no tombstone of.
    """

    xid: int
    id: UUID
    began: int = 0

    def reaches(self, other: "Place") -> bool:
        """Whether it is there or further."""
        return (self.xid, self.id) >= (other.xid, other.id)


START = Place(0, UUID(int=0))


def before(xid: int) -> Place:
    """The place before everything that transaction `xid` and later ones change."""
    return Place(xid - 1, _LAST_ID) if xid > 0 else START


@dataclass(frozen=True, slots=True)
class Feed:
    """One page of an entity's changes; `since` None means: from now on."""

    entity: Entity
    fields: tuple[Column, ...]
    since: Place | None
    limit: int
    wait: int


class Tokens:
    """Makes and reads the tokens of one entity's feed; `secret` is the tenant's."""

    def __init__(self, secret: bytes, entity: Entity) -> None:
        self._seal = Seal(secret, ("changes", entity.id), _ELSEWHERE)

    def token(self, place: Place) -> str:
        more = (place.began,) if place.began > place.xid else ()
        return self._seal.close((place.xid, str(place.id), *more))

    def place(self, token: str) -> Place:
        """Raises CursorMismatch when the token was changed, cut, or made for another feed."""
        values = self._seal.open(token)
        if len(values) not in (2, 3):
            raise CursorMismatch(_ELSEWHERE)
        return Place(int(values[0]), UUID(values[1]), *map(int, values[2:]))


def parse_feed(entity: Entity, given: Iterable[tuple[str, str]], tokens: Tokens) -> Feed:
    """The page of changes a request asks for.

    Raises MalformedRequest naming every bad parameter, and CursorMismatch.
    """
    found = Given.of_address(given)
    found.only(("since", "limit", "wait", "fields"))
    limit = found.whole("limit", DEFAULT_LIMIT, MAX_LIMIT)
    wait = found.whole("wait", 0, LONGEST_WAIT)
    since, fields = found.text("since"), found.text("fields")
    found.done()
    columns = parse_fields(entity, [] if fields is None else [("fields", fields)])
    place = START if since is None else None if since == "now" else tokens.place(since)
    return Feed(entity, columns, place, limit, wait)
