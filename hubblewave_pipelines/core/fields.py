"""The `fields` of an entity definition as JSON <-> `Field`: which rule goes with which type."""

import math
import sys
from collections.abc import Mapping
from dataclasses import replace

import re2

from hubblewave_pipelines.core.entity import Entity, Field, FieldKind, Json
from hubblewave_pipelines.core.identity import opaque_id
from hubblewave_pipelines.core.reading import Reading, below, storable
from hubblewave_pipelines.core.values import (
    ORDERED_KINDS,
    TEXT_KINDS,
    Refused,
    from_json,
    limit,
    pattern,
)

MOST_FIELDS, MOST_CHOICES, LONGEST_TEXT = 200, 500, 10_000_000
# An index entry holds at most 2,704 bytes, and a character takes up to four of them.
LONGEST_UNIQUE = 600

KEYS = (
    "id name type required unique default description example format enum computed maxLength min "
    "max pattern"
).split()
_TEXTS = frozenset({FieldKind.TEXT, FieldKind.LONGTEXT, FieldKind.EMAIL, FieldKind.URL})
_RULES: Mapping[str, frozenset[FieldKind]] = {
    "maxLength": _TEXTS,
    "pattern": _TEXTS,
    "min": ORDERED_KINDS,
    "max": ORDERED_KINDS,
    "enum": frozenset({FieldKind.ENUM}),
}
_OTHER_WORDS: Mapping[str, FieldKind] = {
    "string": FieldKind.TEXT,
    "str": FieldKind.TEXT,
    "varchar": FieldKind.TEXT,
    "textarea": FieldKind.LONGTEXT,
    "int": FieldKind.INTEGER,
    "bigint": FieldKind.INTEGER,
    "float": FieldKind.NUMBER,
    "double": FieldKind.NUMBER,
    "numeric": FieldKind.DECIMAL,
    "money": FieldKind.DECIMAL,
    "currency": FieldKind.DECIMAL,
    "bool": FieldKind.BOOLEAN,
    "timestamp": FieldKind.DATETIME,
    "timestamptz": FieldKind.DATETIME,
    "uri": FieldKind.URL,
    "guid": FieldKind.UUID,
    "object": FieldKind.JSON,
    "array": FieldKind.JSON,
    "picklist": FieldKind.ENUM,
    "select": FieldKind.ENUM,
}


def keep_id(
    reading: Reading,
    body: dict[str, Json],
    pointer: str,
    known: Mapping[str, str],
    claimed: set[str],
) -> str:
    """The id of a member: the one given, else that of the member with this name, else a new one.

    `known` maps the lower-cased names of the existing members to their ids.
    """
    given = body.get("id")
    name = body.get("name")
    if given is not None:
        if not isinstance(given, str) or given not in known.values():
            detail = "this entity has no member of this id; leave id out for a new one"
            reading.fault(below(pointer, "id"), "unknown", detail)
        elif given in claimed:
            reading.fault(below(pointer, "id"), "duplicate", "this id is given twice")
        else:
            claimed.add(given)
            return given
    elif isinstance(name, str):
        own = known.get(name.lower())
        if own is not None and own not in claimed:
            claimed.add(own)
            return own
    return opaque_id()


def given_ids(body: dict[str, Json], key: str) -> set[str]:
    """The ids that the members of a list name explicitly, so that no name may claim them."""
    members = body.get(key)
    if not isinstance(members, list):
        return set()
    ids = [member.get("id") for member in members if isinstance(member, dict)]
    return {id for id in ids if isinstance(id, str)}


def read_fields(
    reading: Reading, body: dict[str, Json], existing: Entity | None
) -> list[tuple[Field, str]]:
    """Each field with its pointer. What is returned counts only when no fault was found."""
    explicit = given_ids(body, "fields")
    by_id = {f.name.lower(): f.id for f in existing.fields} if existing else {}
    by_name = {name: id for name, id in by_id.items() if id not in explicit}
    claimed: set[str] = set()
    fields: list[tuple[Field, str]] = []
    for item, pointer in reading.objects(body, "fields", "#", most=MOST_FIELDS):
        known = by_id if item.get("id") is not None else by_name
        field = _read(reading, item, pointer, known, claimed)
        fields.append((replace(field, earlier=_earlier(field, existing)), pointer))
    return fields


