"""Filters as callers write them, `filter[f][op]=v` and `where={...}`, into one tree of typed literals."""

import difflib
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from hubblewave_pipelines.core.entity import Catalog, Entity, Field, FieldKind, Json
from hubblewave_pipelines.core.hops import Hop, hop_of
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
    Quantifier,
    Related,
    column_of,
)
from hubblewave_pipelines.core.values import TEXT_KINDS, Refused, from_json, from_text

MAX_NODES, MAX_DEPTH, MAX_CHOICES = 200, 8, 1000
MAX_WORDS, MAX_SEARCH = 10, 200

_PARAMETER = re.compile(r"filter((?:\[[^\[\]]*\])+)")
_GROUP = re.compile(r"\[([^\[\]]*)\]")
_ITEM = re.compile(r"((?:[^\\,]|\\.)*)(,|\Z)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_LONE_ESCAPE = re.compile(r"(?:[^\\]|\\.)*\\", re.DOTALL)
_YES_OR_NO = Field(id="", name="isNull", kind=FieldKind.BOOLEAN)
_QUANTIFIERS = [word.value for word in Quantifier if word is not Quantifier.ONE]
# What a search for words looks into.
SEARCHED = (FieldKind.TEXT, FieldKind.LONGTEXT, FieldKind.EMAIL, FieldKind.URL)


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
    if relation is not None:
        raise Refused("unknown", f"{name} is a relation to {relation.target}, not a field")
    raise Refused("unknown", f"{entity.name} has no field {name!r}{hint(name, entity.columns)}")


def follow(entity: Entity, path: str, catalog: Catalog) -> tuple[tuple[Hop, ...], Entity, str]:
    """A dotted path as the manyToOne hops it takes, the entity it ends at, and its last name.

    Raises Refused when a step is no relation, or one to several records.
    """
    *steps, last = path.split(".")
    if len(steps) > MAX_DEPTH:
        raise Refused("depth", f"follows more than {MAX_DEPTH} relations")
    hops: list[Hop] = []
    for name in steps:
        hop = hop_of(entity, name, catalog)
        if hop is None:
            known = hint(name, entity.relations_by_name)
            raise Refused("unknown", f"{entity.name} has no relation {name!r}{known}")
        if hop.many:
            raise Refused(
                "quantifier", f"{name} leads to several records; only a manyToOne goes in a path"
            )
        hops.append(hop)
        entity = hop.target
    return tuple(hops), entity, last


def _operator(column: Column, word: str) -> Operator:
    offered = OPERATORS[column.kind]
    if word not in list(Operator) or Operator(word) not in offered:
        known = ", ".join(op.value for op in Operator if op in offered)
        raise Refused(
            "operator",
            f"{column.name} ({column.kind}) has no operator {word[:60]!r}; it has {known}",
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


def _takes_list(word: str) -> bool:
    return word in (Operator.IN, Operator.NIN, Operator.BETWEEN)


def _comparison(
    column: Column, word: str, read: Callable[[Field, Any], object], items: list[Any]
) -> Comparison:
    operator = _operator(column, word)
    field = _literal_field(column, operator)
    if operator in LISTS and not 1 <= len(items) <= MAX_CHOICES:
        raise Refused("range", f"takes 1 to {MAX_CHOICES} values")
    if operator is Operator.BETWEEN and len(items) != 2:
        raise Refused("range", "between takes two values, the least and the greatest")
    if _takes_list(operator):
        return Comparison(column, operator, tuple(read(field, item) for item in items))
    if len(items) != 1:
        raise Refused("duplicate", f"{word} takes one value; in takes several")
    value = read(field, items[0])
    if operator is Operator.LIKE and _LONE_ESCAPE.fullmatch(str(value)):
        raise Refused("format", "ends in a backslash that escapes nothing; write two for one")
    return Comparison(column, operator, value)


def _wrapped(hops: Iterable[Hop], part: Filter) -> Filter:
    for hop in reversed(tuple(hops)):
        part = Related(hop, Quantifier.ONE, part)
    return part


class Conditions:
    """The filters of one request being read: counts their conditions, follows their relations."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._nodes = 0

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Refused("range", f"has more than {MAX_NODES} conditions")
        if depth > MAX_DEPTH:
            raise Refused("depth", f"is nested more than {MAX_DEPTH} levels deep")

    def parameter(self, entity: Entity, parameter: str, texts: list[str]) -> Filter:
        """The condition that `filter[field]=` or `filter[field][operator]=` states, where field
        may be a path of relations. `texts` are all values given under it. Raises Refused.
        """
        match = _PARAMETER.fullmatch(parameter)
        if match is None:
            raise Refused("format", "write filter[field]=value or filter[field][operator]=value")
        return self._groups(entity, _GROUP.findall(match[1]), texts, 1)

    def _groups(self, entity: Entity, groups: list[str], texts: list[str], depth: int) -> Filter:
        self._count(depth)
        hops, owner, name = follow(entity, groups[0], self._catalog)
        rest, depth = groups[1:], depth + len(hops)
        self._count(depth)
        hop = None if column_of(owner, name) else hop_of(owner, name, self._catalog)
        if hop is not None and hop.many:
            if not rest or rest[0] not in _QUANTIFIERS or len(rest) < 2:
                raise Refused(
                    "quantifier",
                    f"{name} leads to several records: write {name} and [some], [none] or [every], "
                    "then a field of theirs",
                )
            part = self._groups(hop.target, rest[1:], texts, depth + 1)
            return _wrapped(hops, Related(hop, Quantifier(rest[0]), part))
        if hop is not None and rest:
            return _wrapped([*hops, hop], self._groups(hop.target, rest, texts, depth + 1))
        column = find_column(owner, name)
        if len(rest) > 1:
            raise Refused("format", "write filter[field]=value or filter[field][operator]=value")
        word = rest[0] if rest else Operator.EQ.value
        items = texts
        if _takes_list(word):
            items = [item for text in texts for item in split_list(text)]
            if items == [""]:
                items = []
        return _wrapped(hops, _comparison(column, word, from_text, items))

    def text(self, entity: Entity, text: str) -> Filter:
        """The filter of a `where` document given as text. Raises Refused."""
        try:
            value = json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise Refused("format", f"is not JSON: {error}") from error
        return self.tree(entity, value)

    def tree(self, entity: Entity, value: Json, depth: int = 1) -> Filter:
        """The filter of a `where` document: fields and operators, relations, `and`, `or`, `not`.

        Raises Refused.
        """
        if not isinstance(value, dict):
            raise Refused("type", 'must be an object like {"total":{"gte":10}}')
        if depth > MAX_DEPTH:
            raise Refused("depth", f"is nested more than {MAX_DEPTH} levels deep")
        parts = [self._member(entity, key, item, depth) for key, item in value.items()]
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _member(self, entity: Entity, key: str, item: Json, depth: int) -> Filter:
        self._count(depth)
        if key == "not":
            return Not(self.tree(entity, item, depth + 1))
        if key in ("and", "or"):
            if not isinstance(item, list) or not item:
                raise Refused("type", f"{key} takes a list of conditions")
            parts = tuple(self.tree(entity, part, depth + 1) for part in item)
            return All(parts) if key == "and" else AnyOf(parts)
        hops, owner, name = follow(entity, key, self._catalog)
        hop = None if column_of(owner, name) else hop_of(owner, name, self._catalog)
        depth += len(hops)
        if hop is not None and isinstance(item, dict):
            return _wrapped(hops, self._related(hop, item, depth))
        column = find_column(owner, name)
        if not isinstance(item, dict):
            return _wrapped(hops, self._compare(column, Operator.EQ.value, item, depth))
        if not item:
            raise Refused("type", f"{key} names no operator")
        parts = tuple(self._compare(column, word, value, depth) for word, value in item.items())
        return _wrapped(hops, parts[0] if len(parts) == 1 else All(parts))

    def _related(self, hop: Hop, item: dict[str, Json], depth: int) -> Filter:
        if not hop.many:
            return Related(hop, Quantifier.ONE, self.tree(hop.target, item, depth + 1))
        unknown = [word for word in item if word not in _QUANTIFIERS]
        if unknown or not item:
            raise Refused(
                "quantifier", f"{hop.name} leads to several records; it takes some, none or every"
            )
        parts = []
        for word, value in item.items():
            self._count(depth)
            part = self.tree(hop.target, value, depth + 1)
            parts.append(Related(hop, Quantifier(word), part))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _compare(self, column: Column, word: str, literal: Json, depth: int) -> Comparison:
        self._count(depth)
        if literal is None:
            raise Refused("type", f"{column.name} cannot be compared with null; use isNull")
        if _takes_list(word) and not isinstance(literal, list):
            raise Refused("type", f"{column.name} {word} takes a list of values")
        items = literal if _takes_list(word) else [literal]
        if any(item is None for item in items):
            raise Refused("type", f"{column.name} cannot be compared with null; use isNull")
        return _comparison(column, word, from_json, items)


def search(entity: Entity, text: str) -> Filter:
    """Every word of the text occurs in some text field, whatever its case. Raises Refused."""
    if "\x00" in text or len(text) > MAX_SEARCH:
        raise Refused("range", f"takes at most {MAX_SEARCH} characters, none of them NUL")
    columns = [column_of(entity, f.name) for f in entity.fields if f.kind in SEARCHED]
    if not columns:
        raise Refused("operator", f"{entity.name} has no text field to search in")
    words = text.split()
    if not 1 <= len(words) <= MAX_WORDS:
        raise Refused("range", f"takes 1 to {MAX_WORDS} words")
    return All(
        tuple(
            AnyOf(tuple(Comparison(c, Operator.ICONTAINS, word) for c in columns if c is not None))
            for word in words
        )
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("duplicate", "names one condition twice; combine them with and")
    return found
