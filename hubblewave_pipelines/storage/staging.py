"""SQL that brings a chunk's rows into PostgreSQL: copied as they are, then typed and resolved.

Two temporary tables of one transaction: `arriving` (as copied) and `staged` (values cast,
references resolved; the rows still standing). When nothing is to cast or resolve they are one.
"""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

from collections.abc import Sequence
from typing import Any

from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.merge_plan import TRAVELS_AS, Clash, MergePlan, Target
from hubblewave_pipelines.storage.physical import SQL_TYPES


def create_arriving(plan: MergePlan) -> Statement[Any]:
    columns = ", ".join(f"{t.column} {t.staged_type}" for t in plan.targets)
    return statement(
        f"create temp table arriving (row_no bigint not null, id uuid not null, {columns})"
        " on commit drop"
    )


def copy_arriving(plan: MergePlan) -> str:
    columns = ", ".join(t.column for t in plan.targets)
    return f"copy arriving (row_no, id, {columns}) from stdin (format binary)"


def lock_table(plan: MergePlan) -> Statement[Any]:
    """Nobody else writes the table before the commit; reading goes on."""
    return statement(f"lock table {plan.table} in share row exclusive mode")


def hurry(seconds: int) -> Statement[Any]:
    """Rather give up than wait: for a look at what would happen."""
    return statement(
        f"select set_config('statement_timeout', '{int(seconds)}s', true),"
        " set_config('lock_timeout', '1s', true)"
    )


def hold_lookups(plan: MergePlan) -> list[Statement[Any]]:
    """Records that rows refer to cannot go away before the commit."""
    return [
        statement(
            f"select count(*) from (select from {table} o where o.{by} in"
            f" (select {_cast(t, 'a')} from arriving a) for key share of o) held"
        )
        for t in plan.targets
        if t.lookup is not None
        for table, by in [t.lookup]
    ]


def _cast(t: Target, alias: str) -> str:
    """The staged value of a column in the type of the table (or of the lookup's field)."""
    cast = f"::{SQL_TYPES[t.kind]}" if t.kind in TRAVELS_AS else ""
    return f"{alias}.{t.column}{cast}"


def create_staged(plan: MergePlan) -> Statement[Any]:
    """`staged` from `arriving`: values cast, references resolved, `missing_*` set where not."""
    columns, joins = ["a.row_no", "a.id"], []
    for n, t in enumerate(plan.targets):
        if t.lookup is None:
            columns.append(f"{_cast(t, 'a')} as {t.column}")
            continue
        table, by = t.lookup
        columns.append(f"o{n}.id as {t.column}")
        if not t.null_when_missing:
            columns.append(f"case when o{n}.id is null then a.{t.column}::text end as missing_{n}")
        joins.append(f"left join {table} o{n} on o{n}.{by} = {_cast(t, 'a')}")
    return statement(
        f"create temp table staged on commit drop as select {', '.join(columns)}"
        f" from arriving a {' '.join(joins)} order by a.row_no"
    )


def needs_staging(plan: MergePlan) -> bool:
    """Whether rows cannot be merged as they arrive."""
    return any(t.lookup is not None or t.kind in TRAVELS_AS for t in plan.targets)


def rename_arriving() -> Statement[Any]:
    return statement("alter table arriving rename to staged")


def missing_references(plan: MergePlan) -> list[Statement[Clash]]:
    """Rows whose reference names no record, one statement per reference."""

    def reader(t: Target) -> Any:
        return lambda row: Clash(row[0], t.name, row[1])

    return [
        statement(
            f"select row_no, missing_{n} from staged where missing_{n} is not null order by row_no",
            (),
            reader(t),
        )
        for n, t in enumerate(plan.targets)
        if t.lookup is not None and not t.null_when_missing
    ]


def drop_staged_rows(rows: Sequence[int]) -> Statement[Any]:
    return statement("delete from staged where row_no = any(%s)", (list(rows),))
