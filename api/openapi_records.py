"""The operations on the records of one entity, as OpenAPI describes them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from api.openapi_lists import (
    conditional,
    if_match,
    list_parameters,
    shown_fields,
    shown_relations,
    view_parameters,
)
from api.openapi_parts import answer, body, in_path, operation, parameter, shared
from api.openapi_schemas import Schema, page, ref
from hubblewave_pipelines.core.entity import Catalog, Entity, RelationKind
from hubblewave_pipelines.core.feed import DEFAULT_LIMIT, LONGEST_WAIT
from hubblewave_pipelines.core.hops import Hop, hop_of
from hubblewave_pipelines.core.query import Count
from hubblewave_pipelines.core.selections import MAX_SIZE

_MERGE_PATCH = "application/merge-patch+json"
_ID = in_path("id", "The record's id.")
_TEXT: Schema = {"type": "string"}

_SIZE: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_SIZE}

Build: TypeAlias = Callable[[Entity], dict[str, Any]]


def _name(verb: str, entity: Entity) -> str:
    return f"{verb}_{entity.name}"


def _list(entity: Entity) -> dict[str, Any]:
    return operation(
        _name("list", entity),
        entity.name,
        f"List {entity.plural}",
        {200: answer("One page.", ref(f"{entity.name}_List"), "Link")},
        scope="read",
        refusals=(410,),
        parameters=[*list_parameters(entity), *view_parameters(), shared("Prefer")],
    )


def _create(entity: Entity) -> dict[str, Any]:
    return operation(
        _name("create", entity),
        entity.name,
        f"Create a {entity.name}",
        {201: answer("The new record.", ref(entity.name), "ETag", "Location")},
        scope="write",
        refusals=(409,),
        parameters=[shared("IdempotencyKey"), shared("Prefer")],
        request=body(ref(f"{entity.name}_Create")),
    )


def _get(entity: Entity) -> dict[str, Any]:
    known = {
        "name": "If-None-Match",
        "in": "header",
        "description": "ETags the client has; 304 when the record is still at one of them.",
        "schema": _TEXT,
    }
    return operation(
        _name("get", entity),
        entity.name,
        f"Read a {entity.name}",
        {
            200: answer("The record.", ref(f"{entity.name}_Part"), "ETag"),
            304: answer("The client has this version.", None, "ETag"),
        },
        scope="read",
        refusals=(410,),
        parameters=[
            _ID,
            shown_fields(entity),
            *shown_relations(entity),
            *view_parameters(),
            known,
        ],
    )


def _replace(entity: Entity) -> dict[str, Any]:
    absent = {
        "name": "If-None-Match",
        "in": "header",
        "description": "`*`: create the record under this id, only if there is none.",
        "schema": {"type": "string", "enum": ["*"]},
    }
    return operation(
        _name("replace", entity),
        entity.name,
        f"Replace a {entity.name}; what is left out gets its default or becomes empty",
        {
            200: answer("The record as it is now.", ref(entity.name), "ETag"),
            201: answer("The new record.", ref(entity.name), "ETag", "Location"),
            204: answer("It is so (Prefer: return=minimal).", None, "ETag"),
        },
        scope="write",
        refusals=conditional(entity),
        parameters=[_ID, if_match(entity), absent, shared("IdempotencyKey"), shared("Prefer")],
        request=body(ref(f"{entity.name}_Replace")),
    )


def _patch(entity: Entity) -> dict[str, Any]:
    return operation(
        _name("patch", entity),
        entity.name,
        f"Change some fields of a {entity.name}",
        {
            200: answer("The record as it is now.", ref(entity.name), "ETag"),
            204: answer("It is so (Prefer: return=minimal).", None, "ETag"),
        },
        scope="write",
        refusals=conditional(entity),
        parameters=[_ID, if_match(entity), shared("IdempotencyKey"), shared("Prefer")],
        request=body(ref(f"{entity.name}_Patch"), _MERGE_PATCH, "application/json"),
    )


def _delete(entity: Entity) -> dict[str, Any]:
    return operation(
        _name("delete", entity),
        entity.name,
        f"Delete a {entity.name}",
        {204: answer("It is gone.")},
        scope="write",
        refusals=conditional(entity),
        parameters=[_ID, if_match(entity), shared("IdempotencyKey")],
    )


def _query(entity: Entity) -> dict[str, Any]:
    names = {"type": "array", "items": _TEXT}
    texts: Schema = {"oneOf": [_TEXT, names]}
    properties: dict[str, Schema] = {
        "page": {"type": "integer", "minimum": 1},
        "pageSize": {"type": "integer", "minimum": 1, "maximum": 1000},
        "after": _TEXT,
        "before": _TEXT,
        "sort": texts,
        "fields": texts,
        "expand": {"description": "As the parameter, or an object of options by relation."},
        "where": ref(f"{entity.name}_Where"),
        "q": _TEXT,
        "count": {"type": "string", "enum": [kind.value for kind in Count]},
        **{given["name"]: given["schema"] for given in view_parameters()},
    }
    sample = {"where": {"id": {"isNull": False}}, "sort": "-createdAt", "pageSize": 20}
    asked = {"type": "object", "properties": properties, "example": sample}
    return operation(
        _name("query", entity),
        entity.name,
        f"List {entity.plural} by a JSON body, for long conditions",
        {200: answer("One page.", ref(f"{entity.name}_List"))},
        scope="read",
        refusals=(410,),
        request=body(asked),
    )


def _bulk(verb: str, item: Callable[[Entity], Schema], summary: str) -> Build:
    def build(entity: Entity) -> dict[str, Any]:
        wanted = {
            "type": "object",
            "properties": {
                "items": {
                    "type": "array",
                    "items": item(entity),
                    "minItems": 1,
                    "maxItems": 1000,
                },
                "atomic": {
                    "type": "boolean",
                    "default": True,
                    "description": "All or nothing; false writes what it can.",
                },
            },
            "required": ["items"],
        }
        unique = [field.name for field in entity.fields if field.unique and not field.computed]
        names: Schema = {"type": "string", "enum": unique} if unique else _TEXT
        said = "The unique field that finds the record of each item."
        key = [parameter("key", names, said, required=True)] if verb == "upsert" else []
        return operation(
            _name(f"bulk_{verb}", entity),
            entity.name,
            f"{summary} up to 1,000 {entity.plural} at once",
            {
                200: answer("Every item succeeded.", ref("platform_BulkOutcome")),
                207: answer("Some items failed (atomic: false).", ref("platform_BulkOutcome")),
            },
            scope="write",
            refusals=(409, 428) if entity.require_if_match else (409,),
            parameters=[*key, shared("IdempotencyKey")],
            request=body(wanted),
        )

    return build


def _identified(entity: Entity, more: dict[str, Schema], *required: str) -> Schema:
    version = {"type": "string", "description": "The ETag the record must be at."}
    properties = {"id": {"type": "string", "format": "uuid"}, "ifMatch": version, **more}
    return {"type": "object", "properties": properties, "required": ["id", *required]}


def _history(entity: Entity) -> dict[str, Any]:
    return operation(
        _name("history", entity),
        entity.name,
        f"What happened to a {entity.name}, newest first",
        {200: answer("One page of versions.", ref("platform_History"))},
        scope="read",
        parameters=[
            _ID,
            parameter("pageSize", _SIZE, "Versions on a page."),
            parameter("after", _TEXT, "The `endCursor` of the page before."),
        ],
    )


def _restore(entity: Entity) -> dict[str, Any]:
    version = {"type": "integer", "minimum": 1}
    wanted = {"type": "object", "properties": {"version": version}, "required": ["version"]}
    return operation(
        _name("restore", entity),
        entity.name,
        f"Make an earlier version of a {entity.name} the present one",
        {
            200: answer("The record as it is now.", ref(entity.name), "ETag"),
            201: answer("The deleted record, back.", ref(entity.name), "ETag", "Location"),
        },
        scope="write",
        refusals=conditional(entity),
        parameters=[_ID, shared("IfMatch"), shared("IdempotencyKey")],
        request=body(wanted),
    )


def _aggregate(entity: Entity) -> dict[str, Any]:
    listed = {parameter["name"]: parameter for parameter in list_parameters(entity)}
    measure = {
        "name": "aggregate",
        "in": "query",
        "description": "What to compute, and of which fields, as in `aggregate[sum]=total`.",
        "style": "deepObject",
        "explode": True,
        "example": {"count": "*"},
        "schema": {"type": "object", "additionalProperties": _TEXT},
    }
    kept = [listed[name] for name in ("page", "pageSize", "filter", "where", "q")]
    return operation(
        _name("aggregate", entity),
        entity.name,
        f"Count, add up and compare {entity.plural}, by groups",
        {200: answer("One page of groups.", ref("platform_Groups"))},
        scope="read",
        parameters=[
            measure,
            parameter("groupBy", _TEXT, "Fields to group by, separated by commas."),
            parameter("sort", _TEXT, "What is grouped by or computed, in the order wanted."),
            *kept,
        ],
    )


def _changes(entity: Entity) -> dict[str, Any]:
    return operation(
        _name("changes", entity),
        entity.name,
        f"What changed among {entity.plural} since a token, in the order of commits",
        {200: answer("One page of changes.", ref("platform_Changes"))},
        scope="read",
        refusals=(410,),
        parameters=[
            parameter(
                "since",
                _TEXT,
                "The `next` of the page before; `now` for what comes; without it, from the start.",
            ),
            parameter("limit", {**_SIZE, "default": DEFAULT_LIMIT}, "Changes on a page."),
            parameter(
                "wait",
                {"type": "integer", "minimum": 1, "maximum": LONGEST_WAIT},
                "Seconds to wait for a change when there is none yet.",
            ),
            shown_fields(entity),
        ],
    )


_KNOWN: Mapping[tuple[str, str], Build] = {
    ("", "GET"): _list,
    ("", "POST"): _create,
    ("/{id}", "GET"): _get,
    ("/{id}", "PUT"): _replace,
    ("/{id}", "PATCH"): _patch,
    ("/{id}", "DELETE"): _delete,
    ("/query", "POST"): _query,
    ("/bulk", "POST"): _bulk("create", lambda e: ref(f"{e.name}_Create"), "Create"),
    ("/bulk", "PUT"): _bulk("upsert", lambda e: ref(f"{e.name}_Replace"), "Create or replace"),
    ("/bulk", "PATCH"): _bulk(
        "patch", lambda e: _identified(e, {"set": ref(f"{e.name}_Patch")}, "set"), "Change"
    ),
    ("/bulk", "DELETE"): _bulk("delete", lambda e: _identified(e, {}), "Delete"),
    ("/{id}/history", "GET"): _history,
    ("/{id}/restore", "POST"): _restore,
    ("/aggregate", "GET"): _aggregate,
    ("/changes", "GET"): _changes,
}


def _other(route: str, method: str, entity: Entity, writes: bool) -> dict[str, Any]:
    """An operation of which no more is known than that it is there."""
    words = [word.strip("{}") for word in route.split("/") if word]
    found = operation(
        _name("_".join([method.lower(), *words]), entity),
        entity.name,
        f"{' '.join(words).capitalize()} of {entity.plural}",
        {200: answer("Done.", {"type": "object"})},
        scope="write" if writes else "read",
        refusals=(409, 412) if writes else (),
        parameters=[in_path(word, "An id.") for word in words if f"{{{word}}}" in route],
    )
    if method in ("POST", "PUT", "PATCH"):
        found["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return found


def _related(entity: Entity, hop: Hop) -> dict[str, Any]:
    target = hop.target
    if hop.many:
        found, parameters = page(target.name), [*list_parameters(target), shared("Prefer")]
        summary = f"List the {target.plural} of a {entity.name}"
    else:
        found, parameters = (
            ref(f"{target.name}_Part"),
            [shown_fields(target), *shown_relations(target)],
        )
        summary = f"Read the {target.name} that a {entity.name} refers to"
    name = f"related_{entity.name}_{hop.name}"
    answers = {200: answer("What it is related to.", found, *(("Link",) if hop.many else ()))}
    return operation(
        name, entity.name, summary, answers, scope="read", parameters=[_ID, *parameters]
    )


def _pair(method: str, entity: Entity, hop: Hop) -> dict[str, Any]:
    verb = "Link" if method == "PUT" else "Unlink"
    return operation(
        f"{verb.lower()}_{entity.name}_{hop.name}",
        entity.name,
        f"{verb} a {entity.name} and a {hop.target.name}",
        {204: answer("Done.")},
        scope="write",
        refusals=(409, 412),
        parameters=[_ID, in_path("relatedId", f"The id of the {hop.target.name}.")],
    )


def paths(
    entity: Entity, catalog: Catalog, served: Mapping[str, Mapping[str, bool]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The paths of an entity. `served` is what the server answers: by what follows the plural, the
    methods and whether each writes."""
    for route, methods in served.items():
        offered = {method: writes for method, writes in methods.items() if method != "HEAD"}
        if "{relation}" not in route:
            yield (
                f"/{entity.path}{route}",
                {
                    method.lower(): _KNOWN[route, method](entity)
                    if (route, method) in _KNOWN
                    else _other(route, method, entity, writes)
                    for method, writes in offered.items()
                },
            )
            continue
        pair = route.endswith("/{relatedId}")
        for relation in entity.relations_by_name:
            hop = hop_of(entity, relation, catalog)
            if hop is None or (pair and hop.kind is not RelationKind.MANY_TO_MANY):
                continue
            yield (
                f"/{entity.path}{route.replace('{relation}', relation)}",
                {
                    method.lower(): _pair(method, entity, hop) if pair else _related(entity, hop)
                    for method in offered
                },
            )
