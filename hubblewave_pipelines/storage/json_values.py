"""Values and objects as SQL expressions of type json, as answers show them."""

from collections.abc import Sequence

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.storage.sql import Sql, joined

_PAIRS = 50  # a function takes at most 100 arguments
_ISO = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""  # the session's time zone is UTC


def as_json(kind: FieldKind, expression: str) -> str:
    """A value of a kind as JSON shows it: decimals and times as text that loses nothing."""
    if kind is FieldKind.DECIMAL:
        return f"{expression}::text"
    if kind is FieldKind.DATETIME:
        return f"to_char({expression}, {_ISO})"
    return expression


def json_object(members: Sequence[tuple[str, Sql]]) -> Sql:
    """An SQL expression of type json: an object of any number of members, names as parameters."""
    if len(members) <= _PAIRS:
        pairs = (Sql(["%s::text, "], [name]).append(value) for name, value in members)
        return Sql(["json_build_object("]).append(joined(", ", pairs)).add(")")
    found = Sql(["("])
    for start in range(0, len(members), _PAIRS):
        chunk = json_object(members[start : start + _PAIRS])
        opening = "'{'" if start == 0 else " || ','"
        found.add(f"{opening} || substr(left((").append(chunk).add(")::text, -1), 2)")
    return found.add(" || '}')::json")
