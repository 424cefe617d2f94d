"""What an answer about records looks like: a tree of members in the order in which they are shown.

`Selection` and `Expansion` say what REST's callers may ask for; a shape says how it is written
down, member by member, and can say more: members under any name, pages with only the facts that
are wanted of them, records beside their cursors. Compiled to SQL in `storage.shown`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from hubblewave_pipelines.core.aggregation import Aggregation, Measure
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.hops import Hop
from hubblewave_pipelines.core.query import All, Column, Filter, Query

_ALL = All()


class Fact(StrEnum):
    """What a page can say of itself."""

    PAGE_SIZE = "pageSize"
    CURRENT_PAGE = "currentPage"
    HAS_NEXT = "hasNextPage"
    HAS_PREVIOUS = "hasPreviousPage"
    TOTAL_ITEMS = "totalItems"  # counts all that the filter lets through
    TOTAL_PAGES = "totalPages"  # likewise
    START_CURSOR = "startCursor"
    END_CURSOR = "endCursor"


COUNTS = frozenset({Fact.TOTAL_ITEMS, Fact.TOTAL_PAGES})
CURSORS = frozenset({Fact.START_CURSOR, Fact.END_CURSOR})


@dataclass(frozen=True, slots=True)
class Constant:
    """A text that is the same for every record."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class One:
    """One record or null: the one a manyToOne hop leads to, or the one that the filter lets through."""

    name: str
    entity: Entity
    members: tuple["Member", ...]
    hop: Hop | None = None
    filter: Filter = _ALL


@dataclass(frozen=True, slots=True)
class Told:
    """A fact of the page under a name."""

    name: str
    fact: Fact


@dataclass(frozen=True, slots=True)
class Info:
    """An object of facts."""

    name: str
    facts: tuple[Told | Constant, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """The records of the page."""

    name: str
    members: tuple["Member", ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The cursor of a record, under a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Node:
    """The record itself, under a name."""

    name: str
    members: tuple["Member", ...]


@dataclass(frozen=True, slots=True)
class Edges:
    """The records of the page, each in an object beside its cursor."""

    name: str
    parts: tuple[Place | Node | Constant, ...]


@dataclass(frozen=True, slots=True)
class Grouped:
    """What a group's records have in common, as an object."""

    name: str


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure of a group, under a name."""

    name: str
    measure: Measure


@dataclass(frozen=True, slots=True)
class Measures:
    """An object of measures of a group."""

    name: str
    parts: tuple[Measured | Constant, ...]


OfGroup: TypeAlias = Grouped | Measured | Measures | Constant


@dataclass(frozen=True, slots=True)
class Groups:
    """A list of the groups of all records that the listing would show on its pages.

    The aggregation's own filter is not used.
    """

    name: str
    asked: Aggregation
    members: tuple[OfGroup, ...]


Part: TypeAlias = Info | Items | Edges | Told | Groups | Constant


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of records: an object of parts, or nothing but the list when `bare`.

    `query` says which records in which order; its own fields are not used. With a hop, they are
    records that the hop leads to from the record around the listing.
    """

    name: str
    query: Query
    parts: tuple[Part, ...]
    hop: Hop | None = None
    bare: bool = False


Member: TypeAlias = Column | Constant | One | Listing


class Lasting(tuple["Member", ...]):
    """Members that are asked for again and again: `written` is for who writes them, by depth."""

    written: dict[int, object]

    def __new__(cls, members: Iterable["Member"]) -> "Lasting":
        made = super().__new__(cls, members)
        made.written = {}
        return made


def named(column: Column, name: str) -> Column:
    """The column shown under another name."""
    return column if column.name == name else replace(column, name=name)


def facts_of(listing: Listing) -> frozenset[Fact]:
    """Every fact that the listing tells of its page."""
    found: set[Fact] = set()
    for part in listing.parts:
        told: Sequence[Told | Constant] = part.facts if isinstance(part, Info) else ()
        if isinstance(part, Told):
            told = (part,)
        found.update(fact.fact for fact in told if isinstance(fact, Told))
    return frozenset(found)


def shows_places(listing: Listing) -> bool:
    """Whether single records are shown beside their cursors."""
    return any(
        isinstance(inner, Place)
        for part in listing.parts
        if isinstance(part, Edges)
        for inner in part.parts
    )


def records_of(listing: Listing) -> list[tuple["Member", ...]]:
    """The members of every form in which the listing shows its records."""
    found: list[tuple[Member, ...]] = []
    for part in listing.parts:
        if isinstance(part, Items):
            found.append(part.members)
        elif isinstance(part, Edges):
            found.extend(inner.members for inner in part.parts if isinstance(inner, Node))
    return found
