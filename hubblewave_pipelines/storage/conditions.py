"""`Filter` -> a boolean SQL expression over the rows of one alias; relations become EXISTS.

The records of a query have the alias a0; those that a relation leads to from alias aN have the
alias aN+1. Aliases are chosen by depth, so that side by side they repeat and never meet.
"""

from typing import Any

from hubblewave_pipelines.core.entity import RelationKind
from hubblewave_pipelines.core.hops import Hop
from hubblewave_pipelines.core.query import (
    All,
    AnyOf,
    Comparison,
    Filter,
    LinkedFrom,
    Not,
    Operator,
    Quantifier,
    Related,
    holds_without_values,
)
from hubblewave_pipelines.storage.physical import SQL_TYPES, identifier, link_table, qualified
from hubblewave_pipelines.storage.sql import Sql, joined

_SYMBOLS = {
    Operator.EQ: "=",
    Operator.NE: "is distinct from",
    Operator.LT: "<",
    Operator.LTE: "<=",
    Operator.GT: ">",
    Operator.GTE: ">=",
}
# Operator -> (before, after, the SQL operator) of the caller's text.
_AROUND = {
    Operator.CONTAINS: ("%", "%", "like"),
    Operator.ICONTAINS: ("%", "%", "ilike"),
    Operator.STARTS_WITH: ("", "%", "like"),
    Operator.ISTARTS_WITH: ("", "%", "ilike"),
    Operator.ENDS_WITH: ("%", "", "like"),
    Operator.IENDS_WITH: ("%", "", "ilike"),
}


def alias(at: int) -> str:
    return f"a{at}"


def _items(value: object) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise TypeError(f"a list operator holds a tuple, not {type(value).__name__}")
    return value


def _comparison(found: Comparison, at: int) -> Sql:
    name = f"{alias(at)}.{identifier(found.column.physical)}"
    kind = SQL_TYPES[found.column.kind]
    match found.operator:
        case Operator.IS_NULL:
            return Sql([f"{name} is {'null' if found.value else 'not null'}"])
        case Operator.IN:
            return Sql([f"{name} = any(%s::{kind}[])"], [list(_items(found.value))])
        case Operator.NIN:
            return Sql([f"({name} = any(%s::{kind}[])) is not true"], [list(_items(found.value))])
        case Operator.BETWEEN:
            least, greatest = _items(found.value)
            return Sql([f"{name} between %s::{kind} and %s::{kind}"], [least, greatest])
        case Operator.LIKE:
            return Sql([f"{name} like %s"], [str(found.value)])
        case operator if operator in _AROUND:
            before, after, symbol = _AROUND[operator]
            text = str(found.value).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            return Sql([f"{name} {symbol} %s"], [f"{before}{text}{after}"])
        case _:
            return Sql([f"{name} {_SYMBOLS[found.operator]} %s::{kind}"], [found.value])


def reached(hop: Hop, at: int) -> tuple[str, str]:
    """FROM and WHERE of the records, as alias `at` + 1, that the hop leads to from alias `at`."""
    source, target = alias(at), alias(at + 1)
    table = f"{qualified(hop.target)} {target}"
    match hop.kind:
        case RelationKind.MANY_TO_ONE:
            return table, f"{target}.id = {source}.{identifier(hop.column)}"
        case RelationKind.ONE_TO_MANY:
            return table, f"{target}.{identifier(hop.column)} = {source}.id"
    near, far = _sides(hop)
    link = f"k{at + 1}"
    both = f"{link_table(hop.target.schema, hop.link)} {link} join {table} on {target}.id = {link}.{far}"
    return both, f"{link}.{near} = {source}.id"


def _sides(hop: Hop) -> tuple[str, str]:
    """The link table's columns of the hop's source and of its target."""
    return ("source_id", "target_id") if hop.forward else ("target_id", "source_id")


def _related(found: Related, at: int) -> Sql:
    quantifier = found.quantifier
    if quantifier is Quantifier.ONE:
        # A record that refers to nothing is let through by EVERY and stopped by SOME.
        lenient = holds_without_values(found.part)
        quantifier = Quantifier.EVERY if lenient else Quantifier.SOME
    table, link = reached(found.hop, at)
    inner = condition(found.part, at + 1)
    sql = Sql(["exists (" if quantifier is Quantifier.SOME else "not exists ("])
    sql.add(f"select from {table} where {link} and ")
    if quantifier is Quantifier.EVERY:
        return sql.add("(").append(inner).add(") is not true)")
    return sql.append(inner).add(")")


def _linked(found: LinkedFrom, at: int) -> Sql:
    hop, name = found.hop, alias(at)
    match hop.kind:
        case RelationKind.ONE_TO_MANY:
            return Sql([f"{name}.{identifier(hop.column)} = %s"], [found.record_id])
        case RelationKind.MANY_TO_ONE:
            of = f"select {identifier(hop.column)} from {qualified(found.source)} where id = %s"  # noqa: S608 - names pass `identifier`
            return Sql([f"{name}.id = ({of})"], [found.record_id])
    near, far = _sides(hop)
    of = f"select {far} from {link_table(hop.target.schema, hop.link)} where {near} = %s"  # noqa: S608 - names pass `identifier`
    return Sql([f"{name}.id in ({of})"], [found.record_id])


def condition(found: Filter, at: int = 0) -> Sql:
    """A filter as a boolean expression over the rows of alias `at`."""
    match found:
        case Comparison():
            return _comparison(found, at)
        case Related():
            return _related(found, at)
        case LinkedFrom():
            return _linked(found, at)
        case Not(part):
            return Sql(["("]).append(condition(part, at)).add(") is not true")
        case All(parts):
            word, empty = " and ", "true"
        case AnyOf(parts):
            word, empty = " or ", "false"
    if not parts:
        return Sql([empty])
    return Sql(["("]).append(joined(word, (condition(part, at) for part in parts))).add(")")


def where(found: Filter, *more: Sql, at: int = 0) -> Sql:
    """` where ...` of everything that must hold; empty when nothing must."""
    parts = found.parts if isinstance(found, All) else (found,)
    conditions = [*(condition(part, at) for part in parts), *more]
    return Sql([" where "]).append(joined(" and ", conditions)) if conditions else Sql()
