"""An entity definition as JSON <-> `Entity`: every rule, all faults at once.

`parse_definition` and `as_json` are the public form (DESIGN section 4 of EntityDefinition);
`to_stored` and `from_stored` the row in the control table, which also holds what is not shown.
"""

import hashlib
import json

from hubblewave_pipelines.core.entity import (
    Catalog,
    Entity,
    Field,
    Json,
    OnDelete,
    Relation,
    RelationKind,
)
from hubblewave_pipelines.core.errors import Conflict, Fault, Invalid
from hubblewave_pipelines.core.fields import field_as_json, field_from_json, read_fields
from hubblewave_pipelines.core.identity import opaque_id
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.core.relations import read_relations

KEYS = ("id slug name pluralName description requireIfMatch fields relationships warnings").split()

# Paths of the platform itself below /api/v1, now or in a later version; compared in lower case.
RESERVED_PLURALS = frozenset(
    "entities api-keys imports exports webhooks oauth-clients users roles event-types connectors "
    "sync-jobs conflicts dead-letters jobs graphql openapi openapi.json docs schema auth oauth "
    "health metrics bulk query aggregate changes me admin tenants apikeys console login logout "
    "eventtypes syncjobs deadletters oauthclients work runs status".split()
)
# Type names every GraphQL schema of a tenant holds already.
RESERVED_NAMES = frozenset(
    "query mutation subscription node pageinfo paginationinput sortinput sortorder string int "
    "float boolean id date datetime decimal json uuid bigint long upload entity".split()
)
# System properties of a record, and the words of the filter language.
RESERVED_FIELDS = frozenset(
    "id createdat updatedat version createdby updatedby deletedat xid and or not".split()
)
# Path segments below a record.
RESERVED_RELATIONS = frozenset("history restore revisions changes bulk".split())


def parse_definition(
    body: Json, *, tenant_schema: str, catalog: Catalog, existing: Entity | None = None
) -> Entity:
    """The entity that `body` defines; `existing` is the one it replaces (None: a new one).

    Fields and relations keep their identity by `id`, or by name where no id is given. `warnings`,
    which the answer to a change carries, may come back and says nothing. Raises Invalid with one fault per broken rule, or Conflict when all that is wrong is that a name is
    already taken.
    """
    if not isinstance(body, dict):
        raise Invalid(
            "An entity definition must be a JSON object.",
            faults=[Fault("type", "expected an object", "#")],
        )
    reading = Reading()
    reading.keys(body, KEYS, "#")
    for key, own in (("id", existing and existing.id), ("slug", existing and existing.slug)):
        if body.get(key) not in (None, own):
            reading.fault(f"#/{key}", "read_only", f"{key} is set by the platform; leave it out")
    name = reading.name(body, "name", "#")
    plural = reading.name(body, "pluralName", "#")
    description = reading.text(body, "description", "#", longest=10_000)
    require_if_match = reading.flag(body, "requireIfMatch", "#")
    others = [e for e in catalog if existing is None or e.id != existing.id]
    _check_names(reading, name, plural, others)
    if body.get("fields") is None:
        reading.fault("#/fields", "required", "fields is required: a list, [] when there are none")
    fields = read_fields(reading, body, existing)
    relations = read_relations(reading, body, name=name, catalog=catalog, existing=existing)
    _check_members(reading, fields, relations)
    if reading.faults:
        number = len(reading.faults)
        detail = f"The entity definition breaks {number} rule{'s' if number > 1 else ''}."
        if all(fault.code == "taken" for fault in reading.faults):
            raise Conflict(detail, faults=reading.faults)
        raise Invalid(detail, faults=reading.faults)
    return Entity(
        id=existing.id if existing else opaque_id(),
        slug=existing.slug if existing else _free_slug(plural, catalog),
        name=name,
        plural=plural,
        schema=tenant_schema,
        fields=tuple(field for field, _ in fields),
        relations=tuple(relation for relation, _ in relations),
        description=description,
        require_if_match=require_if_match,
    )


