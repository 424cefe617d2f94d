"""One chunk of an import into its entity's table, with the outcome of every row.

The outcome is that of applying the rows one by one in file order. Rows go set by set; the chunk is
cut only where rows of different keys contend for one unique value (`merge.entangled`), and halved
only where PostgreSQL refuses something that validation let through.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import errors as pg

from hubblewave_pipelines.core.errors import Unavailable
from hubblewave_pipelines.core.import_ids import row_of
from hubblewave_pipelines.core.import_options import DuplicateStrategy
from hubblewave_pipelines.storage import capture, merge, staging
from hubblewave_pipelines.storage.database import Statement, Transaction, statement
from hubblewave_pipelines.storage.merge import Unplaced
from hubblewave_pipelines.storage.merge_plan import Clash, MergePlan
from hubblewave_pipelines.storage.stale_writers import know_catalog

_ROUNDS = 20  # concurrent writers can send a row round again; this many times is not chance
_REFUSED_BY_DATABASE = (pg.IntegrityError, pg.DataError, pg.ProgramLimitExceeded)


@dataclass(frozen=True, slots=True)
class RowFault:
    """One reason why a row was refused. `field` is a public name, empty for the row as a whole."""

    row: int
    field: str
    code: str
    message: str


@dataclass
class Merged:
    """What became of the staged rows of a chunk. Every row is counted once."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    faults: list[RowFault] = field(default_factory=list)

    def add(self, other: "Merged") -> None:
        self.created += other.created
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.skipped += other.skipped
        self.faults += other.faults


