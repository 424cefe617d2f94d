"""$filter: its text -> a predicate over rows, and the place in the key's order where matches begin."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hubblewave_pipelines.sandboxes.sap.literals import BadLiteral, comparable, read_literal
from hubblewave_pipelines.sandboxes.sap.model import EntityType, Property

Row = Mapping[str, Any]
Predicate = Callable[[Row], bool]

_TOKEN = re.compile(
    r"\s*(?:([(),])|((?:datetimeoffset|datetime|time|guid)?'(?:[^']|'')*')"
    r"|([A-Za-z_][A-Za-z0-9_/]*(?=\s*\())|([^\s(),]+))"
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "gt": lambda a, b: a is not None and a > b,
    "ge": lambda a, b: a is not None and a >= b,
    "lt": lambda a, b: a is not None and a < b,
    "le": lambda a, b: a is not None and a <= b,
}
_FUNCTIONS = {
    2: {"substringof", "startswith", "endswith"},
    4: {"contains", "startswith", "endswith"},
}


class BadFilter(ValueError):
    """The text is no $filter, or asks for what the service cannot do."""


@dataclass(frozen=True, slots=True)
class Filter:
    """`low`: rows before it in the key's order cannot match (a row of just this key cannot either)."""

    matches: Predicate
    low: Any = None


def parse_filter(
    text: str, shape: EntityType, version: int, shift: timedelta = timedelta(0)
) -> Filter:
    """`shift` is how far a system is off that reads instants in another zone. Raises BadFilter."""
    return _Parser(text, shape, version, shift).whole()


class _Parser:
    def __init__(self, text: str, shape: EntityType, version: int, shift: timedelta) -> None:
        self.shift = shift
        self.shape = shape
        self.version = version
        self.tokens = list(self._split(text))
        self.at = 0
        self.low: Any = None

    def _split(self, text: str) -> list[str]:
        found, at = [], 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise BadFilter(f"Invalid token at position {at}")
            found.append(match[0].strip())
            at = match.end()
        return found

    def whole(self) -> Filter:
        matches = self._or(top=True)
        if self.at < len(self.tokens):
            raise BadFilter(f"Unexpected '{self.tokens[self.at]}'")
        return Filter(matches, self.low)

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise BadFilter("Expression ends too early")
        self.at += 1
        return token

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise BadFilter(f"'{token}' expected")

    def _or(self, *, top: bool) -> Predicate:
        parts = [self._and(top=top)]
        while self._peek() == "or":
            self.at += 1
            if top:
                self.low = None  # a disjunction bounds nothing
            parts.append(self._and(top=False))
        if len(parts) == 1:
            return parts[0]
        return lambda row: any(part(row) for part in parts)

    def _and(self, *, top: bool) -> Predicate:
        parts = [self._not(top=top)]
        while self._peek() == "and":
            self.at += 1
            parts.append(self._not(top=top))
        if len(parts) == 1:
            return parts[0]
        if len(parts) == 2:
            first, second = parts
            return lambda row: first(row) and second(row)
        return lambda row: all(part(row) for part in parts)

    def _not(self, *, top: bool) -> Predicate:
        if self._peek() == "not":
            self.at += 1
            part = self._not(top=False)
            return lambda row: not part(row)
        if self._peek() == "(":
            self.at += 1
            inner = self._or(top=False)
            self._expect(")")
            return inner
        return self._test(top=top)

    def _property(self, name: str) -> Property:
        prop = self.shape.by_name.get(name)
        if prop is None:
            raise BadFilter(f"Property '{name}' not found in type '{self.shape.name}'")
        if not prop.filterable:
            raise BadFilter(f"Property '{name}' is not filterable")
        return prop

    def _literal(self, prop: Property, text: str) -> Any:
        try:
            value = comparable(prop, read_literal(prop, text, self.version))
        except BadLiteral as error:
            raise BadFilter(str(error)) from error
        return value + self.shift if isinstance(value, datetime) else value

    def _test(self, *, top: bool) -> Predicate:
        word = self._next()
        if self._peek() == "(":
            return self._called(word)
        prop, operator = self._property(word), self._next()
        compare = _COMPARE.get(operator)
        if compare is None:
            raise BadFilter(f"Unknown operator '{operator}'")
        value = self._literal(prop, self._next())
        if value is None and operator not in ("eq", "ne"):
            raise BadFilter(f"null cannot be compared by '{operator}'")
        bounds = ("gt",) if len(self.shape.keys) == 1 else ("gt", "ge")
        if top and operator in bounds and prop.name == self.shape.keys[0]:
            self.low = value
        name = prop.name
        if prop.alpha:
            return lambda row: compare(comparable(prop, row[name]), value)
        return lambda row: compare(row[name], value)

    def _called(self, name: str) -> Predicate:
        if name not in _FUNCTIONS[self.version]:
            raise BadFilter(f"Unknown function '{name}'")
        self._expect("(")
        first = self._next()
        self._expect(",")
        second = self._next()
        self._expect(")")
        if self._peek() == "eq":  # V2 clients write `substringof('x',A) eq true`
            self.at += 1
            if self._next() != "true":
                raise BadFilter("only 'eq true' may follow a function")
        if name == "substringof":
            first, second = second, first
        prop = self._property(first)
        value = self._literal(prop, second)
        if not isinstance(value, str):
            raise BadFilter(f"'{name}' compares strings")
        key = prop.name
        if name == "startswith":
            return lambda row: (row[key] or "").startswith(value)
        if name == "endswith":
            return lambda row: (row[key] or "").endswith(value)
        return lambda row: value in (row[key] or "")
