"""THE question a caller asks of one entity: fields, filter, sort, page. Compiled in `storage.compiler`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from hubblewave_pipelines.core.entity import (
    SYSTEM_COLUMNS,
    SYSTEM_KINDS,
    Entity,
    FieldKind,
)
from hubblewave_pipelines.core.hops import Hop


@dataclass(frozen=True, slots=True)
class Column:
    """A value of a record that a query may name: public name, kind and where it is stored."""

    name: str
    kind: FieldKind
    physical: str
    nullable: bool
    enum: tuple[str, ...] = ()


def column_of(entity: Entity, name: str) -> Column | None:
    """The column behind a public name, reference ids and system fields included."""
    field = entity.fields_by_name.get(name)
    if field is not None:
        return Column(name, field.kind, field.column, not field.required, field.enum)
    relation = entity.references.get(name)
    if relation is not None:
        return Column(name, FieldKind.UUID, relation.column, not relation.required)
    if name in SYSTEM_COLUMNS:
        return Column(name, SYSTEM_KINDS[name], SYSTEM_COLUMNS[name], nullable=False)
    return None


def columns_of(entity: Entity) -> tuple[Column, ...]:
    """Every column a record shows, in the order it shows them."""
    return tuple(column for name in entity.columns if (column := column_of(entity, name)))


ID = Column("id", FieldKind.UUID, "id", nullable=False)


class Operator(StrEnum):
    EQ = "eq"
    NE = "ne"  # also true for records without a value, so that it is the opposite of eq
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    IN = "in"
    NIN = "nin"  # the opposite of in
    IS_NULL = "isNull"
    CONTAINS = "contains"
    ICONTAINS = "icontains"
    STARTS_WITH = "startsWith"
    ISTARTS_WITH = "istartsWith"
    ENDS_WITH = "endsWith"
    IENDS_WITH = "iendsWith"
    LIKE = "like"  # with wildcards of the caller's: % and _, escaped by a backslash
    BETWEEN = "between"  # both ends included


LISTS = frozenset({Operator.IN, Operator.NIN})
PATTERNS = frozenset(
    {
        Operator.CONTAINS,
        Operator.ICONTAINS,
        Operator.STARTS_WITH,
        Operator.ISTARTS_WITH,
        Operator.ENDS_WITH,
        Operator.IENDS_WITH,
        Operator.LIKE,
    }
)

_EQUALITY = (Operator.EQ, Operator.NE, Operator.IN, Operator.NIN, Operator.IS_NULL)
_ORDER = (Operator.LT, Operator.LTE, Operator.GT, Operator.GTE, Operator.BETWEEN)
_SEARCH = tuple(PATTERNS)

OPERATORS: Mapping[FieldKind, frozenset[Operator]] = {
    FieldKind.TEXT: frozenset({*_EQUALITY, *_ORDER, *_SEARCH}),
    FieldKind.LONGTEXT: frozenset({*_EQUALITY, *_ORDER, *_SEARCH}),
    FieldKind.INTEGER: frozenset({*_EQUALITY, *_ORDER}),
    FieldKind.NUMBER: frozenset({*_EQUALITY, *_ORDER}),
    FieldKind.DECIMAL: frozenset({*_EQUALITY, *_ORDER}),
    FieldKind.BOOLEAN: frozenset({Operator.EQ, Operator.NE, Operator.IS_NULL}),
    FieldKind.DATE: frozenset({*_EQUALITY, *_ORDER}),
    FieldKind.DATETIME: frozenset({*_EQUALITY, *_ORDER}),
    FieldKind.EMAIL: frozenset({*_EQUALITY, *_ORDER, *_SEARCH}),
    FieldKind.URL: frozenset({*_EQUALITY, *_ORDER, *_SEARCH}),
    FieldKind.UUID: frozenset({*_EQUALITY, *_ORDER}),
    FieldKind.JSON: frozenset({Operator.IS_NULL}),
    FieldKind.ENUM: frozenset(_EQUALITY),
}

# Kinds whose values have an order that pages can follow.
SORTABLE = frozenset(FieldKind) - {FieldKind.JSON}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One column against a typed literal: a bool for isNull, a tuple for in, nin and between."""

    column: Column
    operator: Operator
    value: object


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; true without parts."""

    parts: tuple["Filter", ...] = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds; false without parts."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold; a comparison with a missing value counts as not holding."""

    part: "Filter"


class Quantifier(StrEnum):
    """How many of a record's related records a condition must hold for."""

    SOME = "some"
    NONE = "none"
    EVERY = "every"  # true for a record that has none
    ONE = "one"  # of a manyToOne: a record that refers to nothing counts as one without values


