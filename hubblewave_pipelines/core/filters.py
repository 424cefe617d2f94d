"""Filters as callers write them, `filter[f][op]=v` and `where={...}`, into one tree of typed literals."""

import difflib
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from hubblewave_pipelines.core.entity import Entity, Field, FieldKind, Json
from hubblewave_pipelines.core.query import (
    LISTS,
    OPERATORS,
    PATTERNS,
    All,
    AnyOf,
    Column,
    Comparison,
    Filter,
    Not,
    Operator,
    column_of,
)
from hubblewave_pipelines.core.values import TEXT_KINDS, Refused, from_json, from_text

MAX_NODES, MAX_DEPTH, MAX_CHOICES = 200, 8, 1000

_PARAMETER = re.compile(r"filter\[([^\[\]]*)\](?:\[([^\[\]]*)\])?")
_ITEM = re.compile(r"((?:[^\\,]|\\.)*)(,|\Z)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_YES_OR_NO = Field(id="", name="isNull", kind=FieldKind.BOOLEAN)


def hint(word: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt word, ready to append to a message; empty without a near one."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def find_column(entity: Entity, name: str) -> Column:
    """Raises Refused, with a suggestion, when the entity has no such field."""
    column = column_of(entity, name)
    if column is not None:
        return column
    relation = entity.relations_by_name.get(name)
    if relation is not None and relation.field in entity.references:
        raise Refused("unknown", f"is a relation; use {relation.field}, the id it refers to")
    raise Refused("unknown", f"{entity.name} has no field {name!r}{hint(name, entity.columns)}")


def _operator(column: Column, word: str) -> Operator:
    offered = OPERATORS[column.kind]
    if word not in list(Operator) or Operator(word) not in offered:
        known = ", ".join(op.value for op in Operator if op in offered)
        raise Refused(
            "operator", f"{column.name} ({column.kind}) has no operator {word}; it has {known}"
        )
    return Operator(word)


def _literal_field(column: Column, operator: Operator) -> Field:
    """The field whose values the operator's literal must be one of.

    Text is compared as text whatever its kind, so that part of an e-mail address can be found.
    """
    kind = column.kind
    if operator is Operator.IS_NULL:
        return _YES_OR_NO
    if operator in PATTERNS or (kind in TEXT_KINDS and kind is not FieldKind.ENUM):
        kind = FieldKind.TEXT
    return Field(id="", name=column.name, kind=kind, enum=column.enum)


def split_list(text: str) -> list[str]:
    """`a,b` as items; a backslash takes the next character as it is."""
    items: list[str] = []
    at = 0
    while True:
        match = _ITEM.match(text, at)
        if match is None:
            raise Refused("format", "ends in a lone backslash")
        items.append(_ESCAPED.sub(r"\1", match[1]))
        if match[2] == "":
            return items
        at = match.end()


def _choices(items: list[Any]) -> list[Any]:
    if not 1 <= len(items) <= MAX_CHOICES:
        raise Refused("range", f"takes 1 to {MAX_CHOICES} values")
    return items


def _compare(
    entity: Entity, name: str, word: str, read: Callable[[Field, Any], object], items: list[Any]
) -> Comparison:
    column = find_column(entity, name)
    operator = _operator(column, word)
    field = _literal_field(column, operator)
    if operator in LISTS:
        return Comparison(column, operator, tuple(read(field, item) for item in _choices(items)))
    if len(items) != 1:
        raise Refused("duplicate", f"{word} takes one value; in takes several")
    return Comparison(column, operator, read(field, items[0]))


def read_parameter(entity: Entity, parameter: str, texts: list[str]) -> Comparison:
    """The comparison that `filter[field]=` or `filter[field][operator]=` asks for.

    `texts` are all values given under this parameter. Raises Refused.
    """
    match = _PARAMETER.fullmatch(parameter)
    if match is None:
        raise Refused("format", "write filter[field]=value or filter[field][operator]=value")
    name, word = match[1], match[2] or Operator.EQ.value
    items = texts
    if word in (Operator.IN, Operator.NIN):
        items = [item for text in texts for item in split_list(text)]
        if items == [""]:
            raise Refused("range", f"takes 1 to {MAX_CHOICES} values")
    return _compare(entity, name, word, from_text, items)


class _Tree:
    """One `where` document being read: counts its nodes."""

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self._nodes = 0

    def read(self, value: Json, depth: int) -> Filter:
        if not isinstance(value, dict):
            raise Refused("type", 'must be an object like {"total":{"gte":10}}')
        if depth > MAX_DEPTH:
            raise Refused("depth", f"is nested more than {MAX_DEPTH} levels deep")
        parts = [self._member(key, item, depth) for key, item in value.items()]
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Refused("range", f"has more than {MAX_NODES} conditions")

    def _member(self, key: str, item: Json, depth: int) -> Filter:
        self._count()
        if key == "not":
            return Not(self.read(item, depth + 1))
        if key in ("and", "or"):
            if not isinstance(item, list) or not item:
                raise Refused("type", f"{key} takes a list of conditions")
            parts = tuple(self.read(part, depth + 1) for part in item)
            return All(parts) if key == "and" else AnyOf(parts)
        if not isinstance(item, dict):
            return self._comparison(key, Operator.EQ.value, item)
        if not item:
            raise Refused("type", f"{key} names no operator")
        parts = tuple(self._comparison(key, word, literal) for word, literal in item.items())
        return parts[0] if len(parts) == 1 else All(parts)

    def _comparison(self, name: str, word: str, literal: Json) -> Comparison:
        self._count()
        if literal is None:
            raise Refused("type", f"{name} cannot be compared with null; use isNull")
        several = word in (Operator.IN, Operator.NIN)
        if several and not isinstance(literal, list):
            raise Refused("type", f"{name} {word} takes a list of values")
        items = literal if several else [literal]
        if any(item is None for item in items):
            raise Refused("type", f"{name} cannot be compared with null; use isNull")
        return _compare(self._entity, name, word, from_json, items)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("duplicate", "names one condition twice; combine them with and")
    return found


def read_where(entity: Entity, text: str) -> Filter:
    """The filter of a `where` document: fields and operators, `and`, `or`, `not`. Raises Refused."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Refused("format", f"is not JSON: {error}") from error
    return _Tree(entity).read(value, 1)
