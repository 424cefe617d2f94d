"""Jira's fields and cells: kinds by schema, people by account id, named things by their names."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.errors import PartialAnswer

_ZONE = re.compile(r"([+-]\d\d)(\d\d)$")
_RICH = frozenset({"description", "environment"})
_TEXTAREA = "textarea"
NAMED = frozenset(
    {
        "status",
        "priority",
        "resolution",
        "issuetype",
        "version",
        "component",
        "securitylevel",
        "group",
    }
)
_encode = msgspec.json.Encoder(decimal_format="number").encode


def kind_of(field: str, schema: Mapping[str, Any], *, adf: bool) -> FieldKind:
    """Text for types that are not known; lists and what else has parts is JSON."""
    match schema.get("type"):
        case "string" if _rich(field, schema):
            return FieldKind.JSON if adf else FieldKind.LONGTEXT
        case "string":
            return FieldKind.TEXT
        case "number":
            return FieldKind.NUMBER
        case "date":
            return FieldKind.DATE
        case "datetime":
            return FieldKind.DATETIME
        case "user" | "option" | "project" | "issuelink":
            return FieldKind.TEXT
        case kind if kind in NAMED:
            return FieldKind.TEXT
        case _:
            return FieldKind.JSON


def cell_of(field: str, schema: Mapping[str, Any], *, adf: bool) -> Callable[[Any], str | None]:
    """What turns a field's value into its cell."""
    kind = kind_of(field, schema, adf=adf)
    if kind is FieldKind.DATETIME:
        return instant
    if kind is FieldKind.NUMBER:
        return number
    if kind is FieldKind.JSON:
        if schema.get("type") == "array" and schema.get("items") in ("user", "option", *NAMED):
            items = str(schema["items"])
            return lambda value: (
                None if value is None else as_json([name(one, items) for one in value])
            )
        return as_json
    what = str(schema.get("type"))
    if what in ("string", "date"):
        return lambda value: value if value is None or isinstance(value, str) else as_json(value)
    return lambda value: name(value, what)


def name(value: Any, what: str) -> str | None:
    """Of a thing with parts the one that names it: account id, option value, project or issue key, name."""
    if not isinstance(value, dict):
        return value if value is None or isinstance(value, str) else as_json(value)
    members = {
        "user": ("accountId", "name", "key"),
        "option": ("value",),
        "project": ("key",),
        "issuelink": ("key",),
    }.get(what, ("name", "value", "id"))
    found = next((value[member] for member in members if value.get(member) is not None), None)
    return None if found is None else str(found)


def instant(value: Any) -> str | None:
    """`2026-01-01T10:30:00.000+1030` -> UTC. Milliseconds stay."""
    if value is None or value == "":
        return None
    return stamp(str(value)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp(text: str) -> datetime:
    """Raises PartialAnswer."""
    try:
        at = datetime.fromisoformat(_ZONE.sub(r"\1:\2", text))
    except ValueError as error:
        raise PartialAnswer(f"Jira sent an instant as {text!r}, which is none.") from error
    if at.tzinfo is None:
        raise PartialAnswer(f"Jira sent an instant without its zone: {text!r}.")
    return at.astimezone(UTC)


def number(value: Any) -> str | None:
    """Plain digits; a whole number without a fraction, as people wrote it."""
    if value is None:
        return None
    text = format(value, "f") if not isinstance(value, int) else str(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def as_json(value: Any) -> str | None:
    return None if value is None else _encode(value).decode()


def _rich(field: str, schema: Mapping[str, Any]) -> bool:
    return field in _RICH or str(schema.get("custom", "")).endswith(":" + _TEXTAREA)
