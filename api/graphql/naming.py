"""What everything is called in a tenant's GraphQL schema: its types, and its root fields."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from hubblewave_pipelines.core.entity import Catalog, Entity


class Form(StrEnum):
    """The types that an entity gives rise to; the value follows the entity's name."""

    OBJECT = ""
    CONNECTION = "Connection"
    EDGE = "Edge"
    INPUT = "Input"
    FILTER = "FilterInput"
    LIST_FILTER = "ListFilterInput"
    BULK_UPDATE = "BulkUpdateInput"
    BULK_RESULT = "BulkResult"
    BULK_ITEM = "BulkItem"
    AGGREGATE = "Aggregate"
    VALUE_COUNTS = "ValueCounts"
    DISTINCT_COUNTS = "DistinctCounts"
    SUMS = "Sums"
    AVERAGES = "Averages"
    EXTREMES = "Extremes"


class Verb(StrEnum):
    """What a root field does."""

    READ = "read"
    LIST = "list"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    CREATE_MANY = "createMany"
    UPSERT_MANY = "upsertMany"
    UPDATE_MANY = "updateMany"
    DELETE_MANY = "deleteMany"
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


MANY = frozenset({Verb.CREATE_MANY, Verb.UPSERT_MANY, Verb.UPDATE_MANY, Verb.DELETE_MANY})


class Root(NamedTuple):
    """A root field: what it does to the records of which entity. There are 12 of each entity."""

    verb: Verb
    entity: Entity


# Types of every schema; those that GraphQL itself has come from its library.
SHARED = ("Int", "Decimal", "JSON", "PageInfo", "PaginationInput", "SortInput", "SortOrder")


_FORMS = tuple((form, form.value) for form in Form)
# What another entity's name may end in before the rest of this type's name: `OrderFilter` has an
# `OrderFilterInput` as `Order` has.
_SHORTER = {
    form: tuple(
        len(other.value) for other in Form if other is not form and form.value.endswith(other.value)
    )
    for form in Form
}


def type_name(form: Form, entity: Entity, catalog: Catalog) -> str:
    """An entity's own name always is its record type; where another type's name is taken, it ends
    in an underscore, which no entity's name does: by an entity, or by a type of one with a longer name.
    """
    name = f"{entity.name}{form.value}"
    if form is Form.OBJECT:
        return name
    taken = int(name in SHARED)
    for length in _SHORTER[form]:
        taken += catalog.named(name[: len(name) - length]) is not None
    return name + "_" * taken


class TypeNames(Mapping[str, tuple[Form, Entity]]):
    """Every type of every entity by name; a name is looked up without making all of them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __getitem__(self, name: str) -> tuple[Form, Entity]:
        bare = name.rstrip("_")
        for form, ending in _FORMS:
            if bare.endswith(ending):
                entity = self._catalog.named(bare[: len(bare) - len(ending)])
                if entity is not None and type_name(form, entity, self._catalog) == name:
                    return form, entity
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        for form in Form:
            for entity in self._catalog:
                yield type_name(form, entity, self._catalog)

    def __len__(self) -> int:
        return len(_FORMS) * len(self._catalog.entities)


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


class _Roots(Mapping[str, Root]):
    """Root fields by name, found without making those of all entities."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def _find(self, name: str) -> Root | None:
        raise NotImplementedError

    def _fields(self, entity: Entity) -> Iterator[str]:
        raise NotImplementedError

    def __getitem__(self, name: str) -> Root:
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        for entity in self._catalog:
            yield from self._fields(entity)

    def __len__(self) -> int:
        return sum(1 for entity in self._catalog for _ in self._fields(entity))

    @cached_property
    def _by_lower_name(self) -> dict[str, Entity]:
        return {entity.name.lower(): entity for entity in self._catalog}

    @cached_property
    def _by_plural(self) -> dict[str, Entity]:
        return {_capital(entity.plural): entity for entity in self._catalog}


class QueryRoots(_Roots):
    """Singular and plural in lower case, which no two entities share."""

    def _find(self, name: str) -> Root | None:
        entity = self._catalog.at_path(name)
        if entity is not None and entity.path == name:
            return Root(Verb.LIST, entity)
        entity = self._by_lower_name.get(name)
        return None if entity is None else Root(Verb.READ, entity)

    def _fields(self, entity: Entity) -> Iterator[str]:
        yield entity.name.lower()
        yield entity.path


_WORD = len("create")  # as long as the other words for what is done
_ONE = {"create": Verb.CREATE, "update": Verb.UPDATE, "delete": Verb.DELETE}
_MANY = {
    "create": Verb.CREATE_MANY,
    "upsert": Verb.UPSERT_MANY,
    "update": Verb.UPDATE_MANY,
    "delete": Verb.DELETE_MANY,
}


class MutationRoots(_Roots):
    """What is done before the name, or before the plural with a capital."""

    def _find(self, name: str) -> Root | None:
        word, rest = name[:_WORD], name[_WORD:]
        for verbs, entity in (
            (_ONE, self._catalog.named(rest)),
            (_MANY, self._by_plural.get(rest)),
        ):
            if entity is not None and word in verbs:
                return Root(verbs[word], entity)
        return None

    def _fields(self, entity: Entity) -> Iterator[str]:
        yield from (f"{word}{entity.name}" for word in _ONE)
        yield from (f"{word}{_capital(entity.plural)}" for word in _MANY)


_TOLD = {"Created": Verb.CREATED, "Updated": Verb.UPDATED, "Deleted": Verb.DELETED}


class SubscriptionRoots(_Roots):
    """The name in lower case before what is told."""

    def _find(self, name: str) -> Root | None:
        word = name[-len("Created") :]
        entity = self._by_lower_name.get(name[: -len(word)] if word else "")
        return Root(_TOLD[word], entity) if entity is not None and word in _TOLD else None

    def _fields(self, entity: Entity) -> Iterator[str]:
        return (f"{entity.name.lower()}{word}" for word in _TOLD)


def connection_field(entity: Entity, relation: str) -> str:
    """The field that shows a relation's records with what their page says of itself; the relation's
    own name shows nothing but the records."""
    name = f"{relation}Connection"
    taken = name in entity.columns or name in entity.relations_by_name
    return f"{name}_" if taken else name
