"""The parameters of lists, of what is shown of a record and of conditional writes, for OpenAPI."""

from api.openapi_parts import parameter, shared
from api.openapi_schemas import Schema
from hubblewave_pipelines.core.entity import Entity, FieldKind
from hubblewave_pipelines.core.query import SORTABLE, Count, Deleted, columns_of

_TEXT: Schema = {"type": "string"}


def shown_fields(entity: Entity) -> Schema:
    names = ", ".join(column.name for column in columns_of(entity))
    said = f"What to show, separated by commas: some of {names}."
    return parameter("fields", _TEXT, said)


def shown_relations(entity: Entity) -> list[Schema]:
    names = list(entity.relations_by_name)
    if not names:
        return []
    said = (
        f"Related records to show, separated by commas: some of {', '.join(names)}; dotted to go "
        "on, three deep; options in parentheses, as in orders(pageSize=5;sort=-total)."
    )
    return [parameter("expand", _TEXT, said, example=names[0])]


def _simple_filter(entity: Entity) -> Schema:
    columns = [column for column in columns_of(entity) if column.kind is not FieldKind.JSON]
    return {
        "name": "filter",
        "in": "query",
        "description": "Records whose fields equal these values; operators as "
        "`filter[field][operator]=value`, and `where` for anything more.",
        "style": "deepObject",
        "explode": True,
        "example": {},
        "schema": {
            "type": "object",
            "properties": {column.name: _TEXT for column in columns},
        },
    }


def view_parameters() -> list[Schema]:
    """Which records are meant, in which state."""
    deleted: Schema = {"type": "string", "enum": [word.value for word in Deleted]}
    instant: Schema = {"type": "string", "format": "date-time"}
    # No example: the page would send it, and it goes together with few other parameters.
    said = "The records as they were at this instant; not with `expand` or other relations."
    return [
        parameter(
            "deleted",
            {**deleted, "default": "exclude"},
            "Whether deleted records are shown, as they were then, with `deletedAt`.",
        ),
        parameter("asOf", instant, said),
    ]


def list_parameters(entity: Entity) -> list[Schema]:
    """The parameters of a list of this entity's records, wherever it is."""
    size: Schema = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20}
    sortable = [column.name for column in columns_of(entity) if column.kind in SORTABLE]
    sort = "Fields to order by, `-` before one for descending, `.nullsFirst` after it: some of "
    return [
        parameter("page", {"type": "integer", "minimum": 1}, "The number of the page."),
        parameter("pageSize", size, "Records on a page."),
        parameter("after", _TEXT, "The `endCursor` of a page: the page after it."),
        parameter("before", _TEXT, "The `startCursor` of a page: the page before it."),
        parameter("sort", _TEXT, f"{sort}{', '.join(sortable)}.", example="-createdAt"),
        shown_fields(entity),
        *shown_relations(entity),
        _simple_filter(entity),
        parameter(
            "where",
            _TEXT,
            f"A condition as JSON text, in the form of `{entity.name}_Where` (which `/query` takes as "
            "an object in its body); `filter` and `where` must both hold.",
            example='{"id": {"isNull": false}}',
        ),
        parameter("q", {"type": "string", "minLength": 1}, "Words that must all be found."),
        parameter(
            "count",
            {"type": "string", "enum": [kind.value for kind in Count], "default": "none"},
            "Whether `totalItems` and `totalPages` are filled; exact costs a scan.",
        ),
    ]


def conditional(entity: Entity) -> tuple[int, ...]:
    """The refusals of a write that may name the version it changes, or must."""
    return (409, 412, 428) if entity.require_if_match else (409, 412)


def if_match(entity: Entity) -> Schema:
    return shared("RequiredIfMatch" if entity.require_if_match else "IfMatch")