def _check_names(reading: Reading, name: str, plural: str, others: list[Entity]) -> None:
    if name.lower() in RESERVED_NAMES:
        reading.fault("#/name", "reserved", f'"{name}" is a word of the platform; choose another')
    if plural.lower() in RESERVED_PLURALS:
        detail = f"/api/v1/{plural.lower()} is a path of the platform; choose another"
        reading.fault("#/pluralName", "reserved", detail)
    if name and name.lower() == plural.lower():
        detail = "must differ from name by more than case: both name things in one GraphQL schema"
        reading.fault("#/pluralName", "duplicate", f"pluralName {detail}")
    for pointer, text in (("#/name", name), ("#/pluralName", plural)):
        for other in others:
            if text and text.lower() in (other.name.lower(), other.path):
                which = "name" if text.lower() == other.name.lower() else "pluralName"
                detail = f'"{text}" is already the {which} of the entity {other.name}'
                reading.fault(pointer, "taken", detail)


def _check_members(
    reading: Reading,
    fields: list[tuple[Field, str]],
    relations: list[tuple[Relation, str]],
) -> None:
    """Names of fields, relations and reference fields are one space, ignoring case."""
    named = [(field.name, f"{pointer}/name") for field, pointer in fields]
    for relation, pointer in relations:
        named.append((relation.name, f"{pointer}/name"))
        if relation.kind is RelationKind.MANY_TO_ONE:
            named.append((relation.field, f"{pointer}/field"))
        if relation.name.lower() in RESERVED_RELATIONS:
            detail = f'"{relation.name}" is a path below every record; choose another'
            reading.fault(f"{pointer}/name", "reserved", detail)
    seen: dict[str, str] = {}
    for name, pointer in named:
        if not name:
            continue
        if name.lower() in RESERVED_FIELDS:
            detail = f'"{name}" is set by the platform or a word of filters; choose another'
            reading.fault(pointer, "reserved", detail)
        first = seen.setdefault(name.lower(), pointer)
        if first is not pointer:
            detail = f'"{name}" is already used at {first} (case does not count)'
            reading.fault(pointer, "duplicate", detail)


def _free_slug(plural: str, catalog: Catalog) -> str:
    """The plural in lower case; numbered when an entity renamed since still holds it."""
    taken = {entity.slug for entity in catalog}
    slug, number = plural.lower(), 2
    while slug in taken:
        slug, number = f"{plural.lower()}{number}", number + 1
    return slug


def as_json(entity: Entity) -> dict[str, Json]:
    """The public form. `parse_definition` of it, with the entity as `existing`, gives it back."""
    return {
        "id": entity.id,
        "slug": entity.slug,
        "name": entity.name,
        "pluralName": entity.plural,
        "description": entity.description,
        "requireIfMatch": entity.require_if_match,
        "fields": [field_as_json(field) for field in entity.fields],
        "relationships": [_relation_as_json(relation) for relation in entity.relations],
    }


def tag_of(entity: Entity) -> str:
    """What tells one state of a definition from another: the text inside its ETag."""
    text = json.dumps(as_json(entity), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _relation_as_json(relation: Relation) -> dict[str, Json]:
    body: dict[str, Json] = {
        "id": relation.id,
        "name": relation.name,
        "type": relation.kind.value,
        "targetEntity": relation.target,
        "field": relation.field or None,
        "description": relation.description,
    }
    if relation.kind is RelationKind.MANY_TO_ONE:
        body |= {"required": relation.required, "onDelete": relation.on_delete.value}
    return body


def to_stored(entity: Entity) -> dict[str, Json]:
    """What the control table keeps; everything but the schema, which is the tenant's."""
    stored = as_json(entity)
    for body, field in zip(stored["fields"], entity.fields, strict=True):
        if field.earlier:
            body["earlier"] = [kind.value for kind in field.earlier]
    for body, relation in zip(stored["relationships"], entity.relations, strict=True):
        if relation.kind is RelationKind.MANY_TO_MANY:
            body |= {"link": relation.link, "forward": relation.forward}
    return stored


def from_stored(definition: dict[str, Json], schema: str) -> Entity:
    """The entity of a control row. The inverse of `to_stored`."""
    return Entity(
        id=definition["id"],
        slug=definition["slug"],
        name=definition["name"],
        plural=definition["pluralName"],
        schema=schema,
        fields=tuple(field_from_json(body) for body in definition["fields"]),
        relations=tuple(
            Relation(
                id=body["id"],
                name=body["name"],
                kind=RelationKind(body["type"]),
                target=body["targetEntity"],
                field=body["field"] or "",
                required=body.get("required", False),
                on_delete=OnDelete(body.get("onDelete", "restrict")),
                description=body["description"],
                link=body.get("link"),
                forward=body.get("forward", True),
            )
            for body in definition["relationships"]
        ),
        description=definition["description"],
        require_if_match=definition.get("requireIfMatch", False),
    )
