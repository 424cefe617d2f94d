"""A request body about a record -> the values it gives, with everything that is wrong with it."""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeAlias

from hubblewave_pipelines.core.entity import SYSTEM_COLUMNS, Entity, Json
from hubblewave_pipelines.core.errors import Fault, Invalid
from hubblewave_pipelines.core.values import Refused, from_json, reader, reference, shown

Mode: TypeAlias = Literal["create", "replace", "patch"]


def _unknown(entity: Entity, name: str) -> Fault:
    pointer = "#/" + name.replace("~", "~0").replace("/", "~1")
    if name in SYSTEM_COLUMNS:
        return Fault("read_only", f"{name} is set by the platform", pointer)
    writable = [f.name for f in entity.fields if not f.computed] + list(entity.references)
    relation = entity.relations_by_name.get(name)
    if relation is not None and relation.field in entity.references:
        hint = f"; set {relation.field} to the id of the related record"
    else:
        near = difflib.get_close_matches(name, writable, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
    return Fault("unknown", f"{entity.name} has no field {shown(name)}{hint}", pointer)


def record_reader(entity: Entity, mode: Mode) -> Callable[[Json], dict[str, object]]:
    """`record_values` for many bodies of one kind."""
    readers = {field.name: reader(field) for field in entity.fields}
    return partial(_record_values, entity, readers, mode)


def record_values(entity: Entity, body: Json, *, mode: Mode) -> dict[str, object]:
    """The values a request body gives a record, by public name (reference ids included).

    create and replace fill what is missing with the field's default or None; patch returns what
    is present only. Raises Invalid naming everything that is wrong.
    """
    return record_reader(entity, mode)(body)


def _record_values(
    entity: Entity, readers: Mapping[str, Callable[[Json], object]], mode: Mode, body: Json
) -> dict[str, object]:
    if not isinstance(body, dict):
        raise Invalid(
            "The body must be a JSON object.", faults=[Fault("type", "expected an object", "#")]
        )
    if mode == "patch" and not body:
        raise Invalid(
            "The patch is empty.", faults=[Fault("required", "name a field to change", "#")]
        )
    faults: list[Fault] = []
    values: dict[str, object] = {}
    by_name, references = entity.fields_by_name, entity.references
    strangers = [name for name in body if name not in by_name and name not in references]
    faults.extend(_unknown(entity, name) for name in strangers)
    for field in entity.fields:
        name = field.name
        if field.computed:
            if name in body:
                faults.append(Fault("read_only", f"{name} is computed", f"#/{name}"))
        elif (given := body.get(name)) is not None:
            try:
                values[name] = readers[name](given)
            except Refused as refused:
                faults.append(Fault(refused.code, f"{name} {refused.detail}", f"#/{name}"))
        elif name in body or mode != "patch":
            has_default = field.default is not None and name not in body
            values[name] = from_json(field, field.default) if has_default else None
            if field.required and not has_default:
                faults.append(Fault("required", f"{name} is required", f"#/{name}"))
    for name, relation in references.items():
        if (given := body.get(name)) is not None:
            try:
                values[name] = reference(given)
            except Refused as refused:
                faults.append(Fault(refused.code, f"{name} {refused.detail}", f"#/{name}"))
        elif name in body or mode != "patch":
            values[name] = None
            if relation.required:
                faults.append(Fault("required", f"{name} is required", f"#/{name}"))
    if faults:
        plural = "field is" if len(faults) == 1 else "fields are"
        raise Invalid(f"{len(faults)} {plural} invalid.", faults=faults)
    return values
