"""SQL that merges staged rows into an entity's table, set by set, per duplicate strategy.

`staged` holds the rows still standing, `unplaced` those that did not become records, with the
record that stands in their way. Everything is in physical names and plain parameters.
"""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.import_options import DuplicateStrategy
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.merge_plan import Clash, MergePlan, Target

_EMPTY_TEXT = frozenset({FieldKind.TEXT, FieldKind.LONGTEXT})


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A staged row that did not become a record, and the record with the same keys."""

    row_no: int
    target: UUID
    by_row: int | None  # the row of this chunk that made the record
    by_import: bool  # the record was made by this import


def _match(plan: MergePlan, left: str, right: str) -> str:
    """Equal keys; a null never equals, so such rows are never duplicates."""
    if plan.by_id:
        return f"{left}.id = {right}.id"
    if not plan.keys:
        return "false"
    return " and ".join(f"{left}.{k.column} = {right}.{k.column}" for k in plan.keys)


def _fresh(t: Target, alias: str = "s") -> str:
    """The value a row gives a new record."""
    value = f"{alias}.{t.column}"
    return value if t.default is None else f"coalesce({value}, {t.default})"


def _incoming(plan: MergePlan, t: Target) -> str:
    """The value a row gives an existing record; null in a merge means: keep."""
    if plan.strategy is not DuplicateStrategy.MERGE:
        return _fresh(t)
    return f"nullif(s.{t.column}, '')" if t.kind in _EMPTY_TEXT else f"s.{t.column}"


def _complete(plan: MergePlan, alias: str) -> str:
    """A row that can become a new record."""
    tests = [f"{_fresh(t, alias)} is not null" for t in plan.needed]
    return " and ".join(tests) if tests else "true"


def insert_new(plan: MergePlan, rows: range, *, matched: bool) -> Statement[Any]:
    """Rows become records in file order unless a unique index or equal keys stand in the way.

    With an index on the keys it alone decides, and `unplaced`, when `matched`, only saves work.
    Without one the caller holds the table lock and has matched the rows before.
    """
    columns = ", ".join(t.column for t in plan.targets)
    values = ", ".join(_fresh(t) for t in plan.targets)
    # Naming the one index that can conflict saves a look into the primary key per row.
    arbiter = f" ({plan.unique[0].column})" if plan.only_unique else ""
    tests = ["s.row_no >= %(first)s", "s.row_no < %(last)s", _complete(plan, "s")]
    if matched:
        tests.append("s.row_no not in (select u.row_no from unplaced u)")
    if not plan.keys_indexed:
        nulls = " or ".join(f"f.{k.column} is null" for k in plan.keys)
        keys = ", ".join(f"f.{k.column}" for k in plan.keys)
        window = "f.row_no >= %(first)s and f.row_no < %(last)s"
        tests.append(
            f"s.row_no in (select min(f.row_no) from staged f where {window}"
            f" and {_complete(plan, 'f')} and not ({nulls}) group by {keys}"
            f" union all select f.row_no from staged f where {window} and ({nulls}))"
        )
    return statement(
        f"insert into {plan.table} (id, created_by, updated_by, {columns})"
        f" select s.id, %(import)s::uuid, %(import)s::uuid, {values} from staged s"
        f" where {' and '.join(tests)} order by s.row_no on conflict{arbiter} do nothing",
        _range(plan, rows),
    )


def _range(plan: MergePlan, rows: range) -> dict[str, object]:
    return {"first": rows.start, "last": rows.stop, "import": plan.import_id}


def create_matched(plan: MergePlan, rows: range) -> Statement[Any]:
    """`unplaced`: rows of the range whose keys a record has, before anything is inserted."""
    return statement(
        f"create temp table unplaced on commit drop as {_matching(plan, 'join', fresh=False)}{_oldest(plan)}",
        _range(plan, rows),
    )


def create_unplaced(plan: MergePlan, rows: range) -> Statement[Any]:
    """`unplaced`: rows of the range that are no records, matched where their keys are."""
    return statement(
        f"create temp table unplaced on commit drop as {_matching(plan, 'left join')}"
        f" and not {_is_record(plan)}{_oldest(plan)}",
        _range(plan, rows),
    )


def add_unplaced(plan: MergePlan, rows: range) -> Statement[Any]:
    """After `create_matched` and an insert: the other rows that are no records."""
    return statement(
        f"insert into unplaced {_matching(plan, 'left join')}"
        f" and not {_is_record(plan)}"
        " and s.row_no not in (select u.row_no from unplaced u)"
        f"{_oldest(plan)}",
        _range(plan, rows),
    )


def _matching(plan: MergePlan, join: str, *, fresh: bool = True) -> str:
    """Rows with the record of equal keys; `same` when it has their values already.

    `fresh`: the record may have been made by a row of this chunk.
    """
    same = "false"
    if plan.writes_matches and plan.changing:
        have, given = _have(plan, "m"), ", ".join(_value(plan, t, "m") for t in plan.changing)
        same = f"row({have}) is not distinct from row({given})"
    distinct = "" if plan.keys_indexed else "distinct on (s.row_no) "
    return (
        f"select {distinct}s.row_no, m.id as target,"
        f" {'e.row_no' if fresh else 'null::bigint'} as by_row,"
        f" coalesce(m.created_by = %(import)s, false) as mine, {same} as same"
        f" from staged s {join} {_source(plan, plan.table, 'm', _match(plan, 'm', 's'))}"
        f"{' left join ' + _source(plan, 'staged', 'e', 'e.id = m.id') if fresh else ''}"
        " where s.row_no >= %(first)s and s.row_no < %(last)s"
    )


def _source(plan: MergePlan, table: str, alias: str, condition: str) -> str:
    """What to join. With an index on the keys, rows are looked up one by one (`offset 0` keeps the
    planner from making a join of it), so that the cost of a chunk does not grow with the table."""
    if not plan.keys_indexed:
        return f"{table} {alias} on {condition}"
    return f"lateral (select * from {table} {alias} where {condition} offset 0) {alias} on true"


def _is_record(plan: MergePlan) -> str:
    return f"exists (select from {plan.table} t where t.id = s.id offset 0)"


def _oldest(plan: MergePlan) -> str:
    return "" if plan.keys_indexed else " order by s.row_no, m.id"


def _have(plan: MergePlan, alias: str) -> str:
    return ", ".join(f"{alias}.{t.column}" for t in plan.changing)


def drop_unplaced() -> Statement[Any]:
    return statement("drop table unplaced")


def matched_later() -> Statement[Any]:
    """A record made by a later row was not there yet when this row had its turn."""
    return statement("update unplaced set target = null where by_row > row_no")


def count_matched() -> Statement[tuple[int, int]]:
    """(rows that have a record, records they have)"""
    return statement(
        "select count(*), count(distinct target) from unplaced where target is not null",
        (),
        lambda row: (row[0], row[1]),
    )


def matched() -> Statement[Unplaced]:
    return statement(
        "select row_no, target, by_row, mine from unplaced where target is not null"
        " order by row_no",
        (),
        lambda row: Unplaced(*row),
    )


def unmatched() -> Statement[int]:
    return statement(
        "select row_no from unplaced where target is null order by row_no", (), lambda row: row[0]
    )


def forget(rows: Sequence[int]) -> Statement[Any]:
    return statement("delete from unplaced where row_no = any(%s)", (list(rows),))


def incomplete(plan: MergePlan) -> list[Statement[Clash]]:
    """Unmatched rows of a merge that lack what a new record must have."""

    def reader(t: Target) -> Any:
        return lambda row: Clash(row[0], t.name, "")

    return [
        statement(
            "select row_no from unplaced join staged s using (row_no)"
            f" where target is null and {_fresh(t)} is null",
            (),
            reader(t),
        )
        for t in plan.needed
    ]


def taken(plan: MergePlan, *, updating: bool) -> list[Statement[Clash]]:
    """Rows whose unique value another record has: new ones, or those that update a record."""

    def reader(t: Target) -> Any:
        return lambda row: Clash(row[0], t.name, row[1], row[2])

    found = []
    for t in plan.others if updating else plan.unique:
        value = _incoming(plan, t) if updating else _fresh(t)
        whose = "u.target is not null and m.id <> u.target" if updating else "u.target is null"
        found.append(
            statement(
                f"select u.row_no, m.{t.column}::text, m.id from unplaced u"
                f" join staged s using (row_no) join {plan.table} m on m.{t.column} = {value}"
                f" where {whose} order by u.row_no",
                (),
                reader(t),
            )
        )
    return found


_STAMP = "updated_at = now(), updated_by = %(import)s::uuid, xid = default, version = t.version + "


def update_matched(plan: MergePlan) -> Statement[Any]:
    """Each record matched by one row takes its values; a record that has them is not written."""
    given = [_value(plan, t, "t") for t in plan.changing]
    pairs = ", ".join(f"{t.column} = {v}" for t, v in zip(plan.changing, given, strict=True))
    return statement(
        f"update {plan.table} t set {pairs}, {_STAMP} 1 from unplaced u join staged s using (row_no)"
        f" where t.id = u.target and not u.same"
        f" and row({_have(plan, 't')}) is distinct from row({', '.join(given)})",
        {"import": plan.import_id},
    )


def _value(plan: MergePlan, t: Target, alias: str) -> str:
    """What a matched record is to hold."""
    incoming = _incoming(plan, t)
    merging = plan.strategy is DuplicateStrategy.MERGE
    return f"coalesce({incoming}, {alias}.{t.column})" if merging else incoming


def fold_matched(plan: MergePlan) -> Statement[int]:
    """As `update_matched` where a record is matched by several rows: they apply in file order.

    The answer is the number of rows that changed something; the version counts each of them.
    """
    columns = [t.column for t in plan.targets]
    plain = ", ".join(columns)
    steps = ", ".join(f"{_incoming(plan, t)} as {t.column}" for t in plan.targets)
    base = ", ".join(f"t.{c}" for c in columns)
    filled = "select * from step"
    if plan.strategy is DuplicateStrategy.MERGE:
        # The n-th value given so far starts group n; its first row holds the value of them all.
        groups = ", ".join(f"count({c}) over so_far as g_{c}" for c in columns)
        kept = ", ".join(
            f"first_value({c}) over (partition by target, g_{c} order by row_no) as {c}"
            for c in columns
        )
        filled = (
            f"select target, row_no, {kept} from (select *, {groups} from step"
            " window so_far as (partition by target order by row_no)) grouped"
        )
    pairs = ", ".join(f"{c} = d.{c}" for c in columns)
    return statement(
        f"with step as (select u.target, s.row_no, {steps} from unplaced u"
        " join staged s using (row_no) where u.target is not null"
        f" union all select t.id, 0, {base} from {plan.table} t"
        " where t.id in (select target from unplaced)),"
        f" filled as ({filled}),"
        f" compared as (select *, row_no > 0 and row({plain}) is distinct from"
        f" lag(row({plain})) over so_far as changed,"
        " row_no = max(row_no) over (partition by target) as last"
        " from filled window so_far as (partition by target order by row_no)),"
        " total as (select target, count(*) filter (where changed) as changes"
        " from compared group by target),"
        f" written as (update {plan.table} t set {pairs}, {_STAMP} total.changes"
        " from compared d join total using (target)"
        " where d.last and total.changes > 0 and t.id = d.target)"
        " select coalesce(sum(changes), 0)::bigint from total",
        {"import": plan.import_id},
        lambda row: int(row[0]),
    )


def entangled(plan: MergePlan) -> Statement[tuple[int, str, str]]:
    """(row, key, value) of unique values that rows of different keys touch, in file order.

    A row touches the values its record has now, those it brings, and those that other rows of its
    key bring, for they may be its record's by then. Only such rows depend on the order in which
    the others are applied.
    """
    key = f"coalesce(row({', '.join(f's.{k.column}' for k in plan.keys)})::text, '')"
    nulls = " or ".join(f"s.{k.column} is null" for k in plan.keys)
    key = (
        "s.id::text" if plan.by_id else f"case when {nulls} then 'row ' || s.row_no else {key} end"
    )
    parts = []
    for n, t in enumerate(plan.others):
        parts.append(
            f"select s.row_no, {key} as key, '{n}:' || ({_fresh(t)})::text as v from staged s"
        )
        parts.append(
            f"select s.row_no, {key}, '{n}:' || m.{t.column}::text from staged s"
            f" join {plan.table} m on {_match(plan, 'm', 's')}"
        )
    return statement(
        f"with touched as materialized ({' union all '.join(parts)}),"
        " of_key as (select distinct key, v from touched where v is not null),"
        " shared as (select v from of_key group by v having count(*) > 1)"
        " select distinct t.row_no, key, o.v from touched t join of_key o using (key)"
        " join shared h on h.v = o.v order by t.row_no",
        (),
        lambda row: (row[0], row[1], row[2]),
    )
