"""The transforms of a mapping: steps that turn cells of text into others, named, typed, in order.

`TRANSFORMS` is the one list of them: the reader below, the JSON Schema and the page follow it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import re2

from hubblewave_pipelines.core.entity import FieldKind, Json
from hubblewave_pipelines.core.expressions import Expression, Wrong, parse_expression
from hubblewave_pipelines.core.reading import Reading, below, suggestion
from hubblewave_pipelines.core.values import FALSE_WORDS, TRUE_WORDS, pattern

MAX_STEPS = 20
MAX_COLUMNS = 100
MAX_VALUES = 10_000
_LONGEST = 2_000


class Gives(StrEnum):
    """What a step leaves behind. All but a list are text cells of a certain form."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    LIST = "list"


# What fields a result can fill; a text can fill any.
FILLS: Mapping[Gives, frozenset[FieldKind]] = {
    Gives.NUMBER: frozenset(FieldKind)
    - {FieldKind.DATE, FieldKind.DATETIME, FieldKind.UUID, FieldKind.EMAIL, FieldKind.URL},
    Gives.BOOLEAN: frozenset(
        {FieldKind.BOOLEAN, FieldKind.TEXT, FieldKind.LONGTEXT, FieldKind.ENUM, FieldKind.JSON}
    ),
    Gives.DATE: frozenset({FieldKind.DATE, FieldKind.DATETIME}),
    Gives.LIST: frozenset({FieldKind.JSON, FieldKind.TEXT, FieldKind.LONGTEXT}),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One transform with its arguments read. `body` is its JSON form, `columns` what it reads
    beside the value so far."""

    name: str
    body: Json
    gives: Gives
    columns: tuple[str, ...] = ()
    separator: str = ""
    part: int | None = None
    text: str = ""  # default value, pattern, date form
    replacement: str = ""
    decimal: str = "."
    thousands: str = ""
    true: frozenset[str] = TRUE_WORDS
    false: frozenset[str] = FALSE_WORDS
    values: Mapping[str, str | None] = field(default_factory=dict)
    otherwise: str = "keep"
    parts: tuple[tuple[str, str], ...] = ()  # of concat: ("text" | "column" | "value", what)
    expression: Expression | None = None

    @property
    def starts(self) -> bool:
        """Whether the step needs no value before it."""
        return self.name in ("concat", "coalesce", "expression", "default") or bool(self.columns)


class StepReader:
    """Steps of one mapping entry; faults go to `reading`. `header` None: any column may exist."""

    def __init__(self, header: Sequence[str] | None, reading: Reading) -> None:
        self.header = header
        self.reading = reading

    def step(self, name: str, args: Json, before: Gives, at: str) -> Step | None:
        """One step after a step that gives `before`."""
        taking = Gives.LIST if name == "join" and not _names_columns(args) else Gives.TEXT
        if (before is Gives.LIST) != (taking is Gives.LIST) and name not in ("default", "concat"):
            needs = "a list, as split gives" if taking is Gives.LIST else "a text, not a list"
            self.reading.fault(at, "type", f"{name} takes {needs}")
            return None
        read = getattr(self, f"_{name}")
        step: Step | None = read(args, at)
        return step

    def _flag(self, name: str, args: Json, at: str) -> Step | None:
        if args is not True:
            self.reading.fault(at, "type", f"{name} must be true")
            return None
        return Step(name, {name: True}, Gives.TEXT)

    def _trim(self, args: Json, at: str) -> Step | None:
        return self._flag("trim", args, at)

    def _upper(self, args: Json, at: str) -> Step | None:
        return self._flag("upper", args, at)

    def _lower(self, args: Json, at: str) -> Step | None:
        return self._flag("lower", args, at)

    def _title(self, args: Json, at: str) -> Step | None:
        return self._flag("title", args, at)

    def _number(self, args: Json, at: str) -> Step | None:
        body = {} if args is True else self._object(args, ("decimal", "thousands"), at)
        if body is None:
            return None
        decimal, thousands = body.get("decimal", "."), body.get("thousands", "")
        if decimal not in (".", ","):
            self.reading.fault(below(at, "decimal"), "enum", 'decimal must be "." or ","')
        elif thousands not in ("", ".", ",", " ", "'", "_") or thousands == decimal:
            self.reading.fault(
                below(at, "thousands"),
                "enum",
                "thousands must be another one of . , ' _ or a space",
            )
        else:
            return Step(
                "number",
                {"number": args},
                Gives.NUMBER,
                decimal=str(decimal),
                thousands=str(thousands),
            )
        return None

    def _boolean(self, args: Json, at: str) -> Step | None:
        body = {} if args is True else self._object(args, ("true", "false"), at)
        if body is None:
            return None
        words: list[frozenset[str]] = []
        for key, usual in (("true", TRUE_WORDS), ("false", FALSE_WORDS)):
            given = body.get(key)
            listed = given if isinstance(given, list) else [given]
            if given is None:
                words.append(usual)
            elif all(isinstance(word, str) and word for word in listed):
                words.append(frozenset(str(word).lower() for word in listed))
            else:
                self.reading.fault(below(at, key), "type", "must be a word or a list of words")
                return None
        if words[0] & words[1]:
            both = sorted(words[0] & words[1])[0]
            self.reading.fault(at, "duplicate", f'"{both}" cannot mean both true and false')
            return None
        return Step("boolean", {"boolean": args}, Gives.BOOLEAN, true=words[0], false=words[1])

    def _date(self, args: Json, at: str) -> Step | None:
        if not isinstance(args, str) or "%" not in args or len(args) > 100:
            self.reading.fault(at, "format", "must be a form like %d.%m.%Y")
            return None
        return Step("date", {"date": args}, Gives.DATE, text=args)

    def _split(self, args: Json, at: str) -> Step | None:
        body = self._object(args, ("separator", "part"), at)
        if body is None:
            return None
        separator = self._text(body.get("separator"), below(at, "separator"), least=1)
        part = body.get("part")
        if part is not None and (not isinstance(part, int) or isinstance(part, bool) or not part):
            self.reading.fault(
                below(at, "part"), "range", "part must be a number from 1, or from -1 from the end"
            )
            return None
        if separator is None:
            return None
        gives = Gives.LIST if part is None else Gives.TEXT
        return Step("split", {"split": args}, gives, separator=separator, part=part)

    def _join(self, args: Json, at: str) -> Step | None:
        body = self._object(args, ("separator", "columns"), at)
        if body is None:
            return None
        separator = self._text(body.get("separator", " "), below(at, "separator"))
        columns = body.get("columns")
        found = () if columns is None else self._columns(columns, below(at, "columns"))
        if separator is None or found is None:
            return None
        return Step("join", {"join": args}, Gives.TEXT, found, separator=separator)

    def _default(self, args: Json, at: str) -> Step | None:
        text = _plain(args)
        if text is None:
            self.reading.fault(at, "type", "default must be a text, a number, true or false")
            return None
        return Step("default", {"default": args}, Gives.TEXT, text=text)

    def _concat(self, args: Json, at: str) -> Step | None:
        if not isinstance(args, list) or not args or len(args) > MAX_COLUMNS:
            self.reading.fault(at, "type", "concat must be a list of texts and columns")
            return None
        parts: list[tuple[str, str]] = []
        for index, item in enumerate(args):
            if isinstance(item, str):
                parts.append(("text", item))
            elif item == {"value": True}:
                parts.append(("value", ""))
            elif isinstance(item, dict) and set(item) == {"column"}:
                found = self._columns([item["column"]], below(at, index))
                parts.append(("column", found[0] if found else ""))
            else:
                self.reading.fault(
                    below(at, index), "type", 'must be a text, {"column": name} or {"value": true}'
                )
        named = dict.fromkeys(what for kind, what in parts if kind == "column")
        return Step("concat", {"concat": args}, Gives.TEXT, tuple(named), parts=tuple(parts))

    def _coalesce(self, args: Json, at: str) -> Step | None:
        found = self._columns(args, at)
        if found is None:
            return None
        return Step("coalesce", {"coalesce": args}, Gives.TEXT, found)

    def _regexReplace(self, args: Json, at: str) -> Step | None:
        body = self._object(args, ("pattern", "with"), at)
        if body is None:
            return None
        given = self._text(body.get("pattern"), below(at, "pattern"), least=1)
        new = self._text(body.get("with", ""), below(at, "with"))
        if given is None or new is None:
            return None
        try:
            pattern(given).sub(new, "")
        except (re2.error, ValueError) as error:
            self.reading.fault(at, "format", f"this is no RE2 pattern and replacement: {error}")
            return None
        return Step("regexReplace", {"regexReplace": args}, Gives.TEXT, text=given, replacement=new)

    def _map(self, args: Json, at: str) -> Step | None:
        body = self._object(args, ("values", "otherwise"), at)
        if body is None:
            return None
        values, otherwise = body.get("values"), body.get("otherwise", "keep")
        if not isinstance(values, dict) or not values or len(values) > MAX_VALUES:
            self.reading.fault(
                below(at, "values"), "type", "must be an object of old to new values"
            )
            return None
        new = {key: _plain(value) for key, value in values.items()}
        wrong = next((k for k, v in new.items() if v is None and values[k] is not None), None)
        if wrong is not None:
            where = below(below(at, "values"), wrong)
            self.reading.fault(where, "type", "must be a text, a number, true, false or null")
            return None
        if otherwise not in ("keep", "null", "reject"):
            where = below(at, "otherwise")
            self.reading.fault(where, "enum", "otherwise must be keep, null or reject")
            return None
        return Step("map", {"map": args}, Gives.TEXT, values=new, otherwise=str(otherwise))

    def _expression(self, args: Json, at: str) -> Step | None:
        if not isinstance(args, str):
            self.reading.fault(at, "type", 'must be a text like "price * 1.19"')
            return None
        try:
            found = parse_expression(args, self.header)
        except Wrong as wrong:
            self.reading.fault(at, "format", f"the expression {wrong}")
            return None
        gives = Gives(found.kind.value)
        return Step("expression", {"expression": args}, gives, found.columns, expression=found)

    def _object(self, args: Json, known: tuple[str, ...], at: str) -> dict[str, Json] | None:
        if not isinstance(args, dict):
            self.reading.fault(at, "type", f"must be an object with {', '.join(known)}")
            return None
        before = len(self.reading.faults)
        self.reading.keys(args, known, at)
        return args if len(self.reading.faults) == before else None

    def _text(self, value: Json, at: str, *, least: int = 0) -> str | None:
        if not isinstance(value, str) or not least <= len(value) <= _LONGEST:
            self.reading.fault(at, "type", f"must be a text of {least} to {_LONGEST} characters")
            return None
        return value

    def _columns(self, value: Json, at: str) -> tuple[str, ...] | None:
        named = value if isinstance(value, list) else None
        if not named or len(named) > MAX_COLUMNS:
            self.reading.fault(at, "type", f"must be a list of 1 to {MAX_COLUMNS} columns")
            return None
        found: list[str] = []
        for index, name in enumerate(named):
            if isinstance(name, str) and (self.header is None or name in self.header):
                found.append(name)
                continue
            hint = suggestion(name, self.header or ()) if isinstance(name, str) else ""
            shown = name[:60] if isinstance(name, str) else "this"
            where = below(at, index)
            self.reading.fault(where, "unknown", f'the file has no column "{shown}"{hint}')
        return tuple(found) if len(found) == len(named) else None


def _names_columns(args: Json) -> bool:
    return isinstance(args, dict) and args.get("columns") is not None


def _plain(value: Json) -> str | None:
    """A scalar as a cell of text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None
