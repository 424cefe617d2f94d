"""Encoded queries (`sysparm_query`): conditions joined by ^, ^OR and ^NQ, ordering, and what is silently ignored."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

Row = Mapping[str, str]
Read = Callable[[Row, str], str]
Test = Callable[[Row], bool]

OPERATORS = (
    "ISNOTEMPTY",
    "ISEMPTY",
    "EMPTYSTRING",
    "ANYTHING",
    "STARTSWITH",
    "ENDSWITH",
    "NOT LIKE",
    "NOTLIKE",
    "DOES NOT CONTAIN",
    "CONTAINS",
    "LIKE",
    "NOT IN",
    "NOTIN",
    "IN",
    "BETWEEN",
    "SAMEAS",
    ">=",
    "<=",
    "!=",
    "=",
    ">",
    "<",
)
OTHER_NAMES = {
    "NOT LIKE": "NOTLIKE",
    "DOES NOT CONTAIN": "NOTLIKE",
    "CONTAINS": "LIKE",
    "NOT IN": "NOTIN",
    "EMPTYSTRING": "ISEMPTY",
}
CONDITION = re.compile(
    rf"([a-z_][a-z0-9_.]*?)({'|'.join(re.escape(one) for one in OPERATORS)})(.*)", re.DOTALL
)
GENERATED = re.compile(
    r"javascript:gs\.dateGenerate\(['\"]([^'\"]+)['\"](?:,\s*['\"]([^'\"]+)['\"])?\)"
)


@dataclass(frozen=True, slots=True)
class Query:
    """`groups` are alternatives (^NQ) of conditions that all hold, each a list of alternatives (^OR).

    `ignored` holds what could not be read: an instance drops it without a word.
    """

    groups: tuple[tuple[tuple[Test, ...], ...], ...]
    order: tuple[tuple[str, bool], ...]  # field, descending
    ignored: tuple[str, ...]
    after: str | None = None  # of a plain `sys_id>X` that every row must meet

    def matches(self, row: Row) -> bool:
        return any(
            all(any(test(row) for test in tests) for tests in group) for group in self.groups
        )


def parse(
    text: str, kinds: Callable[[str], str | None], read: Read, shift: timedelta = timedelta(0)
) -> Query:
    """`kinds` tells a field's type (number, date, text), or None for one that there is not. `shift`
    is by how much dates are misread.
    """
    groups: list[list[list[Test]]] = [[]]
    order: list[tuple[str, bool]] = []
    ignored: list[str] = []
    after: str | None = None
    for part in split(text):
        if part in ("", "EQ"):
            continue
        if part.startswith("ORDERBY"):
            descending = part.startswith("ORDERBYDESC")
            field = part.removeprefix("ORDERBYDESC" if descending else "ORDERBY")
            if kinds(field) is None:
                ignored.append(part)
            else:
                order.append((field, descending))
            continue
        alternative = part.startswith("OR")
        if part.startswith("NQ"):
            groups.append([])
            part = part[2:]
        elif alternative:
            part = part[2:]
        found = CONDITION.fullmatch(part)
        kind = kinds(found[1]) if found else None
        if found is None or kind is None:
            ignored.append(part)
            continue
        test = _test(found[1], found[2], found[3], kind, read, shift)
        if alternative and groups[-1]:
            groups[-1][-1].append(test)
        else:
            groups[-1].append([test])
            if (found[1], found[2]) == ("sys_id", ">"):
                after = found[3]
    plain = len(groups) == 1 and all(len(tests) == 1 for tests in groups[0])
    return Query(
        tuple(tuple(tuple(tests) for tests in group) for group in groups),
        tuple(order),
        tuple(ignored),
        after if plain else None,
    )


def split(text: str) -> Iterator[str]:
    """The parts between carets; a doubled caret is one in a value."""
    part, place = "", 0
    while place < len(text):
        if text.startswith("^^", place):
            part += "^"
            place += 2
        elif text[place] == "^":
            yield part
            part = ""
            place += 1
        else:
            part += text[place]
            place += 1
    yield part


def collated(value: str) -> str:
    """What text sorts and compares by: without regard to case, letters before `_`."""
    return value.upper()


def _test(field: str, operator: str, value: str, kind: str, read: Read, shift: timedelta) -> Test:
    if kind == "date":
        value = GENERATED.sub(lambda found: f"{found[1]} {found[2] or ''}".strip(), value)
        value = "@".join(_shifted(one, shift) for one in value.split("@"))

    def key(text: str) -> Any:
        if kind != "number":
            return collated(text)
        try:
            return float(text)
        except ValueError:
            return None

    def compares(row: Row, how: str, wanted: Any) -> bool:
        held = read(row, field)
        return held != "" and _ordered(key(held), how, wanted)

    wanted, needle = key(value), collated(value)
    many = {key(one.strip()) for one in value.split(",")}
    low, _, high = value.partition("@")
    match OTHER_NAMES.get(operator, operator):
        case "=":
            return lambda row: key(read(row, field)) == wanted
        case "!=":
            return lambda row: key(read(row, field)) != wanted
        case "ISEMPTY":
            return lambda row: read(row, field) == ""
        case "ISNOTEMPTY":
            return lambda row: read(row, field) != ""
        case "ANYTHING":
            return lambda row: True
        case "STARTSWITH":
            return lambda row: collated(read(row, field)).startswith(needle)
        case "ENDSWITH":
            return lambda row: collated(read(row, field)).endswith(needle)
        case "LIKE":
            return lambda row: needle in collated(read(row, field))
        case "NOTLIKE":
            return lambda row: needle not in collated(read(row, field))
        case "IN":
            return lambda row: key(read(row, field)) in many
        case "NOTIN":
            return lambda row: key(read(row, field)) not in many
        case "SAMEAS":
            return lambda row: read(row, field) == read(row, value)
        case "BETWEEN":
            first, last = key(low), key(high)
            return lambda row: compares(row, ">=", first) and compares(row, "<=", last)
        case how:
            return lambda row: compares(row, how, wanted)


def _ordered(held: Any, how: str, wanted: Any) -> bool:
    if held is None or wanted is None:
        return False
    match how:
        case ">":
            return bool(held > wanted)
        case ">=":
            return bool(held >= wanted)
        case "<":
            return bool(held < wanted)
        case _:
            return bool(held <= wanted)


def _shifted(text: str, shift: timedelta) -> str:
    if not shift:
        return text
    try:
        return str(datetime.fromisoformat(text) + shift)
    except ValueError:
        return text
