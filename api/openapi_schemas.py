"""An entity as OpenAPI schemas: what is read, created, replaced, patched, listed and filtered by.

Written in the form of OpenAPI 3.0.3. Names of schemas hold an underscore where they are not the
name of an entity itself, and names of entities never do, so none can hide another.
"""

import re
from collections.abc import Mapping
from typing import Any

from hubblewave_pipelines.core.entity import (
    SYSTEM_COLUMNS,
    SYSTEM_KINDS,
    Catalog,
    Entity,
    Field,
    FieldKind,
    Json,
)
from hubblewave_pipelines.core.hops import hop_of
from hubblewave_pipelines.core.query import LISTS, OPERATORS, Operator, Quantifier, columns_of

Schema = dict[str, Any]
# Null beside a `$ref`: `nullable` with `allOf` would have to hold for the referred schema as well.
NOTHING: Schema = {"type": "object", "nullable": True, "enum": [None]}

_KINDS: Mapping[FieldKind, Schema] = {
    FieldKind.TEXT: {"type": "string"},
    FieldKind.LONGTEXT: {"type": "string"},
    FieldKind.INTEGER: {"type": "integer", "format": "int64"},
    FieldKind.NUMBER: {"type": "number", "format": "double"},
    FieldKind.DECIMAL: {"type": "string", "format": "decimal"},
    FieldKind.BOOLEAN: {"type": "boolean"},
    FieldKind.DATE: {"type": "string", "format": "date"},
    FieldKind.DATETIME: {"type": "string", "format": "date-time"},
    FieldKind.EMAIL: {"type": "string", "format": "email"},
    FieldKind.URL: {"type": "string", "format": "uri"},
    FieldKind.UUID: {"type": "string", "format": "uuid"},
    FieldKind.JSON: {},
    FieldKind.ENUM: {"type": "string"},
}
_SAMPLES: Mapping[FieldKind, Json] = {
    FieldKind.TEXT: "text",
    FieldKind.LONGTEXT: "A longer text.",
    FieldKind.INTEGER: 42,
    FieldKind.NUMBER: 1.5,
    FieldKind.DECIMAL: "12.50",
    FieldKind.BOOLEAN: True,
    FieldKind.DATE: "2026-01-31",
    FieldKind.DATETIME: "2026-01-31T08:30:00Z",
    FieldKind.EMAIL: "ada@example.org",
    FieldKind.URL: "https://example.org/",
    FieldKind.UUID: "0198c0de-0000-7000-8000-000000000001",
    FieldKind.JSON: {"any": "value"},
}
# Expressions that RE2 and JSON Schema's ECMA 262 read alike, as far as they are used in practice.
_DIALECT = re.compile(r"\(\?(?!:)|\\[AzZpPCQE]|\[\[:")


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def field_schema(field: Field) -> Schema:
    """One value of a field, never null, with every rule that JSON Schema can say."""
    schema = dict(_KINDS[field.kind])
    text = field.description or ""
    if field.max_length is not None:
        schema["maxLength"] = field.max_length
    if field.pattern is not None:
        if _DIALECT.search(field.pattern):
            text = f"{text} Matches {field.pattern} (RE2).".strip()
        else:
            schema["pattern"] = f"^(?:{field.pattern})$"
    if field.enum:
        schema["enum"] = list(field.enum)
    for word, name, bound in (
        ("At least", "minimum", field.min),
        ("At most", "maximum", field.max),
    ):
        if bound is None:
            continue
        if field.kind in (FieldKind.INTEGER, FieldKind.NUMBER):
            schema[name] = bound
        else:
            text = f"{text} {word} {bound}.".strip()
    if text:
        schema["description"] = text
    if field.example is not None:
        schema["example"] = field.example
    return schema


def nullable(schema: Schema) -> Schema:
    """The schema with null beside its values."""
    if "$ref" in schema:
        return {"anyOf": [schema, NOTHING]}
    if "type" not in schema:
        return schema
    more = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, **more, "nullable": True}


def _reference(entity: Entity, name: str) -> Schema:
    relation = entity.references[name]
    said = relation.description or f"The id of a {relation.target}."
    return {**_KINDS[FieldKind.UUID], "description": said}


def _written(entity: Entity, *, defaults: bool) -> tuple[dict[str, Schema], list[str]]:
    """Properties a client may write, and those that must be there when nothing fills them."""
    properties: dict[str, Schema] = {}
    needed: list[str] = []
    for field in entity.fields:
        if field.computed:
            continue
        schema = field_schema(field)
        if defaults and field.default is not None:
            schema["default"] = field.default
        properties[field.name] = schema if field.required else nullable(schema)
        if field.required and field.default is None:
            needed.append(field.name)
    for name, relation in entity.references.items():
        schema = _reference(entity, name)
        properties[name] = schema if relation.required else nullable(schema)
        if relation.required:
            needed.append(name)
    return properties, needed


def _read(entity: Entity) -> dict[str, Schema]:
    properties: dict[str, Schema] = {
        name: {**_KINDS[SYSTEM_KINDS[name]], "readOnly": True} for name in SYSTEM_COLUMNS
    }
    for field in entity.fields:
        schema = field_schema(field)
        properties[field.name] = schema if field.required else nullable(schema)
        if field.computed:
            properties[field.name]["readOnly"] = True
    for name, relation in entity.references.items():
        schema = _reference(entity, name)
        properties[name] = schema if relation.required else nullable(schema)
    return properties


