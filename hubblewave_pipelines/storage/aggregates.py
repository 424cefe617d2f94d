"""`Aggregation` -> one SELECT that returns one row: groups with their measures as JSON text."""

from dataclasses import dataclass
from typing import Any

from hubblewave_pipelines.core.aggregation import Aggregation, Function, Group, Measure, Part
from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.storage.conditions import alias, where
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.order import Joins
from hubblewave_pipelines.storage.physical import identifier, qualified
from hubblewave_pipelines.storage.shown import as_json, json_object
from hubblewave_pipelines.storage.sql import Sql

_ROW = alias(0)
_CALLS = {
    Function.COUNT_DISTINCT: "count(distinct {})",
    Function.AVG: "avg({})",
    Function.SUM: "sum({})",
    Function.MIN: "min({})",
    Function.MAX: "max({})",
    Function.COUNT: "count({})",
}


@dataclass(frozen=True, slots=True)
class Groups:
    """The items as JSON text, and whether there are more."""

    items: str
    more: bool


def _cut(group: Group, expression: str) -> str:
    if group.part is None:
        return expression
    if group.part is Part.HOUR:
        return f"date_trunc('hour', {expression})"
    cut = f"date_trunc('{group.part.value}', {expression}::timestamp)"
    return f"{cut}::date"


def _group_as_json(group: Group, name: str) -> str:
    kind = FieldKind.DATE if group.part not in (None, Part.HOUR) else group.column.kind
    return as_json(kind, name)


def _computed(measure: Measure) -> str:
    if measure.column is None:
        return "count(*)"
    call = _CALLS[measure.function].format(f"{_ROW}.{identifier(measure.column.physical)}")
    rough = measure.function is Function.AVG and measure.column.kind is not FieldKind.DECIMAL
    return f"{call}::double precision" if rough else call


def _measure_as_json(measure: Measure, name: str) -> str:
    counts = measure.function in (Function.COUNT, Function.COUNT_DISTINCT)
    if counts or measure.column is None:
        return name
    return as_json(measure.column.kind, name)


def _name(found: Aggregation, of: Group | Measure) -> str:
    """The output column of a group or measure."""
    if isinstance(of, Group):
        return f"g{found.groups.index(of)}"
    return f"m{found.measures.index(of)}"


def select_groups(found: Aggregation) -> Statement[Groups]:
    """One page of groups in one row; exactly one group when nothing is grouped by."""
    joins = Joins()
    outputs: dict[str, str] = {}
    for index, group in enumerate(found.groups):
        source = f"{joins.alias(group.path)}.{identifier(group.column.physical)}"
        outputs[f"g{index}"] = _cut(group, source)
    for index, measure in enumerate(found.measures):
        outputs[f"m{index}"] = _computed(measure)

    group_members = [
        (group.name, Sql([_group_as_json(group, _name(found, group))])) for group in found.groups
    ]
    members = [("group", json_object(group_members))] if group_members else []
    for function in Function:
        values = [
            (measure.name, Sql([_measure_as_json(measure, _name(found, measure))]))
            for measure in found.measures
            if measure.function is function
        ]
        if values:
            members.append((function.value, json_object(values)))

    order = ", ".join(
        f"{_name(found, key.of)} {'desc' if key.descending else 'asc'} nulls last"
        for key in found.sort
    )
    selected = ", ".join(f"{expression} as {name}" for name, expression in outputs.items())
    size = int(found.page_size)
    sql = Sql(["select coalesce(json_agg("]).append(json_object(members))
    sql.add(f" order by _n) filter (where _n <= {size}), '[]')::text, count(*) > {size}")
    sql.add(f" from (select *, row_number() over ({f'order by {order}' if order else ''}) as _n")
    sql.add(f" from (select {selected} from {qualified(found.entity)} {_ROW}{joins.text}")  # noqa: S608 - names pass `identifier`
    sql.append(where(found.filter))
    if found.groups:
        sql.add(f" group by {', '.join(str(n + 1) for n in range(len(found.groups)))}")
    if order:
        sql.add(f" order by {order}")
    sql.add(f" limit {size + 1} offset %s) grouped) numbered", (found.page - 1) * size)
    return statement(sql.text, sql.params, _groups)


def _groups(row: tuple[Any, ...]) -> Groups:
    return Groups(items=row[0], more=row[1])
