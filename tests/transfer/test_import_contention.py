"""Imports and other writers on the same keys at once: nothing lost, nothing doubled, true counts."""

import random
import threading
from typing import Any

import psycopg
import pytest

from hubblewave_pipelines.core.errors import Recovery, Unavailable
from hubblewave_pipelines.storage import merge, physical
from hubblewave_pipelines.storage.database import Database, Statement, statement
from hubblewave_pipelines.storage.merge_plan import MergePlan
from hubblewave_pipelines.storage.merging import ChunkMerge, Merged
from hubblewave_pipelines.storage.refusals import COLLISION
from hubblewave_pipelines.transfer.imports import ImportOutcome
from tests.transfer.conftest import Importing

ITEM = {
    "name": "Item",
    "pluralName": "Items",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "mail", "type": "text", "unique": True},
        {"name": "stock", "type": "integer"},
    ],
}
KEYS = 40
CHUNK = 30


class Writer(threading.Thread):
    """Creates, changes and deletes records of the same keys, a transaction each, as the API does."""

    def __init__(self, importing: Importing, seed: int, *, deletes: bool) -> None:
        super().__init__(name="writer")
        self.importing = importing
        self.random = random.Random(seed)
        self.deletes = deletes
        self.done = threading.Event()
        self.created = self.deleted = 0
        self.error: BaseException | None = None
        item = importing.entity("Item")
        self.table = physical.qualified(item)
        self.code, self.mail, self.stock = (
            item.columns[name] for name in ("code", "mail", "stock")
        )

    def run(self) -> None:
        try:
            while not self.done.is_set():
                self._write()
        except BaseException as error:  # noqa: BLE001 - raised again by `end`
            self.error = error

    def _write(self) -> None:
        code, mail = f"c{self.random.randrange(KEYS)}", f"m{self.random.randrange(KEYS)}"
        kinds = ["insert", "update", "move"] + ["delete"] * self.deletes
        kind = self.random.choice(kinds)
        texts = {
            "insert": f"insert into {self.table} ({self.code}, {self.mail}) values (%s, %s)",
            "update": f"update {self.table} set {self.stock} = 7, version = version + 1"
            f" where {self.code} = %s and %s <> ''",
            "move": f"update {self.table} set {self.code} = %s, version = version + 1"
            f" where {self.mail} = %s",
            "delete": f"delete from {self.table} where {self.code} = %s and %s <> ''",
        }
        try:
            with self.importing.worker.transaction(self.importing.tenant.id) as tx:
                changed = tx.run(statement(texts[kind], (code, mail)))
        except (psycopg.errors.UniqueViolation, *COLLISION):
            return  # a client would be told
        self.created += changed * (kind == "insert")
        self.deleted += changed * (kind == "delete")

    def end(self) -> None:
        self.done.set()
        self.join()
        if self.error is not None:
            raise self.error


class Run(threading.Thread):
    """An import beside others, on connections of its own."""

    def __init__(self, importing: Importing, content: str, options: dict[str, Any]) -> None:
        super().__init__(name="import")
        self.database = Database(importing.worker.url, importing.worker.role)
        self.own = Importing(
            importing.owner, self.database, importing.tenant, importing.directory, importing.catalog
        )
        self.job = self.own.upload("Item", content, **options)
        self.outcome: ImportOutcome | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.outcome = self.own.run(self.job, chunk_rows=CHUNK)
        except BaseException as error:  # noqa: BLE001 - raised again by `end`
            self.error = error

    def end(self) -> ImportOutcome:
        self.join()
        self.database.close()
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome


def content(seed: int, rows: int = 300) -> str:
    rng = random.Random(seed)
    lines = ["code,mail,stock"]
    for _ in range(rows):
        mail = f"m{rng.randrange(KEYS)}" if rng.random() < 0.5 else ""
        lines.append(f"c{rng.randrange(KEYS)},{mail},{rng.randrange(3)}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("first", "second", "keys", "deletes"),
    [
        ("update", "update", ["code"], False),
        ("update", "merge", ["code"], True),
        ("skip", "error", ["code"], True),
        ("merge", "skip", ["mail"], False),
        ("update", "skip", ["code", "stock"], True),
    ],
    ids=["update-update", "update-merge", "skip-error", "merge-skip-by-mail", "without-index"],
)
def test_two_imports_and_two_writers_on_the_same_keys(
    importing: Importing, first: str, second: str, keys: list[str], deletes: bool
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    importing.define(ITEM)
    writers = [Writer(importing, seed + n, deletes=deletes) for n in range(2)]
    runs = [
        Run(
            importing,
            content(seed + n),
            {"uniqueFields": keys, "duplicateStrategy": strategy},
        )
        for n, strategy in enumerate((first, second))
    ]
    for thread in (*writers, *runs):
        thread.start()
    try:
        outcomes = [run.end() for run in runs]
    finally:
        for writer in writers:
            writer.end()
    records = importing.records("Item")
    for unique in ("code", "mail"):
        held = [r[unique] for r in records if r[unique] is not None]
        assert len(held) == len(set(held))
    created = sum(o.created for o in outcomes) + sum(w.created for w in writers)
    assert len(records) == created - sum(w.deleted for w in writers)
    for run, outcome in zip(runs, outcomes, strict=True):
        counted = (outcome.created, outcome.updated, outcome.unchanged, outcome.skipped)
        assert outcome.total == 300 == sum(counted) + outcome.failed
        assert outcome.failed == len({row.row for row in importing.refused(run.job)})
        assert outcome.status == ("partial" if outcome.failed else "completed")


@pytest.mark.parametrize("strategy", ["update", "merge", "skip"])
def test_two_imports_of_overlapping_keys_end_as_one_after_the_other(
    importing: Importing, strategy: str
) -> None:
    """One chunk each, in opposite orders and of two formats: every round ends as if either import
    had been alone first, whoever won."""
    importing.define(ITEM)
    options = {"uniqueFields": ["code"], "duplicateStrategy": strategy}
    first = "code,stock\n" + "".join(f"c{n},1\n" for n in range(400))
    second = "".join(f'{{"code": "c{n}", "stock": 2}}\n' for n in reversed(range(200, 600)))
    for _ in range(4):
        importing.empty()
        jobs = [importing.upload("Item", text, **options) for text in (first, second)]
        together = threading.Barrier(2)
        outcomes: dict[int, ImportOutcome] = {}

        def load(
            at: int, jobs: list[Any] = jobs, outcomes: Any = outcomes, together: Any = together
        ) -> None:
            together.wait(60)
            outcomes[at] = importing.run(jobs[at])

        threads = [threading.Thread(target=load, args=(at,)) for at in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert [outcomes[at].status for at in range(2)] == ["completed", "completed"]
        found = {record["code"]: record["stock"] for record in importing.records("Item")}
        assert len(importing.records("Item")) == len(found) == 600
        alone = {f"c{n}": 1 for n in range(200)} | {f"c{n}": 2 for n in range(400, 600)}
        shared = {f"c{n}" for n in range(200, 400)}
        assert {code: found[code] for code in alone} == alone
        assert len({found[code] for code in shared}) == 1
        assert outcomes[0].created + outcomes[1].created == 600
        matched = [
            getattr(outcomes[at], "skipped" if strategy == "skip" else "updated") for at in (0, 1)
        ]
        assert sorted(matched) == [0, 200]
        later = matched.index(200)
        winner = 1 - later if strategy == "skip" else later
        assert found["c200"] == winner + 1


def test_a_value_taken_between_the_check_and_the_write_is_refused_by_its_name(
    importing: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    importing.define(ITEM)
    importing.load("Item", "code,stock\nA,1\n")
    item = importing.entity("Item")
    insert = f"insert into {physical.qualified(item)} ({item.columns['mail']}, {item.columns['code']}) values ('x', 'B')"
    build = merge.update_matched

    def too_late(plan: MergePlan) -> Statement[Any]:
        monkeypatch.undo()
        with importing.owner.transaction() as tx:
            tx.run(statement(insert))
        return build(plan)

    job = importing.upload(
        "Item", "code,mail\nA,x\n", uniqueFields=["code"], duplicateStrategy="update"
    )
    monkeypatch.setattr(merge, "update_matched", too_late)
    outcome = importing.run(job)
    assert (outcome.updated, outcome.failed) == (0, 1)
    (refused,) = importing.refused(job)
    assert (refused.field, refused.code) == ("mail", "unique")
    assert refused.message.startswith('"x" is already taken by record ')


@pytest.mark.parametrize("gives_way", [True, False])
def test_a_chunk_that_keeps_colliding_has_the_table_to_itself_and_then_gives_up(
    importing: Importing, monkeypatch: pytest.MonkeyPatch, gives_way: bool
) -> None:
    importing.define(ITEM)
    merge_chunk, tried = ChunkMerge.merge, []

    def collide(self: ChunkMerge, *given: Any, alone: bool, **named: Any) -> Merged:
        tried.append(alone)
        if alone and gives_way:
            return merge_chunk(self, *given, alone=alone, **named)
        raise psycopg.errors.DeadlockDetected("another writer was in the way")

    monkeypatch.setattr(ChunkMerge, "merge", collide)
    job = importing.upload("Item", "code\nA\n")
    if gives_way:
        assert importing.run(job).created == 1
        assert tried == [False, False, True]
        return
    with pytest.raises(Unavailable) as refused:
        importing.run(job)
    assert refused.value.recovery is Recovery.RETRY
    assert len(tried) == 5
    assert importing.job(job).status == "processing"  # another attempt goes on with it
