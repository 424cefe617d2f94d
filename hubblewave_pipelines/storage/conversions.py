"""Values of one kind as values of another, in SQL: which pairs there are, and what each loses."""

from collections.abc import Mapping
from dataclasses import dataclass

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.values import FALSE_WORDS, TEXT_KINDS, TRUE_WORDS
from hubblewave_pipelines.storage.json_values import as_json
from hubblewave_pipelines.storage.physical import SQL_TYPES, literal

_LEAST, _MOST = "-9223372036854775808", "9223372036854775807"
_IN_RANGE = f"{{}}::numeric between {_LEAST} and {_MOST}"
# Whether a text is one of these its form says, and for integers their size.
_BY_FORM = frozenset({FieldKind.INTEGER, FieldKind.DECIMAL, FieldKind.UUID})
_WORDS = {
    FieldKind.INTEGER: "a whole number of 64 bits",
    FieldKind.NUMBER: "a number that a double holds exactly",
    FieldKind.DECIMAL: "a decimal",
    FieldKind.BOOLEAN: "true or false",
    FieldKind.DATE: "a date",
    FieldKind.DATETIME: "a time",
    FieldKind.UUID: "a UUID",
    FieldKind.JSON: "JSON",
}
# What a text must look like. Lengths and calendars are checked apart, by `hubblewave.fits`.
_FORMS = {
    FieldKind.INTEGER: r"^[+-]?[0-9]{1,19}$",
    FieldKind.NUMBER: r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$",
    FieldKind.DECIMAL: r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$",
    FieldKind.DATE: r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    FieldKind.DATETIME: r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}"
    r"(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?$",
    FieldKind.UUID: r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
    FieldKind.JSON: r".",
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """SQL templates over `{}`, the old value. `value` never fails: null where nothing fits. `exact`
    holds where nothing is lost; None: it always does. `rule` says what exact values are."""

    value: str
    exact: str | None = None
    rule: str = ""

    def of(self, expression: str) -> str:
        return self.value.replace("{}", expression)

    def loses_nothing(self, expression: str) -> str:
        return "true" if self.exact is None else self.exact.replace("{}", expression)


def _words(words: frozenset[str]) -> str:
    return ", ".join(literal(word) for word in sorted(words))


def _from_text(now: FieldKind) -> Conversion:
    rule = "a number" if now is FieldKind.NUMBER else _WORDS[now]
    if now is FieldKind.BOOLEAN:
        yes = f"lower({{}}) in ({_words(TRUE_WORDS)})"
        no = f"lower({{}}) in ({_words(FALSE_WORDS)})"
        return Conversion(
            f"case when {yes} then true when {no} then false end", f"({yes} or {no})", rule
        )
    kind = SQL_TYPES[now]
    if now in _BY_FORM:
        more = f"{_IN_RANGE}" if now is FieldKind.INTEGER else "true"
        fits = f"case when {{}} ~ {literal(_FORMS[now])} then {more} else false end"
        return Conversion(f"case when {fits} then {{}}::{kind} end", f"({fits})", rule)
    fits = f"case when {{}} ~ {literal(_FORMS[now])} then hubblewave.fits({{}}, '{kind}') else false end"
    return Conversion(f"case when {fits} then {{}}::{kind} end", f"({fits})", rule)


_MIDNIGHT = "({} at time zone 'UTC')"
_BETWEEN: Mapping[tuple[FieldKind, FieldKind], Conversion] = {
    (FieldKind.INTEGER, FieldKind.DECIMAL): Conversion("{}::numeric"),
    (FieldKind.INTEGER, FieldKind.NUMBER): Conversion(
        "{}::double precision", "(abs({}::numeric) <= 9007199254740992)", _WORDS[FieldKind.NUMBER]
    ),
    # By way of text, which is the shortest that reads back: a cast would round to 15 digits.
    (FieldKind.NUMBER, FieldKind.DECIMAL): Conversion("({}::text)::numeric"),
    (FieldKind.NUMBER, FieldKind.INTEGER): Conversion(
        "case when {} >= -9223372036854775808.0 and {} < 9223372036854775808.0"
        " then round({})::bigint end",
        "({} = trunc({}) and {} >= -9223372036854775808.0 and {} < 9223372036854775808.0)",
        _WORDS[FieldKind.INTEGER],
    ),
    (FieldKind.DECIMAL, FieldKind.INTEGER): Conversion(
        f"case when round({{}}) between {_LEAST} and {_MOST} then round({{}})::bigint end",
        f"({{}} = trunc({{}}) and {_IN_RANGE})",
        _WORDS[FieldKind.INTEGER],
    ),
    (FieldKind.DECIMAL, FieldKind.NUMBER): Conversion(
        "case when hubblewave.fits({}::text, 'double precision') then {}::double precision end",
        "(case when hubblewave.fits({}::text, 'double precision')"
        " then ({}::double precision::text)::numeric = {} else false end)",
        _WORDS[FieldKind.NUMBER],
    ),
    (FieldKind.DATE, FieldKind.DATETIME): Conversion("({}::timestamp at time zone 'UTC')"),
    (FieldKind.DATETIME, FieldKind.DATE): Conversion(
        f"{_MIDNIGHT}::date", f"({_MIDNIGHT} = {_MIDNIGHT}::date)", "the beginning of a day (UTC)"
    ),
    (FieldKind.BOOLEAN, FieldKind.INTEGER): Conversion("{}::int::bigint"),
    (FieldKind.INTEGER, FieldKind.BOOLEAN): Conversion("{} <> 0", "({} in (0, 1))", "0 or 1"),
}


def conversion(was: FieldKind, now: FieldKind) -> Conversion | None:
    """How values of `was` become values of `now`; None where nobody could say.

    Pairs whose columns are the same need none. Everything becomes text as JSON shows it.
    """
    if now in TEXT_KINDS:
        shown = as_json(was, "{}")
        return Conversion(shown if shown.endswith("::text") else f"({shown})::text")
    if was in TEXT_KINDS:
        return _from_text(now)
    return _BETWEEN.get((was, now))


def retyped(was: FieldKind, now: FieldKind) -> bool:
    """Whether a change of kind needs another column."""
    return SQL_TYPES[was] != SQL_TYPES[now]