def page(name: str, kind: str = "") -> Schema:
    """A page of records; `Short` pages are those below a record, which say less of themselves."""
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": ref(f"{name}_Part")},
            "pageInfo": ref(f"platform_{kind}PageInfo"),
        },
        "required": ["items", "pageInfo"],
    }


def _expanded(entity: Entity, catalog: Catalog) -> dict[str, Schema]:
    """Related records, there when `expand` asks for them."""
    found: dict[str, Schema] = {}
    for name in entity.relations_by_name:
        hop = hop_of(entity, name, catalog)
        if hop is None:
            continue
        target = hop.target.name
        found[name] = page(target, "Short") if hop.many else nullable(ref(f"{target}_Part"))
    return found


def _operators(entity: Entity, catalog: Catalog) -> dict[str, Schema]:
    properties: dict[str, Schema] = {}
    for column in columns_of(entity):
        field = entity.fields_by_name.get(column.name)
        value = dict(_KINDS[column.kind])
        if field is not None and field.enum:
            value["enum"] = list(field.enum)
        words: dict[str, Schema] = {}
        for operator in sorted(OPERATORS[column.kind]):
            if operator is Operator.IS_NULL:
                words[operator] = {"type": "boolean"}
            elif operator in LISTS:
                words[operator] = {"type": "array", "items": value, "minItems": 1}
            elif operator is Operator.BETWEEN:
                words[operator] = {"type": "array", "items": value, "minItems": 2, "maxItems": 2}
            else:
                words[operator] = value
        properties[column.name] = {
            "type": "object",
            "properties": words,
            "additionalProperties": False,
            "minProperties": 1,
        }
    for name in entity.relations_by_name:
        hop = hop_of(entity, name, catalog)
        if hop is None:
            continue
        inner = ref(f"{hop.target.name}_Where")
        words = {word.value: inner for word in Quantifier if word is not Quantifier.ONE}
        properties[name] = (
            {
                "type": "object",
                "properties": words,
                "additionalProperties": False,
                "minProperties": 1,
            }
            if hop.many
            else inner
        )
    return properties


def _where(entity: Entity, catalog: Catalog) -> Schema:
    own = ref(f"{entity.name}_Where")
    trees: dict[str, Schema] = {
        "and": {"type": "array", "items": own, "minItems": 1},
        "or": {"type": "array", "items": own, "minItems": 1},
        "not": own,
    }
    return {
        "type": "object",
        "description": f"A condition on a {entity.name}: fields with operators, and, or, not.",
        "properties": {**trees, **_operators(entity, catalog)},
        "additionalProperties": False,
    }


def _sample(field: Field) -> Json:
    """A value within the field's rules, or None when it cannot be guessed."""
    if field.pattern is not None:
        return None
    bound = field.min if field.min is not None else field.max
    if bound is not None:
        return str(bound) if field.kind is FieldKind.DECIMAL else bound
    sample = _SAMPLES[field.kind]
    fits = field.max_length is None or len(str(sample)) <= field.max_length
    return sample if fits else None


def example(entity: Entity) -> dict[str, Json] | None:
    """A body that creates a record, or None when a required value cannot be guessed."""
    body: dict[str, Json] = {}
    for field in entity.fields:
        if field.computed:
            continue
        if field.example is not None:
            body[field.name] = field.example
        elif field.default is not None:
            body[field.name] = field.default
        elif field.enum:
            body[field.name] = field.enum[0]
        elif (sample := _sample(field)) is not None:
            body[field.name] = sample
        elif field.required:
            return None
    for name, relation in entity.references.items():
        if relation.required:
            body[name] = _SAMPLES[FieldKind.UUID]
    return body


_DELETED_AT: Schema = {
    "type": "string",
    "format": "date-time",
    "nullable": True,
    "description": "When the record was deleted; shown where deleted records are asked for.",
}


def components(entity: Entity, catalog: Catalog) -> dict[str, Schema]:
    """Every schema of one entity, by name."""
    name = entity.name
    read, described = _read(entity), {"description": entity.description or f"A {name}."}
    written, needed = _written(entity, defaults=True)
    patched, _ = _written(entity, defaults=False)
    whole: Schema = {"type": "object", "properties": written, "additionalProperties": False}
    if needed:
        whole["required"] = needed
    patch: Schema = {
        "type": "object",
        "description": "A JSON merge patch: what is left out stays, null empties a field.",
        "properties": patched,
        "additionalProperties": False,
        "minProperties": 1,
    }
    sample = example(entity)
    if sample is not None:
        whole["example"] = sample
        patch["example"] = dict(list(sample.items())[-1:])
    return {
        name: {"type": "object", **described, "properties": read, "required": list(read)},
        f"{name}_Part": {
            "type": "object",
            "description": f"A {name} as `fields` and `expand` show it; by default all of it.",
            "properties": {**read, **_expanded(entity, catalog), "deletedAt": _DELETED_AT},
        },
        f"{name}_Create": whole,
        f"{name}_Replace": whole,
        f"{name}_Patch": patch,
        f"{name}_List": page(name),
        f"{name}_Where": _where(entity, catalog),
    }