def _earlier(field: Field, existing: Entity | None) -> tuple[FieldKind, ...]:
    """The kinds the field had. Kinds of text share a column, so that no new one begins."""
    was = next((f for f in existing.fields if f.id == field.id), None) if existing else None
    if was is None or field.kind is was.kind or {field.kind, was.kind} <= TEXT_KINDS:
        return () if was is None else was.earlier
    return (*was.earlier, was.kind)


def _read(
    reading: Reading, body: dict[str, Json], at: str, known: Mapping[str, str], claimed: set[str]
) -> Field:
    before = len(reading.faults)
    reading.keys(body, KEYS, at)
    word = body.get("type")
    other = _OTHER_WORDS.get(word.lower()) if isinstance(word, str) else None
    hint = f'; did you mean "{other}"?' if other else ""
    kind_word = reading.choice(body, "type", at, [kind.value for kind in FieldKind], hint)
    kind = FieldKind(kind_word or FieldKind.TEXT)
    if kind_word is not None:
        for rule, kinds in _RULES.items():
            if body.get(rule) is not None and kind not in kinds:
                fits = ", ".join(k.value for k in FieldKind if k in kinds)
                reading.fault(below(at, rule), "misplaced", f"{rule} is for {fits}; not for {kind}")
    unique = reading.flag(body, "unique", at)
    max_length = reading.whole(body, "maxLength", at, least=1, most=LONGEST_TEXT)
    field = Field(
        id=keep_id(reading, body, at, known, claimed),
        name=reading.name(body, "name", at),
        kind=kind,
        required=reading.flag(body, "required", at),
        unique=unique,
        default=_kept_number(kind, body.get("default")),
        description=reading.text(body, "description", at, longest=10_000),
        example=body.get("example"),
        format=reading.text(body, "format", at, longest=100),
        enum=_choices(reading, body, at) if kind is FieldKind.ENUM else (),
        computed=reading.flag(body, "computed", at),
        max_length=LONGEST_UNIQUE if unique and kind in _TEXTS and not max_length else max_length,
        min=_kept_number(kind, body.get("min")),
        max=_kept_number(kind, body.get("max")),
        pattern=_pattern(reading, body, at),
    )
    _check_combination(reading, field, at)
    if len(reading.faults) == before:
        _check_bounds(reading, field, at)
    if len(reading.faults) == before:
        _check_fits(reading, field, at)
    return field


def _kept_number(kind: FieldKind, value: Json) -> Json:
    """The number as it comes back from the control table, whose jsonb writes 1e300 as an integer
    and knows no negative zero. Constraint names are made from it, so it must not change there."""
    if kind not in ORDERED_KINDS or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if kind is FieldKind.NUMBER:
        large = isinstance(value, int) and 2**53 < abs(value) <= sys.float_info.max
        return float(value) + 0.0 if large or isinstance(value, float) else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    large = isinstance(value, int) and abs(value) > 2**53
    return str(value) if kind is FieldKind.DECIMAL and large else value


def _choices(reading: Reading, body: dict[str, Json], pointer: str) -> tuple[str, ...]:
    at = below(pointer, "enum")
    given = body.get("enum")
    if not isinstance(given, list) or not given:
        reading.fault(at, "required", "an enum field needs enum: the list of its values")
        return ()
    if len(given) > MOST_CHOICES:
        reading.fault(at, "length", f"enum has {len(given)} values; at most {MOST_CHOICES}")
        return ()
    seen: set[str] = set()
    for index, value in enumerate(given):
        if not isinstance(value, str) or not 1 <= len(value) <= 255 or not storable(value):
            detail = "each value must be a string of 1 to 255 characters without NUL"
            reading.fault(below(at, index), "type", detail)
        elif value in seen:
            reading.fault(below(at, index), "duplicate", f'"{value}" is listed twice')
        else:
            seen.add(value)
    return tuple(value for value in given if isinstance(value, str))


