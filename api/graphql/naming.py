"""What everything is called in a tenant's GraphQL schema: its types, and its root fields."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
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


def query_fields(catalog: Catalog) -> Iterator[tuple[str, Root]]:
    """Singular and plural in lower case, which no two entities share."""
    for entity in catalog:
        yield entity.name.lower(), Root(Verb.READ, entity)
        yield entity.path, Root(Verb.LIST, entity)


def mutation_fields(catalog: Catalog) -> Iterator[tuple[str, Root]]:
    for entity in catalog:
        name, plural = entity.name, _capital(entity.plural)
        yield f"create{name}", Root(Verb.CREATE, entity)
        yield f"update{name}", Root(Verb.UPDATE, entity)
        yield f"delete{name}", Root(Verb.DELETE, entity)
        yield f"create{plural}", Root(Verb.CREATE_MANY, entity)
        yield f"upsert{plural}", Root(Verb.UPSERT_MANY, entity)
        yield f"update{plural}", Root(Verb.UPDATE_MANY, entity)
        yield f"delete{plural}", Root(Verb.DELETE_MANY, entity)


def subscription_fields(catalog: Catalog) -> Iterator[tuple[str, Root]]:
    for entity in catalog:
        name = entity.name.lower()
        yield f"{name}Created", Root(Verb.CREATED, entity)
        yield f"{name}Updated", Root(Verb.UPDATED, entity)
        yield f"{name}Deleted", Root(Verb.DELETED, entity)


def connection_field(entity: Entity, relation: str) -> str:
    """The field that shows a relation's records with what their page says of itself; the relation's
    own name shows nothing but the records."""
    name = f"{relation}Connection"
    taken = name in entity.columns or name in entity.relations_by_name
    return f"{name}_" if taken else name
