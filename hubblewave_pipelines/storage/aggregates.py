"""`Aggregation` -> the groups of records with their measures as JSON: a SELECT, or a part of one."""

from collections.abc import Sequence
from dataclasses import dataclass

from hubblewave_pipelines.core.aggregation import Aggregation, Function, Group, Measure, Part
from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.shapes import Constant, Grouped, Measured, Measures, OfGroup
from hubblewave_pipelines.storage.conditions import alias, where
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.json_values import as_json, json_object
from hubblewave_pipelines.storage.order import Joins
from hubblewave_pipelines.storage.physical import identifier, qualified
from hubblewave_pipelines.storage.sql import Sql

_CALLS = {
    Function.COUNT_DISTINCT: "count(distinct {})",
    Function.AVG: "avg({})",
    Function.SUM: "sum({})",
    Function.MIN: "min({})",
    Function.MAX: "max({})",
    Function.COUNT: "count({})",
}


@dataclass(frozen=True, slots=True)
class Page:
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


def _computed(measure: Measure, of: str) -> str:
    if measure.column is None:
        return "count(*)"
    column = f"{of}.{identifier(measure.column.physical)}"
    if measure.function is Function.AVG and measure.column.kind is FieldKind.NUMBER:
        # avg() adds up squares, too, which are out of range long before the numbers are.
        return f"sum({column}) / nullif(count({column}), 0)"
    call = _CALLS[measure.function].format(column)
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


def group_object(found: Aggregation, members: Sequence[OfGroup]) -> Sql:
    """An SQL expression of type json: a row of `grouped` as an object of these members."""

    def value(member: OfGroup) -> Sql:
        match member:
            case Constant():
                return Sql(["%s::text"], [member.text])
            case Measured():
                name = _name(found, member.measure)
                return Sql([_measure_as_json(member.measure, name)])
            case Measures():
                return json_object([(part.name, value(part)) for part in member.parts])
            case Grouped():
                groups = found.groups
                texts = [_group_as_json(group, _name(found, group)) for group in groups]
                pairs = zip(groups, texts, strict=True)
                return json_object([(group.name, Sql([text])) for group, text in pairs])

    return json_object([(member.name, value(member)) for member in members])


def grouped(found: Aggregation, table: str, conditions: Sql, at: int = 0) -> Sql:
    """` from ...`: one page of groups and the one after it, a row each, numbered `_n`.

    `table` holds the records, as alias `at`; `conditions` is what follows it. Exactly one row when
    nothing is grouped by.
    """
    joins = Joins(at)
    outputs: dict[str, str] = {}
    for index, group in enumerate(found.groups):
        source = f"{joins.alias(group.path)}.{identifier(group.column.physical)}"
        outputs[f"g{index}"] = _cut(group, source)
    for index, measure in enumerate(found.measures):
        outputs[f"m{index}"] = _computed(measure, alias(at))
    order = ", ".join(
        f"{_name(found, key.of)} {'desc' if key.descending else 'asc'} nulls last"
        for key in found.sort
    )
    selected = ", ".join(f"{expression} as {name}" for name, expression in outputs.items())
    size = int(found.page_size)
    sql = Sql(
        [f" from (select *, row_number() over ({f'order by {order}' if order else ''}) as _n"]
    )
    sql.add(f" from (select {selected} from {table}{joins.text}")  # noqa: S608 - names pass `identifier`
    sql.append(conditions)
    if found.groups:
        sql.add(f" group by {', '.join(str(n + 1) for n in range(len(found.groups)))}")
    if order:
        sql.add(f" order by {order}")
    return sql.add(f" limit {size + 1} offset %s) grouped) numbered", (found.page - 1) * size)


def listed(found: Aggregation, members: Sequence[OfGroup]) -> Sql:
    """An SQL expression of type json over the rows of `grouped`: the page of groups as a list."""
    sql = Sql(["coalesce(json_agg("]).append(group_object(found, members))
    return sql.add(f" order by _n) filter (where _n <= {int(found.page_size)}), '[]'::json)")


def select_groups(found: Aggregation) -> Statement[Page]:
    """One page of groups in one row; exactly one group when nothing is grouped by."""
    members: list[OfGroup] = [Grouped("group")] if found.groups else []
    for function in Function:
        values = [Measured(m.name, m) for m in found.measures if m.function is function]
        if values:
            members.append(Measures(function.value, tuple(values)))
    sql = Sql(["select ("]).append(listed(found, members)).add(")::text")
    sql.add(f", count(*) > {int(found.page_size)}")
    table = f"{qualified(found.entity)} {alias(0)}"
    sql.append(grouped(found, table, where(found.filter)))
    return statement(sql.text, sql.params, lambda row: Page(items=row[0], more=row[1]))
