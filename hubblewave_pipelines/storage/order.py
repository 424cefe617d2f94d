"""Sort keys -> ORDER BY, the joins they need, and the condition that a page starts after a place."""

from collections.abc import Sequence

from hubblewave_pipelines.core.hops import Hop
from hubblewave_pipelines.core.query import SortKey
from hubblewave_pipelines.storage.conditions import alias
from hubblewave_pipelines.storage.physical import SQL_TYPES, identifier, qualified
from hubblewave_pipelines.storage.sql import Sql


class Joins:
    """LEFT JOINs along manyToOne paths from the rows of one alias; each path is joined once."""

    def __init__(self, at: int = 0) -> None:
        self._at = at
        self._aliases: dict[tuple[str, ...], str] = {}
        self.text = ""

    def alias(self, path: Sequence[Hop]) -> str:
        """The alias of the records at the end of the path."""
        source, steps = alias(self._at), tuple(hop.column for hop in path)
        for number, hop in enumerate(path, 1):
            key = steps[:number]
            if key not in self._aliases:
                name = self._aliases[key] = f"j{self._at}_{len(self._aliases)}"
                self.text += f" left join {qualified(hop.target)} {name}"
                self.text += f" on {name}.id = {source}.{identifier(hop.column)}"
            source = self._aliases[key]
        return source


class Order:
    """The order of the rows of one alias, first where its table is read, then by output names."""

    def __init__(self, keys: Sequence[SortKey], at: int = 0, joins: Joins | None = None) -> None:
        self._keys = tuple(keys)
        joins = joins or Joins(at)
        self._expressions = [
            f"{joins.alias(key.path)}.{identifier(key.column.physical)}" for key in self._keys
        ]
        self.joins = joins.text
        # A column at the end of a path may be called as one of the record's own.
        self.outputs = [
            f"s{index}" if key.path else identifier(key.column.physical)
            for index, key in enumerate(self._keys)
        ]

    @property
    def selected(self) -> dict[str, str]:
        """Output name -> expression."""
        return dict(zip(self.outputs, self._expressions, strict=True))

    def by(self, *, outputs: bool = False) -> str:
        """What follows ORDER BY: over the table's columns, or over the output names."""
        names = self.outputs if outputs else self._expressions
        return ", ".join(_directed(name, key) for name, key in zip(names, self._keys, strict=True))

    def beyond(self, values: Sequence[str | None]) -> Sql:
        """True for rows that come after the place with these sort values."""
        return _beyond(list(zip(self._expressions, self._keys, values, strict=True)))


def _directed(name: str, key: SortKey) -> str:
    text = f"{name} {'desc' if key.descending else 'asc'}"
    if key.column.nullable:  # naming the place of nulls that cannot be would hide indexes
        text += f" nulls {'first' if key.nulls_first else 'last'}"
    return text


_Place = tuple[str, SortKey, str | None]


def _beyond(places: Sequence[_Place]) -> Sql:
    keys = [key for _, key, _ in places]
    aligned = len({key.descending for key in keys}) == 1
    if aligned and not any(key.column.nullable for key in keys):
        names = ", ".join(name for name, _, _ in places)
        slots = ", ".join(f"%s::{SQL_TYPES[key.column.kind]}" for key in keys)
        sign = "<" if keys[0].descending else ">"
        return Sql([f"({names}) {sign} ({slots})"], [value for _, _, value in places])
    name, key, value = places[0]
    after = _after(name, key, value)
    if len(places) == 1:
        return after
    rest = Sql(["("]).append(_tied(name, key, value)).add(" and ")
    rest.append(_beyond(places[1:])).add(")")
    either = Sql(["("]).append(after).add(" or ").append(rest).add(")")
    if key.column.nullable or value is None:
        return either
    # The leading bound is implied by the rest, and is what an index can start from.
    sign = "<=" if key.descending else ">="
    bound = Sql([f"({name} {sign} %s::{SQL_TYPES[key.column.kind]} and "], [value])
    return bound.append(either).add(")")


def _after(name: str, key: SortKey, value: str | None) -> Sql:
    if value is None:
        return Sql([f"{name} is not null" if key.nulls_first else "false"])
    text = f"{name} {'<' if key.descending else '>'} %s::{SQL_TYPES[key.column.kind]}"
    if key.column.nullable and not key.nulls_first:
        text = f"({text} or {name} is null)"
    return Sql([text], [value])


def _tied(name: str, key: SortKey, value: str | None) -> Sql:
    if value is None:
        return Sql([f"{name} is null"])
    return Sql([f"{name} = %s::{SQL_TYPES[key.column.kind]}"], [value])
