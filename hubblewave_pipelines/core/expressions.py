"""The expression language of mappings: texts, exact numbers and truth, checked before the first row.

    [Unit price] * quantity                  a column by its name, in brackets if it is no word
    round(price * 1.19, 2)                   exact decimals, never floating point
    upper(trim(first)) & " " & [Last Name]   & joins texts
    if(stock > 0 and code <> "X", "in", "out")

Operators from weak to strong: `or`, `and`, `not`, comparisons `= <> < <= > >=`, `&`, `+ -`, `* /`,
unary `-`. An operand without value makes the result one without value, but for `&` (an empty text),
`coalesce` and `if`. Nothing else exists: no names, calls or attributes of Python.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import TypeAlias

from hubblewave_pipelines.core.expression_values import (
    CALLABLE,
    Kind,
    Unusable,
    Value,
    bounded,
    calculated,
    compared,
    number_of,
    text_of,
)

MAX_LENGTH = 2_000
_MAX_DEPTH = 50
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<text>"(?:[^"]|"")*")|\[(?P<column>[^\]]+)\]"""
    r"""|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign><>|<=|>=|[-+*/&=<>(),]))"""
)

Row: TypeAlias = Sequence[str | None]


class Wrong(Exception):
    """The expression is none: what is wrong, and near which character."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression. `columns` are those it reads, in the order in which a row gives them."""

    text: str
    kind: Kind
    columns: tuple[str, ...]
    evaluate: Callable[[Row], Value]


_Run: TypeAlias = Callable[[Row], Value]


@dataclass(frozen=True, slots=True)
class _Node:
    kind: Kind
    run: _Run


def _as_number(node: _Node) -> _Run:
    run = node.run
    return run if node.kind is Kind.NUMBER else lambda row: number_of(run(row))


def _as_text(node: _Node) -> _Run:
    run = node.run
    return run if node.kind is Kind.TEXT else lambda row: text_of(run(row))


