"""Keys of the SAP sandbox: the text that names a row, its place in the order, and its canonical URL."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from hubblewave_pipelines.sandboxes.sap.literals import comparable, key_literal, read_literal
from hubblewave_pipelines.sandboxes.sap.model import EntityType

KEY = "_key"  # the member of a row that holds it
_NAMED = re.compile(r"\s*(?:([A-Za-z_]\w*)\s*=\s*)?((?:guid)?'(?:[^']|'')*'|[^,']+)\s*(?:,|$)")


def key_text(values: Mapping[str, Any], shape: EntityType) -> str:
    """One text for all key properties: their percent-encoded values with `/` between."""
    return "/".join(quote(str(values[name]), safe="") for name in shape.keys)


def order_of(shape: EntityType) -> Callable[[str], tuple[Any, ...]]:
    """How the database sorts a key text: property by property, ALPHA numbers padded."""
    properties = [shape.by_name[name] for name in shape.keys]

    def order(key: str) -> tuple[Any, ...]:
        parts = key.split("/")
        return tuple(
            comparable(prop, unquote(part))
            for prop, part in zip(
                properties, parts, strict=False
            )  # a beginning sorts before all of it
        )

    return order


def parenthesis(row: Mapping[str, Any], shape: EntityType, version: int) -> str:
    """`('1')` or `(A='1',B='2')`, percent-encoded as it stands in a URL."""
    literals = {
        name: quote(key_literal(shape.by_name[name], row[name], version), safe="'")
        for name in shape.keys
    }
    if len(literals) == 1:
        return f"({next(iter(literals.values()))})"
    return "(" + ",".join(f"{name}={literal}" for name, literal in literals.items()) + ")"


def read_parenthesis(text: str, shape: EntityType, version: int) -> str:
    """What stands between the parentheses of a decoded path -> the key text. Raises ValueError."""
    found: dict[str, Any] = {}
    at = 0
    while at < len(text):
        match = _NAMED.match(text, at)
        if match is None:
            raise ValueError(f"Malformed key predicate ({text})")
        name = match[1] or (shape.keys[0] if len(shape.keys) == 1 else "")
        if name not in shape.keys:
            raise ValueError(f"({text}) does not name the keys of {shape.name}")
        found[name] = read_literal(shape.by_name[name], match[2].strip(), version)
        at = match.end()
    if set(found) != set(shape.keys):
        raise ValueError(f"({text}) does not name every key of {shape.name}")
    return key_text(found, shape)
