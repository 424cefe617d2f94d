"""SOQL read into a tree: SELECT, COUNT(), WHERE, ORDER BY, LIMIT, OFFSET. Nothing is guessed at."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hubblewave_pipelines.sandboxes.salesforce.refusing import malformed

_TOKENS = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<stamp>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?P<zone>Z|[+-]\d{2}:?\d{2})?)
    | (?P<date>\d{4}-\d{2}-\d{2})
    | (?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<literal>(?:LAST|NEXT)_N_DAYS:\d{1,5}(?!\d))
    | (?P<name>[A-Za-z][A-Za-z0-9_.]*)
    | (?P<sign><=|>=|!=|<>|[=<>(),])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "'": "'", '"': '"', "\\": "\\"}
_DAYS = ("TODAY", "YESTERDAY", "TOMORROW")


@dataclass(frozen=True, slots=True)
class DayLiteral:
    """TODAY, YESTERDAY, LAST_N_DAYS:7: resolved by the sandbox's clock."""

    name: str
    days: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    field: str
    operator: str  # = != < <= > >= like in not in
    value: Any  # str, Decimal, bool, None, date, datetime, DayLiteral, or a tuple of them


@dataclass(frozen=True, slots=True)
class Both:
    """All of `parts` (`and`) or any (`or`)."""

    word: str
    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: "Condition"


Condition = Comparison | Both | Not


@dataclass(slots=True)
class Soql:
    fields: tuple[str, ...]
    sobject: str
    count: bool = False
    where: Condition | None = None
    order: list[tuple[str, bool, bool | None]] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0
    all_rows: bool = False


def parse(text: str) -> Soql:
    """Raises Refused MALFORMED_QUERY, as Salesforce does."""
    return _Parser(text).query()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text) and text[at:].strip():
            found = _TOKENS.match(text, at)
            if found is None:
                raise malformed(f"line 1:{at} no viable alternative at character '{text[at]}'")
            kind = found.lastgroup or ""
            if kind == "zone":
                kind = "stamp"
            if kind == "stamp" and found["zone"] is None:
                raise malformed(f"line 1:{found.end()} no viable alternative at character '<EOF>'")
            self._tokens.append((kind, found[kind]))
            at = found.end()
        self._at = 0

    def query(self) -> Soql:
        self._word("SELECT")
        count = self._take("COUNT")
        if count:
            self._sign("(")
            self._sign(")")
            fields: list[str] = []
        else:
            fields = [self._selected()]
            while self._take_sign(","):
                fields.append(self._selected())
        self._word("FROM")
        found = Soql(tuple(fields), self._name(), count)
        if self._take("WHERE"):
            found.where = self._either()
        if self._take("ORDER"):
            self._word("BY")
            found.order.append(self._ordering())
            while self._take_sign(","):
                found.order.append(self._ordering())
        if self._take("LIMIT"):
            found.limit = self._whole()
        if self._take("OFFSET"):
            found.offset = self._whole()
        if self._take("ALL"):
            self._word("ROWS")
            found.all_rows = True
        if self._at < len(self._tokens):
            raise malformed(f"unexpected token: '{self._tokens[self._at][1]}'")
        return found

    def _selected(self) -> str:
        name = self._name()
        if self._take_sign("("):
            if name.upper() != "FIELDS":
                raise malformed(f"Grouped or aggregated fields are not supported here: {name}")
            which = self._name().upper()
            self._sign(")")
            return f"FIELDS({which})"
        return name

    def _ordering(self) -> tuple[str, bool, bool | None]:
        name = self._name()
        down = self._take("DESC")
        if not down:
            self._take("ASC")
        nulls_first: bool | None = None
        if self._take("NULLS"):
            nulls_first = self._take("FIRST")
            if not nulls_first:
                self._word("LAST")
        return name, down, nulls_first

    def _either(self) -> Condition:
        """AND and OR on one level need brackets, as in Salesforce."""
        parts = [self._one()]
        word = next((word for word in ("AND", "OR") if self._peek(word)), None)
        while word and self._take(word):
            parts.append(self._one())
        if self._peek("AND") or self._peek("OR"):
            raise malformed(f"unexpected token: '{self._tokens[self._at][1]}'")
        return parts[0] if len(parts) == 1 else Both((word or "").lower(), tuple(parts))

    def _one(self) -> Condition:
        if self._take("NOT"):
            return Not(self._one())
        if self._take_sign("("):
            found = self._either()
            self._sign(")")
            return found
        name = self._name()
        if self._take("LIKE"):
            return Comparison(name, "like", self._value())
        if self._take("IN"):
            return Comparison(name, "in", self._values())
        if self._take("NOT"):
            self._word("IN")
            return Comparison(name, "not in", self._values())
        kind, sign = self._next()
        if kind != "sign" or sign in "(),":
            raise malformed(f"unexpected token: '{sign}'")
        return Comparison(name, "!=" if sign == "<>" else sign, self._value())

    def _values(self) -> tuple[Any, ...]:
        self._sign("(")
        found = [self._value()]
        while self._take_sign(","):
            found.append(self._value())
        self._sign(")")
        return tuple(found)

    def _value(self) -> Any:
        kind, text = self._next()
        match kind:
            case "string":
                return re.sub(r"\\(.)", lambda m: _escaped(m[1]), text[1:-1], flags=re.DOTALL)
            case "number":
                return Decimal(text)
            case "date":
                return _or_malformed(date.fromisoformat, text)
            case "stamp":
                return _or_malformed(_utc, text)
            case "literal":
                name, _, days = text.partition(":")
                return DayLiteral(name.upper(), int(days))
        match text.upper():
            case "TRUE":
                return True
            case "FALSE":
                return False
            case "NULL":
                return None
            case word if word in _DAYS:
                return DayLiteral(word)
        raise malformed(f"unexpected token: '{text}'")

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise malformed("unexpected token: '<EOF>'")
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self, word: str) -> bool:
        return (
            self._at < len(self._tokens)
            and self._tokens[self._at][0] == "name"
            and self._tokens[self._at][1].upper() == word
        )

    def _take(self, word: str) -> bool:
        found = self._peek(word)
        self._at += found
        return found

    def _word(self, word: str) -> None:
        if not self._take(word):
            raise malformed(f"expecting '{word.lower()}', found '{self._next()[1]}'")

    def _take_sign(self, sign: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at] == ("sign", sign)
        self._at += found
        return found

    def _sign(self, sign: str) -> None:
        if not self._take_sign(sign):
            raise malformed(f"expecting '{sign}', found '{self._next()[1]}'")

    def _name(self) -> str:
        kind, text = self._next()
        if kind != "name":
            raise malformed(f"unexpected token: '{text}'")
        return text

    def _whole(self) -> int:
        kind, text = self._next()
        if kind != "number" or not text.isdigit():
            raise malformed(f"unexpected token: '{text}'")
        return int(text)


def _escaped(letter: str) -> str:
    if letter not in _ESCAPES:
        raise malformed(f"Illegal string literal: Invalid string escape sequence '\\{letter}'")
    return _ESCAPES[letter]


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _or_malformed(read: Any, text: str) -> Any:
    try:
        return read(text)
    except (ValueError, OverflowError) as error:
        raise malformed(f"Invalid date or time: {text}") from error
