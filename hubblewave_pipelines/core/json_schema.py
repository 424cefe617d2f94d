"""JSON held to a JSON Schema: every fault with its pointer, in the words of our own errors.

The part of JSON Schema 2020-12 that connector types are written in: type, const, enum, properties,
required, additionalProperties, items, oneOf and anyOf, $ref into $defs, and the bounds of numbers,
texts and lists. Other keywords are notes to people.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.reading import Reading, below, storable, suggestion

Schema = Mapping[str, Any]

_DEEPEST = 30


def check_schema(
    reading: Reading, value: Json, schema: Schema, pointer: str, root: Schema | None = None
) -> None:
    """Faults of `value` into `reading`."""
    _check(reading, value, schema, pointer, root or schema, 0)


def _is(value: Json, kind: str) -> bool:
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _check(
    reading: Reading, value: Json, schema: Schema, pointer: str, root: Schema, depth: int
) -> None:
    if depth > _DEEPEST:
        reading.fault(pointer, "depth", f"is nested more than {_DEEPEST} levels deep")
        return
    if "$ref" in schema:
        schema = root["$defs"][str(schema["$ref"]).rpartition("/")[2]]
    name = pointer.rpartition("/")[2] or "this"
    kinds = schema.get("type")
    if kinds is not None:
        known = [kinds] if isinstance(kinds, str) else list(kinds)
        if not any(_is(value, kind) for kind in known):
            reading.fault(pointer, "type", f"{name} must be of type {' or '.join(known)}")
            return
    if "const" in schema and value != schema["const"]:
        reading.fault(pointer, "enum", f"{name} must be {_shown(schema['const'])}")
    if "enum" in schema and value not in schema["enum"]:
        near = suggestion(value, schema["enum"]) if isinstance(value, str) else ""
        choices = ", ".join(map(_shown, schema["enum"]))
        reading.fault(pointer, "enum", f"{name} is not one of {choices}{near}")
    for several in ("oneOf", "anyOf"):
        if several in schema:
            chosen = _chosen(reading, value, schema[several], pointer, root, depth)
            if chosen is not None:
                _check(reading, value, chosen, pointer, root, depth + 1)
    if isinstance(value, str):
        _check_text(reading, value, schema, pointer, name)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int | float):
        _check_number(reading, value, schema, pointer, name)
    elif isinstance(value, list):
        _check_list(reading, value, schema, pointer, root, depth)
    else:
        _check_object(reading, value, schema, pointer, root, depth)


def _chosen(
    reading: Reading,
    value: Json,
    branches: Sequence[Schema],
    pointer: str,
    root: Schema,
    depth: int,
) -> Schema | None:
    """The branch whose faults help: the one that its `kind` or `type` names, else the one nearest to fitting."""
    if isinstance(value, dict):
        for name in ("kind", "type", "style"):
            consts = [b.get("properties", {}).get(name, {}).get("const") for b in branches]
            if all(const is not None for const in consts):
                if value.get(name) in consts:
                    return branches[consts.index(value[name])]
                given = value.get(name)
                near = suggestion(given, consts) if isinstance(given, str) else ""
                code, verb = ("required", "is required:") if given is None else ("enum", "is not")
                choices = ", ".join(map(str, consts))
                reading.fault(below(pointer, name), code, f"{name} {verb} one of {choices}{near}")
                return None
    best: tuple[int, Schema] | None = None
    for branch in branches:
        tried = Reading()
        _check(tried, value, branch, pointer, root, depth + 1)
        if best is None or len(tried.faults) < best[0]:
            best = len(tried.faults), branch
    return None if best is None else best[1]


def _check_text(reading: Reading, value: str, schema: Schema, pointer: str, name: str) -> None:
    if not storable(value):
        reading.fault(pointer, "nul", f"{name} contains a NUL or half of a surrogate pair")
    if len(value) < schema.get("minLength", 0):
        detail = "must not be empty" if not value else "is too short"
        reading.fault(pointer, "length", f"{name} {detail}")
    longest = schema.get("maxLength", 100_000)
    if len(value) > longest:
        reading.fault(pointer, "length", f"{name} is longer than {longest} characters")
    elif "pattern" in schema and re.search(schema["pattern"], value) is None:
        hint = schema.get("description") or f"must match {schema['pattern']}"
        reading.fault(pointer, "format", f"{name} does not have the right form: {hint}")


def _check_number(reading: Reading, value: float, schema: Schema, pointer: str, name: str) -> None:
    least, most = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMinimum")
    if (least is not None and value < least) or (most is not None and value > most):
        bounds = " and ".join(
            f"{word} {bound}" for word, bound in (("at least", least), ("at most", most)) if bound is not None
        )  # fmt: skip
        reading.fault(pointer, "range", f"{name} must be {bounds}")
    if above is not None and value <= above:
        reading.fault(pointer, "range", f"{name} must be more than {above}")


def _check_list(
    reading: Reading, value: list[Json], schema: Schema, pointer: str, root: Schema, depth: int
) -> None:
    least, most = schema.get("minItems", 0), schema.get("maxItems", 10_000)
    if not least <= len(value) <= most:
        reading.fault(pointer, "length", f"must have from {least} to {most} items")
        return
    if isinstance(schema.get("items"), Mapping):
        for index, item in enumerate(value):
            _check(reading, item, schema["items"], below(pointer, index), root, depth + 1)


def _check_object(
    reading: Reading, value: dict[str, Json], schema: Schema, pointer: str, root: Schema, depth: int
) -> None:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            hint = properties.get(name, {}).get("description")
            detail = f"{name} is required" + (f": {hint}" if hint else "")
            reading.fault(below(pointer, name), "required", detail)
    others = schema.get("additionalProperties", True)
    for name, member in value.items():
        at = below(pointer, name)
        if name in properties:
            _check(reading, member, properties[name], at, root, depth + 1)
        elif others is False:
            shown = name if len(name) <= 60 else name[:57] + "..."
            hint = suggestion(shown, properties) or f"; known are {', '.join(sorted(properties))}"
            reading.fault(at, "unknown", f'there is no "{shown}" here{hint}')
        elif isinstance(others, Mapping):
            _check(reading, member, others, at, root, depth + 1)


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