@dataclass(frozen=True, slots=True)
class Related:
    """A condition on the records that a relation leads to."""

    hop: Hop
    quantifier: Quantifier
    part: "Filter"


@dataclass(frozen=True, slots=True)
class LinkedFrom:
    """The records that `hop` leads to from one record of `source`."""

    source: Entity
    hop: Hop
    record_id: UUID


Filter: TypeAlias = Comparison | All | AnyOf | Not | Related | LinkedFrom


def holds_without_values(found: Filter) -> bool:
    """Whether the filter lets a record through that has no value in any field."""
    match found:
        case Comparison(_, operator, value):
            missing = operator is Operator.IS_NULL and value is True
            return missing or operator in (Operator.NE, Operator.NIN)
        case All(parts):
            return all(holds_without_values(part) for part in parts)
        case AnyOf(parts):
            return any(holds_without_values(part) for part in parts)
        case Not(part):
            return not holds_without_values(part)
        case Related(_, Quantifier.ONE, part):
            return holds_without_values(part)
        case Related(_, quantifier, _):
            return quantifier is not Quantifier.SOME
    return False


@dataclass(frozen=True, slots=True)
class SortKey:
    """`path` leads to the record that `column` is of: manyToOne only, empty for the record itself.

    A column at the end of a path is nullable, and its name is the whole dotted path.
    """

    column: Column
    descending: bool = False
    nulls_first: bool = False
    path: tuple[Hop, ...] = ()

    @property
    def reversed(self) -> "SortKey":
        return SortKey(self.column, not self.descending, not self.nulls_first, self.path)


@dataclass(frozen=True, slots=True)
class Expansion:
    """Related records shown inside a record, under `name`.

    A manyToOne shows one record or null; the others show a page of records, and only they have
    use for `filter`, `sort` (which ends in `id`) and `page_size`. To show a column under another
    name, give it another name: `replace(column, name=...)`.
    """

    name: str
    hop: Hop
    fields: tuple[Column, ...]
    related: tuple["Expansion", ...] = ()
    filter: Filter = All()
    sort: tuple[SortKey, ...] = (SortKey(ID),)
    page_size: int = 20


@dataclass(frozen=True, slots=True)
class Selection:
    """What is shown of a record: values of its own, then related records."""

    fields: tuple[Column, ...]
    related: tuple[Expansion, ...] = ()


class Count(StrEnum):
    """Whether a list is counted: exact costs a scan of all that the filter lets through."""

    NONE = "none"
    ESTIMATED = "estimated"
    EXACT = "exact"


class Deleted(StrEnum):
    """Whether a list shows records that are gone: as they were when they were deleted."""

    EXCLUDE = "exclude"
    INCLUDE = "include"
    ONLY = "only"


@dataclass(frozen=True, slots=True)
class View:
    """Which records, in which state: those there are now, deleted ones, or all as of an instant.

    A record of the past has only the values it had: a field that is required by now may be empty.
    """

    deleted: Deleted = Deleted.EXCLUDE
    as_of: datetime | None = None

    @property
    def present(self) -> bool:
        return self.as_of is None and self.deleted is Deleted.EXCLUDE


PRESENT = View()
DELETED_AT = Column("deletedAt", FieldKind.DATETIME, "deleted_at", nullable=True)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a list: the sort values of a record, as PostgreSQL writes them."""

    values: tuple[str | None, ...]
    backward: bool = False  # the page ends before this place instead of starting after it


@dataclass(frozen=True, slots=True)
class Query:
    """One page of one entity's records. `sort` always ends in `id`, so every order is total."""

    entity: Entity
    fields: tuple[Column, ...]
    filter: Filter = All()
    sort: tuple[SortKey, ...] = ()
    page: int = 1  # counts only without a position
    page_size: int = 20
    position: Position | None = None
    count: Count = Count.NONE
    related: tuple[Expansion, ...] = ()
    view: View = PRESENT

    @property
    def offset(self) -> int:
        return 0 if self.position is not None else (self.page - 1) * self.page_size


def with_tie_break(keys: tuple[SortKey, ...]) -> tuple[SortKey, ...]:
    """The keys ended by `id`, in the direction of the last one: one index can serve both."""
    for index, key in enumerate(keys):
        if key.column.physical == "id" and not key.path:
            return keys[: index + 1]
    descending = bool(keys) and keys[-1].descending
    return (*keys, SortKey(ID, descending))


@dataclass(frozen=True, slots=True)
class Page:
    """What the database answered: the items as JSON text, and the facts beside them."""

    items: str
    shown: int
    more: bool  # there are records beyond the page, in the direction it was read
    first: tuple[str | None, ...] | None  # sort values of the first and last item
    last: tuple[str | None, ...] | None
    total: int | None