class ChunkMerge:
    """The merges of one import. Remembers whether its rows tend to match existing records."""

    def __init__(self, plan: MergePlan) -> None:
        self.plan = plan
        self._expect_matches = False
        self._indexed = False

    def merge(
        self,
        tx: Transaction,
        rows: memoryview,
        within: range,
        *,
        head: bytes,
        tail: bytes,
        alone: bool = False,
    ) -> Merged:
        """Merge rows in binary COPY form (row number, id, targets) within `tx`; `within` is a
        range that holds their numbers. `alone` keeps other writers of the table waiting, for a
        chunk that collided with them before.

        Raises Unavailable when concurrent writers keep changing the same records.
        """
        plan = self.plan
        if not rows:
            return Merged()
        tx.run(statement("set local work_mem = '64MB'"))
        tx.run(know_catalog(plan.catalog_version))
        if plan.quiet:
            tx.run(capture.silence())
        tx.run(statement("drop table if exists arriving, staged, unplaced"))
        tx.run(staging.create_arriving(plan))
        with tx.connection.cursor().copy(staging.copy_arriving(plan)) as copy:
            copy.write(head)
            copy.write(rows)
            copy.write(tail)
        if alone or not plan.keys_indexed:
            tx.run(staging.lock_table(plan))
        outcome = Merged()
        self._indexed = False
        if staging.needs_staging(plan):
            for step in staging.hold_lookups(plan):
                tx.run(step)
            tx.run(staging.create_staged(plan))
            self._drop_dangling(tx, outcome)
        else:
            tx.run(staging.rename_arriving())
        self._analyze(tx)
        for cut in self._cuts(tx, within):
            outcome.add(self._range(tx, cut))
        return outcome

    def _drop_dangling(self, tx: Transaction, outcome: Merged) -> None:
        """Refuse rows whose reference names no record."""
        names = {t.name: t.lookup_name for t in self.plan.targets}
        found = [clash for step in staging.missing_references(self.plan) for clash in tx.all(step)]
        for clash in found:
            message = f'there is no {names[clash.name]} "{clash.value[:60]}"'
            outcome.faults.append(RowFault(clash.row_no, clash.name, "reference", message))
        if found:
            tx.run(staging.drop_staged_rows([clash.row_no for clash in found]))

    def _analyze(self, tx: Transaction) -> None:
        """Statistics of the columns that are joined, from a small sample: enough for a good plan."""
        names = {"row_no", "id", *(key.column for key in self.plan.keys)}
        tx.run(statement("set local default_statistics_target = 10"))
        tx.run(statement(f"analyze staged ({', '.join(sorted(names))})"))
        if self.plan.keys_indexed:
            # A chunk finds its records by index, however large the table. Left to itself the
            # planner reads the whole table once per chunk: it takes the condition of row security
            # to leave one row in 200.
            tx.run(statement("set local enable_seqscan = off"))
        tx.run(statement("set local jit = off"))  # compiling costs more than a chunk takes

    def _index(self, tx: Transaction) -> None:
        """Make staged rows cheap to find; only worth it once some of them are no new records."""
        if not self._indexed:
            tx.run(statement("create index on staged (row_no)"))
            tx.run(statement("create index on staged (id)"))
            self._indexed = True

    def _cuts(self, tx: Transaction, within: range) -> list[range]:
        """Ranges of rows in which no row depends on another one's effect but by its key."""
        first, last = within.start, within.stop
        if not (self.plan.writes_matches and self.plan.others):
            return [range(first, last)]
        starts, holders = [first], dict[str, str]()
        for row, key, value in tx.all(merge.entangled(self.plan)):
            if holders.get(value, key) != key:
                starts.append(row)
                holders.clear()
            holders[value] = key
        if len(starts) > 1:
            self._index(tx)
        return [range(a, b) for a, b in zip(starts, [*starts[1:], last], strict=True)]

    def _range(self, tx: Transaction, rows: range) -> Merged:
        """Merge a range; what PostgreSQL refuses is halved down to the row it is about."""
        try:
            with tx.connection.transaction():
                return self._settle(tx, rows)
        except _REFUSED_BY_DATABASE:
            self._indexed = False  # its index went with the savepoint
            present = tx.all(
                statement(
                    "select row_no from staged where row_no >= %s and row_no < %s order by row_no",
                    (rows.start, rows.stop),
                    lambda row: int(row[0]),
                )
            )
            if not present:
                return Merged()
            if len(present) == 1:
                return self._single(tx, rows, present[0])
            middle = present[len(present) // 2]
            outcome = self._range(tx, range(rows.start, middle))
            outcome.add(self._range(tx, range(middle, rows.stop)))
            return outcome

    def _single(self, tx: Transaction, rows: range, row: int) -> Merged:
        """A row that PostgreSQL refused has a second turn: what another writer has put in its way
        meanwhile is seen and named now."""
        try:
            with tx.connection.transaction():
                return self._settle(tx, rows)
        except _REFUSED_BY_DATABASE as error:
            self._indexed = False
            return Merged(faults=[_database_fault(self.plan, row, error)])

    def _settle(self, tx: Transaction, rows: range) -> Merged:
        outcome = Merged()
        for _ in range(_ROUNDS):
            standing = _count(tx, rows)
            if not standing:
                return outcome
            if not self._place(tx, rows, standing, outcome):
                return outcome
            self._index(tx)
            tx.run(statement("analyze unplaced"))
            undecided = self._decide(tx, outcome)
            tx.run(merge.drop_unplaced())
            if not undecided:
                return outcome
            # Whoever was in the way is gone again: only these rows have another turn.
            tx.run(
                statement(
                    "delete from staged where row_no >= %s and row_no < %s and row_no <> all(%s)",
                    (rows.start, rows.stop, undecided),
                )
            )
        raise Unavailable("Other writers keep changing the records of this import.", retry_after=5)

    def _place(self, tx: Transaction, rows: range, standing: int, outcome: Merged) -> bool:
        """Insert what can be; whether `unplaced` holds rows that are to be decided on."""
        plan = self.plan
        match_first = plan.by_id or (
            bool(plan.keys) and (self._expect_matches or not plan.keys_indexed)
        )
        created = matched = 0
        if match_first:
            matched = max(tx.run(merge.create_matched(plan, rows)), 0)
        if matched < standing:
            created = tx.run(merge.insert_new(plan, rows, matched=match_first))
        outcome.created += created
        self._expect_matches = created * 2 < standing
        if created + matched < standing:
            self._index(tx)
            add = merge.add_unplaced if match_first else merge.create_unplaced
            tx.run(add(plan, rows))
        elif not matched:
            if match_first:
                tx.run(merge.drop_unplaced())
            return False
        return True

    def _decide(self, tx: Transaction, outcome: Merged) -> list[int]:
        """Account for `unplaced`; returns the rows that nothing stands in the way of any more."""
        plan = self.plan
        tx.run(merge.matched_later())
        if plan.strategy is DuplicateStrategy.SKIP:
            outcome.skipped += _matched(tx)
        elif plan.strategy is DuplicateStrategy.ERROR:
            outcome.faults += [_duplicate(plan, row) for row in tx.all(merge.matched())]
        elif plan.matching:
            self._write_matches(tx, outcome)
        refused = self._refuse(
            tx, outcome, [*merge.incomplete(plan), *merge.taken(plan, updating=False)]
        )
        return [row for row in tx.all(merge.unmatched()) if row not in refused]

    def _write_matches(self, tx: Transaction, outcome: Merged) -> None:
        refused = self._refuse(tx, outcome, merge.taken(self.plan, updating=True))
        if refused:
            tx.run(merge.forget(sorted(refused)))
        rows, records = tx.one(merge.count_matched()) or (0, 0)
        if not rows:
            return
        if not self.plan.changing:
            changed = 0
        elif rows == records:
            changed = tx.run(merge.update_matched(self.plan))
        else:
            changed = tx.one(merge.fold_matched(self.plan)) or 0
        outcome.updated += changed
        outcome.unchanged += rows - changed

    def _refuse(
        self, tx: Transaction, outcome: Merged, steps: Iterable[Statement[Clash]]
    ) -> set[int]:
        """Refuse the rows that the statements find; a row may have several reasons."""
        refused: dict[tuple[int, str], RowFault] = {}
        for step in steps:
            for clash in tx.all(step):
                refused.setdefault((clash.row_no, clash.name), _clash_fault(clash))
        outcome.faults += refused.values()
        return {row for row, _ in refused}


def _count(tx: Transaction, rows: range) -> int:
    found = tx.one(
        statement(
            "select count(*) from staged where row_no >= %s and row_no < %s",
            (rows.start, rows.stop),
        )
    )
    return int(found[0]) if found else 0


def _matched(tx: Transaction) -> int:
    found = tx.one(merge.count_matched())
    return found[0] if found else 0


def _clash_fault(clash: Clash) -> RowFault:
    if clash.record is None:
        return RowFault(clash.row_no, clash.name, "required", f"{clash.name} is required")
    message = f'"{clash.value[:60]}" is already taken by record {clash.record}'
    return RowFault(clash.row_no, clash.name, "unique", message)


def _duplicate(plan: MergePlan, row: Unplaced) -> RowFault:
    names = ", ".join(key.name for key in plan.keys)
    if row.by_import:
        earlier = f"row {row_of(row.target)} of this file"
    else:
        earlier = f"record {row.target}"
    return RowFault(row.row_no, _first(plan), "duplicate", f"has the same {names} as {earlier}")


def _first(plan: MergePlan) -> str:
    return plan.keys[0].name if plan.keys else ""


def _database_fault(plan: MergePlan, row: int, error: psycopg.Error) -> RowFault:
    """What validation let through and PostgreSQL did not, by public name where it says which."""
    about = f"{error.diag.column_name or ''} {error.diag.constraint_name or ''}"
    # Constraints are named after the opaque id of their column, which follows its prefix.
    names = [t.name for t in plan.targets if t.column.strip('"').split("_")[1] in about]
    name = names[0] if names else ""
    code = "unique" if isinstance(error, pg.UniqueViolation) else "rule"
    what = name or "the row"
    return RowFault(row, name, code, f"the database refuses {what} (SQLSTATE {error.sqlstate})")


def refused_rows(faults: Sequence[RowFault]) -> int:
    return len({fault.row for fault in faults})
