"""What everything is called in a tenant's GraphQL schema: its types, and its root fields."""

from collections.abc import Iterator
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


_ENDINGS = tuple((form, form.value) for form in Form)


def type_name(form: Form, entity: Entity, catalog: Catalog) -> str:
    """An entity's own name always is its record type; where another type's name is taken by an
    entity, it ends in an underscore, which no entity's name does.
    """
    name = f"{entity.name}{form.value}"
    taken = form is not Form.OBJECT and (catalog.named(name) is not None or name in SHARED)
    return f"{name}_" if taken else name


def type_names(catalog: Catalog) -> dict[str, tuple[Form, Entity]]:
    """Every type of every entity by name."""
    found = {
        entity.name + ending: (form, entity) for form, ending in _ENDINGS for entity in catalog
    }
    # Names are right but where two were made, or one of everybody's: made again, the long way.
    clashes = [name for name in SHARED if name in found]
    if not clashes and len(found) == len(_ENDINGS) * len(catalog.entities):
        return found
    return {type_name(form, entity, catalog): (form, entity) for entity in catalog for form in Form}


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