_T, _N, _B = Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN
FUNCTIONS = (*CALLABLE, "coalesce", "if")


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str, columns: Sequence[str] | None) -> None:
        self.text = text
        self.known = columns
        self.used: dict[str, int] = {}
        self.depth = 0
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                raise Wrong(f"cannot be read from character {at + 1} on")
            self.tokens.append((found.lastgroup, found[found.lastgroup], found.start() + 1))
            at = found.end()
        self.at = 0

    def whole(self) -> _Node:
        found = self.either()
        if self.at < len(self.tokens):
            raise self.wrong(f'"{self.tokens[self.at][1]}" is not expected')
        return found

    def wrong(self, why: str) -> Wrong:
        at = self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text) + 1
        return Wrong(f"{why}, at character {at}")

    def taken(self, *words: str) -> str | None:
        """The next token if it is one of these signs or words."""
        if self.at == len(self.tokens):
            return None
        group, token, _ = self.tokens[self.at]
        if group in ("sign", "word") and token.lower() in words:
            self.at += 1
            return token.lower()
        return None

    def need(self, sign: str) -> None:
        if self.taken(sign) is None:
            raise self.wrong(f'"{sign}" is missing')

    def truth(self, node: _Node) -> _Run:
        if node.kind is not _B:
            raise self.wrong("a comparison is expected before this")
        return node.run

    def either(self) -> _Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.wrong(f"it is nested more than {_MAX_DEPTH} levels deep")
        left = self.both()
        while self.taken("or"):
            a, b = self.truth(left), self.truth(self.both())
            left = _Node(_B, lambda row, a=a, b=b: bool(a(row)) or bool(b(row)))  # type: ignore[misc]
        self.depth -= 1
        return left

    def both(self) -> _Node:
        left = self.negated()
        while self.taken("and"):
            a, b = self.truth(left), self.truth(self.negated())
            left = _Node(_B, lambda row, a=a, b=b: bool(a(row)) and bool(b(row)))  # type: ignore[misc]
        return left

    def negated(self) -> _Node:
        times = 0
        while self.taken("not"):
            times += 1
        found = self.comparison()
        if not times:
            return found
        run = self.truth(found)
        return _Node(_B, (lambda row: not run(row)) if times % 2 else run)

    def comparison(self) -> _Node:
        left = self.joined()
        sign = self.taken("=", "<>", "<", "<=", ">", ">=")
        if sign is None:
            return left
        right = self.joined()
        if _N in (left.kind, right.kind):
            a, b = _as_number(left), _as_number(right)
        else:
            if left.kind is not right.kind:
                raise self.wrong("a text is compared with a truth before this")
            a, b = left.run, right.run

        def run(row: Row) -> Value:
            x, y = a(row), b(row)
            return None if x is None or y is None else compared(sign, x, y)

        return _Node(_B, run)

    def joined(self) -> _Node:
        left = self.sum()
        while self.taken("&"):
            a, b = _as_text(left), _as_text(self.sum())
            left = _Node(_T, lambda row, a=a, b=b: bounded(f"{a(row) or ''}{b(row) or ''}"))  # type: ignore[misc]
        return left

    def sum(self) -> _Node:
        left = self.product()
        while sign := self.taken("+", "-"):
            left = self.arithmetic(sign, left, self.product())
        return left

    def product(self) -> _Node:
        left = self.unary()
        while sign := self.taken("*", "/"):
            left = self.arithmetic(sign, left, self.unary())
        return left

    def arithmetic(self, sign: str, left: _Node, right: _Node) -> _Node:
        a, b = self.number(left), self.number(right)

        def run(row: Row) -> Value:
            x, y = a(row), b(row)
            if not isinstance(x, Decimal) or not isinstance(y, Decimal):
                return None
            return calculated(sign, x, y)

        return _Node(_N, run)

    def number(self, node: _Node) -> _Run:
        if node.kind is _B:
            raise self.wrong("a number is expected before this")
        return _as_number(node)

    def unary(self) -> _Node:
        negative = False
        while self.taken("-"):
            negative = not negative
        found = self.atom()
        return self.arithmetic("-", _Node(_N, lambda _: Decimal(0)), found) if negative else found

    def atom(self) -> _Node:
        if self.at == len(self.tokens):
            raise self.wrong("it ends where a value is expected")
        group, token, _ = self.tokens[self.at]
        if group == "sign" and not token.startswith("("):
            raise self.wrong("a value is expected")
        self.at += 1
        if group == "sign":
            inner = self.either()
            self.need(")")
            return inner
        if group == "number":
            constant = Decimal(token)
            return _Node(_N, lambda _: constant)
        if group == "text":
            text = token[1:-1].replace('""', '"')
            return _Node(_T, lambda _: text)
        if group == "word" and token.lower() in ("true", "false"):
            truth = token.lower() == "true"
            return _Node(_B, lambda _: truth)
        if group == "word" and self.taken("("):
            return self.call(token.lower())
        return self.column(token)

    def column(self, name: str) -> _Node:
        if self.known is not None and name not in self.known:
            self.at -= 1
            raise self.wrong(f'the file has no column "{name[:60]}"')
        place = self.used.setdefault(name, len(self.used))
        return _Node(_T, lambda row: row[place])

    def arguments(self) -> list[_Node]:
        if self.taken(")"):
            return []
        found = [self.either()]
        while self.taken(","):
            found.append(self.either())
        self.need(")")
        return found

    def call(self, name: str) -> _Node:
        given = self.arguments()
        if name == "if":
            return self.choice(given)
        if name == "coalesce":
            return self.first(given)
        if name not in CALLABLE:
            raise self.wrong(f"there is no {name}(); there are {', '.join(FUNCTIONS)}")
        kind, takes, least, function = CALLABLE[name]
        if not least <= len(given) <= len(takes):
            raise self.wrong(f"{name}() takes {least} to {len(takes)} values")
        runs = [
            self.number(node) if want is _N else _as_text(node)
            for node, want in zip(given, takes, strict=False)
        ]

        def run(row: Row) -> Value:
            values = [one(row) for one in runs]
            if any(value is None for value in values):
                return None
            try:
                return function(*values)
            except DecimalException as error:
                raise Unusable("a number out of range") from error

        return _Node(kind, run)

    def choice(self, given: list[_Node]) -> _Node:
        if len(given) != 3:
            raise self.wrong("if() takes a comparison and two values")
        test, (kind, (a, b)) = self.truth(given[0]), self.alike(given[1:])
        return _Node(kind, lambda row: a(row) if test(row) else b(row))

    def first(self, given: list[_Node]) -> _Node:
        if not given:
            raise self.wrong("coalesce() takes at least one value")
        kind, runs = self.alike(given)

        def run(row: Row) -> Value:
            for one in runs:
                value = one(row)
                if value is not None and value != "":
                    return value
            return None

        return _Node(kind, run)

    def alike(self, nodes: list[_Node]) -> tuple[Kind, list[_Run]]:
        kinds = {node.kind for node in nodes}
        if len(kinds) == 1:
            return nodes[0].kind, [node.run for node in nodes]
        return _T, [_as_text(node) for node in nodes]


def parse_expression(text: str, columns: Sequence[str] | None) -> Expression:
    """A checked expression over the columns of a file (None: not all are known). Raises Wrong."""
    if len(text) > MAX_LENGTH:
        raise Wrong(f"it is longer than {MAX_LENGTH} characters")
    parser = _Parser(text, columns)
    node = parser.whole()
    return Expression(text, node.kind, tuple(parser.used), node.run)