def _pattern(reading: Reading, body: dict[str, Json], at: str) -> str | None:
    text = reading.text(body, "pattern", at, longest=1000)
    if text is None:
        return None
    try:
        pattern(text)
    except re2.error as error:
        reason = error.args[0] if error.args else "unknown reason"
        shown = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        detail = f"pattern is not an RE2 regular expression: {shown}"
        reading.fault(below(at, "pattern"), "pattern", detail)
        return None
    return text


def _check_combination(reading: Reading, field: Field, at: str) -> None:
    if field.unique and field.kind in (FieldKind.LONGTEXT, FieldKind.JSON):
        detail = f"a {field.kind} field cannot be unique: its values are too long for an index"
        reading.fault(below(at, "unique"), "misplaced", detail)
    elif field.unique and (field.max_length or 0) > LONGEST_UNIQUE:
        detail = f"maxLength of a unique field is at most {LONGEST_UNIQUE}"
        reading.fault(below(at, "maxLength"), "range", detail)
    if field.unique and field.default is not None:
        detail = "a unique field cannot have a default: the second record would break it"
        reading.fault(below(at, "default"), "misplaced", detail)
    if field.computed and field.required and field.default is None:
        detail = "a computed field without default cannot be required: clients may not write it"
        reading.fault(below(at, "required"), "misplaced", detail)


def _bound(field: Field, value: Json) -> object:
    finite = not isinstance(value, float) or math.isfinite(value)
    if isinstance(value, str | int | float) and not isinstance(value, bool) and finite:
        return limit(field, value)
    raise Refused("type", f"must be a value of a {field.kind} field")


def _check_bounds(reading: Reading, field: Field, at: str) -> None:
    bounds: dict[str, object] = {}
    given: list[tuple[str, Json]] = [("min", field.min), ("max", field.max)]
    for key, value in given:
        if value is None:
            continue
        try:
            bounds[key] = _bound(field, value)
        except Refused as refused:
            reading.fault(below(at, key), refused.code, f"{key} {refused.detail}")
    if len(bounds) == 2 and bounds["min"] > bounds["max"]:  # type: ignore[operator]
        reading.fault(below(at, "max"), "range", "max is less than min")


def _check_fits(reading: Reading, field: Field, at: str) -> None:
    for key, value in (("default", field.default), ("example", field.example)):
        if value is None:
            continue
        try:
            from_json(field, value)
            _check_integers(value)
        except Refused as refused:
            reading.fault(below(at, key), refused.code, f"{key} {refused.detail}")


def _check_integers(value: Json) -> None:
    """Integers beyond 64 bits have no place in the JSON that we write."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_integers(item)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Refused("range", "holds a whole number outside the 64-bit range")


def field_as_json(field: Field) -> dict[str, Json]:
    """The field as a definition shows it; rules that are not set are left out."""
    always = {
        "id": field.id,
        "name": field.name,
        "type": field.kind.value,
        "required": field.required,
        "unique": field.unique,
        "computed": field.computed,
    }
    set_only = {
        "default": field.default,
        "description": field.description,
        "example": field.example,
        "format": field.format,
        "enum": list(field.enum) or None,
        "maxLength": field.max_length,
        "min": field.min,
        "max": field.max,
        "pattern": field.pattern,
    }
    return {**always, **{key: value for key, value in set_only.items() if value is not None}}


def field_from_json(body: dict[str, Json]) -> Field:
    """The field that `field_as_json` wrote. Trusts its input: it reads the control table."""
    kind = FieldKind(body["type"])
    return Field(
        id=body["id"],
        name=body["name"],
        kind=kind,
        required=body["required"],
        unique=body["unique"],
        default=_kept_number(kind, body.get("default")),
        description=body.get("description"),
        example=body.get("example"),
        format=body.get("format"),
        enum=tuple(body.get("enum", ())),
        computed=body["computed"],
        max_length=body.get("maxLength"),
        min=_kept_number(kind, body.get("min")),
        max=_kept_number(kind, body.get("max")),
        pattern=body.get("pattern"),
        earlier=tuple(FieldKind(word) for word in body.get("earlier", ())),
    )
