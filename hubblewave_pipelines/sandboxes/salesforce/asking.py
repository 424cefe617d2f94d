"""A SOQL tree asked of the records: which fields there are, what may be compared, what is found."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from hubblewave_pipelines.sandboxes.salesforce.model import NUMBERS, Field, SObject, full_id
from hubblewave_pipelines.sandboxes.salesforce.refusing import (
    invalid_field,
    invalid_type,
    malformed,
)
from hubblewave_pipelines.sandboxes.salesforce.soql import (
    Both,
    Comparison,
    Condition,
    DayLiteral,
    Not,
    Soql,
)
from hubblewave_pipelines.sandboxes.stage import Row

Predicate = Callable[[Row], bool]
_STANDARD_LIMIT = 200
_INSTANTS = {"datetime": "dateTime", "date": "date"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A query whose names are known to be right."""

    sobject: SObject
    fields: tuple[Field, ...]
    soql: Soql
    matches: Predicate

    def found(self, rows: Iterable[Row], *, deleted_too: bool) -> list[Row]:
        """The rows in the order asked for; by Id where none is asked for, as Salesforce often does."""
        hide = self.sobject.soft_delete and not (deleted_too or self.soql.all_rows)
        matches = self.matches
        found = [row for row in rows if not (hide and row["IsDeleted"]) and matches(row)]
        for name, down, nulls_first in reversed(self.soql.order):
            nulls_first = (not down) if nulls_first is None else nulls_first
            with_value = [row for row in found if row.get(name) is not None]
            without = [row for row in found if row.get(name) is None]
            with_value.sort(key=lambda row, name=name: row[name], reverse=down)  # type: ignore[misc]
            found = without + with_value if nulls_first else with_value + without
        end = None if self.soql.limit is None else self.soql.offset + self.soql.limit
        return found[self.soql.offset : end]


def ask(
    soql: Soql,
    sobjects: dict[str, SObject],
    now: datetime,
    shift: timedelta = timedelta(0),
) -> Asked:
    """Check names and values. `shift` moves what the query's instants mean (a fault). Raises Refused."""
    sobject = next((s for s in sobjects.values() if s.name.lower() == soql.sobject.lower()), None)
    if sobject is None:
        raise invalid_type(soql.sobject)
    fields: list[Field] = []
    for name in soql.fields:
        if name.startswith("FIELDS("):
            if soql.limit is None or soql.limit > _STANDARD_LIMIT:
                raise malformed("The SOQL FIELDS function must have a LIMIT of at most 200")
            fields += [f for f in sobject.fields.values() if _in_group(f, name)]
        else:
            fields.append(_known(sobject, name))
    if len({f.name for f in fields}) != len(fields):
        raise malformed("duplicate field selected")
    unsortable = [n for n, _, _ in soql.order if not _known(sobject, n).filterable]
    if unsortable:
        raise malformed(f"field '{unsortable[0]}' can not be sorted in a query call")
    soql.order = [(_known(sobject, name).name, down, nulls) for name, down, nulls in soql.order]
    matches = _always if soql.where is None else _compiled(soql.where, sobject, now, shift)
    return Asked(sobject, tuple(fields), soql, matches)


def _in_group(field: Field, group: str) -> bool:
    custom = field.name.endswith("__c")
    return group == "FIELDS(ALL)" or custom == (group == "FIELDS(CUSTOM)")


def _known(sobject: SObject, name: str) -> Field:
    found = sobject.field_named(name)
    if found is None:
        raise invalid_field(
            f"No such column '{name}' on entity '{sobject.name}'. If you are attempting to use a "
            "custom field, be sure to append the '__c' after the custom field name."
        )
    return found


def _always(_: Row) -> bool:
    return True


def _compiled(part: Condition, sobject: SObject, now: datetime, shift: timedelta) -> Predicate:
    if isinstance(part, Not):
        inner = _compiled(part.part, sobject, now, shift)
        return lambda row: not inner(row)
    if isinstance(part, Both):
        parts = tuple(_compiled(each, sobject, now, shift) for each in part.parts)
        if part.word == "and":
            return lambda row: all(each(row) for each in parts)
        return lambda row: any(each(row) for each in parts)
    return _comparing(part, _known(sobject, part.field), now, shift)


def _comparing(part: Comparison, field: Field, now: datetime, shift: timedelta) -> Predicate:
    if not field.filterable:
        raise invalid_field(f"field '{field.name}' can not be filtered in a query call")
    name, operator = field.name, part.operator
    if operator in ("in", "not in"):
        wanted = frozenset(_folded(field, _typed(field, value, now, shift)) for value in part.value)
        if operator == "in":
            return lambda row: _folded(field, row.get(name)) in wanted
        return lambda row: _folded(field, row.get(name)) not in wanted
    value = _typed(field, part.value, now, shift)
    if operator == "like":
        if not isinstance(value, str):
            raise invalid_field(f"invalid operator on {field.name}")
        pattern = re.compile(_like(value), re.IGNORECASE | re.DOTALL)
        return lambda row: row.get(name) is not None and bool(pattern.fullmatch(row[name]))
    value = _folded(field, value)
    if operator == "=":
        return lambda row: _folded(field, row.get(name)) == value
    if operator == "!=":
        return lambda row: _folded(field, row.get(name)) != value
    if value is None:
        raise invalid_field(f"invalid operator on null for {field.name}")
    compare: dict[str, Callable[[Any], bool]] = {
        "<": lambda cell: cell < value,
        "<=": lambda cell: cell <= value,
        ">": lambda cell: cell > value,
        ">=": lambda cell: cell >= value,
    }
    holds = compare[operator]
    return lambda row: row.get(name) is not None and holds(_folded(field, row[name]))


def _typed(field: Field, value: Any, now: datetime, shift: timedelta) -> Any:
    """The literal as the field's type has it. Raises Refused where the types do not fit."""
    if value is None:
        return None
    if isinstance(value, DayLiteral):
        value = _day(value, now)
        if field.type == "datetime":
            return datetime.combine(value, time(0), now.tzinfo)
    wanted = _INSTANTS.get(field.type)
    fits = {
        "datetime": isinstance(value, datetime),
        "date": isinstance(value, date) and not isinstance(value, datetime),
        "boolean": isinstance(value, bool),
        "int": isinstance(value, Decimal),
        **dict.fromkeys(NUMBERS, isinstance(value, Decimal)),
    }.get(field.type, isinstance(value, str))
    if not fits:
        quoted = "and should not be enclosed in quotes" if isinstance(value, str) else ""
        raise invalid_field(
            f"value of filter criterion for field '{field.name}' must be of type "
            f"{wanted or field.type} {quoted}".strip()
        )
    if field.type in ("id", "reference"):
        try:
            return full_id(value)
        except ValueError:
            raise invalid_field(f"invalid ID field: {value} ({field.name})") from None
    return value + shift if isinstance(value, datetime) else value


def _day(literal: DayLiteral, now: datetime) -> date:
    steps = {"TODAY": 0, "YESTERDAY": -1, "TOMORROW": 1, "LAST_N_DAYS": -1, "NEXT_N_DAYS": 1}
    return now.date() + timedelta(days=steps[literal.name] * (literal.days or 1))


def _folded(field: Field, value: Any) -> Any:
    """Texts are compared without regard to case, ids with it."""
    if isinstance(value, str) and field.type not in ("id", "reference"):
        return value.casefold()
    return value


def _like(pattern: str) -> str:
    return "".join({"%": ".*", "_": "."}.get(letter, re.escape(letter)) for letter in pattern)
