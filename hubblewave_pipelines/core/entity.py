"""THE model: fields, relations, entities and the frozen catalog that every surface is made from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeAlias
from uuid import UUID

Json: TypeAlias = Any  # what json.loads returns; precise recursive types cost more than they find


class FieldKind(StrEnum):
    """The types a field can have. Adding one means a row in every table keyed by FieldKind."""

    TEXT = "text"
    LONGTEXT = "longtext"
    INTEGER = "integer"
    NUMBER = "number"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    EMAIL = "email"
    URL = "url"
    UUID = "uuid"
    JSON = "json"
    ENUM = "enum"


class RelationKind(StrEnum):
    MANY_TO_ONE = "manyToOne"
    ONE_TO_MANY = "oneToMany"
    MANY_TO_MANY = "manyToMany"


class OnDelete(StrEnum):
    """What deleting the target of a manyToOne does to the records that refer to it."""

    RESTRICT = "restrict"
    SET_NULL = "setNull"
    CASCADE = "cascade"


@dataclass(frozen=True, slots=True)
class Field:
    """One typed field. `id` never changes, so a rename is metadata only."""

    id: str
    name: str
    kind: FieldKind
    required: bool = False
    unique: bool = False
    default: Json = None
    description: str | None = None
    example: Json = None
    format: str | None = None
    enum: tuple[str, ...] = ()
    computed: bool = False  # written by imports and syncs, read-only for API clients
    max_length: int | None = None
    min: float | int | str | None = None  # number for numeric kinds, ISO text for date kinds
    max: float | int | str | None = None
    pattern: str | None = None  # RE2 syntax, must match the whole value
    earlier: tuple[FieldKind, ...] = ()  # kinds it had, oldest first; each had a column of its own

    @property
    def key(self) -> str:
        """What the field's present column and index are named after."""
        return f"{self.id}_{len(self.earlier)}" if self.earlier else self.id

    @property
    def column(self) -> str:
        return f"c_{self.key}"


@dataclass(frozen=True, slots=True)
class Relation:
    """A named link to another entity.

    manyToOne stores the target's id in a uuid column; `field` is the name under which records show
    and accept that id (default: the relation's name + "Id"). oneToMany stores nothing: `field`
    names the target's manyToOne id field it inverts. manyToMany stores pairs in a link table;
    `field`, when given, names the target's own manyToMany relation that reads the same pairs.
    """

    id: str
    name: str
    kind: RelationKind
    target: str  # name of the target entity
    field: str
    required: bool = False  # manyToOne only
    on_delete: OnDelete = OnDelete.RESTRICT
    description: str | None = None
    link: str | None = None  # id of the link table (manyToMany); shared by both sides
    forward: bool = True  # which side of the link table this entity is (manyToMany)

    @property
    def column(self) -> str:
        """The uuid column of a manyToOne."""
        return f"r_{self.id}"


@dataclass(frozen=True)
class Entity:
    """A tenant-defined record type and where its rows live (`schema`.`table`)."""

    id: str
    slug: str  # plural name in lower case at creation; never changes, names the Dagster assets
    name: str
    plural: str
    schema: str
    fields: tuple[Field, ...]
    relations: tuple[Relation, ...] = ()
    description: str | None = None
    require_if_match: bool = False  # whether a client must say which version it changes

    @property
    def table(self) -> str:
        return f"e_{self.id}"

    @property
    def path(self) -> str:
        """The URL segment: /api/v1/{path}."""
        return self.plural.lower()

    @cached_property
    def fields_by_name(self) -> Mapping[str, Field]:
        return {f.name: f for f in self.fields}

    @cached_property
    def relations_by_name(self) -> Mapping[str, Relation]:
        return {r.name: r for r in self.relations}

    @cached_property
    def references(self) -> Mapping[str, Relation]:
        """manyToOne relations by the name of their id field."""
        return {r.field: r for r in self.relations if r.kind is RelationKind.MANY_TO_ONE}

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """Physical column by public name: system fields, then fields, then reference fields."""
        own = {f.name: f.column for f in self.fields}
        references = {name: r.column for name, r in self.references.items()}
        return {**SYSTEM_COLUMNS, **own, **references}


# Public name -> column. `id` is a version 7 uuid, so its order is the order of creation.
SYSTEM_COLUMNS: Mapping[str, str] = {
    "id": "id",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "version": "version",
}

SYSTEM_KINDS: Mapping[str, FieldKind] = {
    "id": FieldKind.UUID,
    "createdAt": FieldKind.DATETIME,
    "updatedAt": FieldKind.DATETIME,
    "version": FieldKind.INTEGER,
}


@dataclass(frozen=True)
class Catalog:
    """All entities of one tenant at one version. Two catalogs with one key are equal."""

    tenant_id: UUID
    version: int
    entities: tuple[Entity, ...]
    _by_name: dict[str, Entity] = field(init=False, repr=False, compare=False)
    _by_path: dict[str, Entity] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {e.name: e for e in self.entities})
        object.__setattr__(self, "_by_path", {e.path: e for e in self.entities})

    def named(self, name: str) -> Entity | None:
        return self._by_name.get(name)

    def at_path(self, path: str) -> Entity | None:
        """The entity served at /api/v1/{path}; matching is by the lower-cased plural."""
        return self._by_path.get(path.lower())

    def __iter__(self) -> Iterator[Entity]:
        return iter(self.entities)
