"""Laws of an import: it equals rows applied one by one, for any chunk size, crash and replay."""

import itertools
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from tests.transfer.conftest import Importing

THING: dict[str, Any] = {
    "name": "Thing",
    "pluralName": "Things",
    "fields": [
        {"name": "code", "type": "text", "unique": True},
        {"name": "mail", "type": "text", "unique": True},
        {"name": "name", "type": "text", "required": True},
        {"name": "stock", "type": "integer"},
    ],
}
NAMES = ("code", "mail", "name", "stock")
Row = tuple[str, str, str, str]  # "" is an empty cell

rows = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "b", "c", "d"]),
        st.sampled_from(["", "", "", "x", "y"]),
        st.sampled_from(["", "one", "two", "two"]),
        st.sampled_from(["", "1", "2", "no"]),
    ),
    max_size=14,
)
strategies = st.sampled_from(["skip", "update", "merge", "error", None])
keys = st.sampled_from([("code",), ("code", "stock"), ("name",)])


@dataclass
class Oracle:
    """The same import, row by row, in memory."""

    strategy: str | None
    keys: tuple[str, ...]
    records: list[dict[str, Any]] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(["created", "updated", "unchanged", "skipped"], 0)
    )

    def apply(self, number: int, cells: Row) -> None:
        row: dict[str, Any] = {n: c or None for n, c in zip(NAMES, cells, strict=True)}
        if row["stock"] is not None:
            if not row["stock"].isdigit():
                self.refused.add(number)
                return
            row["stock"] = int(row["stock"])
        merging = self.strategy == "merge"
        if row["name"] is None and not merging:
            self.refused.add(number)
            return
        match = self._match(row)
        if match is None:
            if row["name"] is None or self._taken(row, None):
                self.refused.add(number)
            else:
                self.records.append({**row, "version": 1})
                self.counts["created"] += 1
        elif self.strategy == "skip":
            self.counts["skipped"] += 1
        elif self.strategy == "error":
            self.refused.add(number)
        else:
            given_ = {k: v for k, v in row.items() if v is not None or not merging}
            if self._taken(given_, match):
                self.refused.add(number)
            elif all(match[k] == v for k, v in given_.items()):
                self.counts["unchanged"] += 1
            else:
                match.update(given_, version=match["version"] + 1)
                self.counts["updated"] += 1

    def _match(self, row: dict[str, Any]) -> dict[str, Any] | None:
        if self.strategy is None or any(row[k] is None for k in self.keys):
            return None
        same = (r for r in self.records if all(r[k] == row[k] for k in self.keys))
        return next(same, None)

    def _taken(self, row: dict[str, Any], own: dict[str, Any] | None) -> bool:
        return any(
            row.get(name) is not None
            and any(r is not own and r[name] == row[name] for r in self.records)
            for name in ("code", "mail")
        )


def text(body: list[Row]) -> str:
    lines = [",".join(NAMES), *(",".join(row) if any(row) else ",,," for row in body)]
    return "\n".join(lines) + "\n"


def options(strategy: str | None, by: tuple[str, ...]) -> dict[str, Any]:
    return {} if strategy is None else {"uniqueFields": list(by), "duplicateStrategy": strategy}


@pytest.fixture
def things(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> Iterator[Importing]:
    with tempfile.TemporaryDirectory() as directory:
        made = Importing(owner_database, worker_database, tenant, Path(directory))
        made.define(THING)
        yield made


def found(things: Importing) -> list[dict[str, Any]]:
    return [
        {name: record[name] for name in (*NAMES, "version")}
        for record in things.records("Thing", version=True)
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=rows, second=rows, strategy=strategies, by=keys, chunk=st.sampled_from([1, 3, 100]))
@example(  # the third row frees what the second wants, from a record that the first one makes
    first=[],
    second=[("", "x", "one", ""), ("", "x", "two", ""), ("", "", "one", "")],
    strategy="update",
    by=("name",),
    chunk=3,
)
def test_an_import_equals_its_rows_applied_one_by_one(
    things: Importing,
    first: list[Row],
    second: list[Row],
    strategy: str | None,
    by: tuple[str, ...],
    chunk: int,
) -> None:
    things.empty()
    oracle = Oracle(strategy, by)
    for body in (first, second):
        oracle.refused, before = set(), dict(oracle.counts)
        job = things.upload("Thing", text(body), **options(strategy, by))
        outcome = things.run(job, chunk_rows=chunk)
        for number, row in enumerate(body, 1):
            oracle.apply(number, row)
        assert {row.row for row in things.refused(job)} == oracle.refused
        assert outcome.failed == len(oracle.refused)
        assert outcome.total == len(body)
        assert {name: getattr(outcome, name) for name in oracle.counts} == {
            name: count - before[name] for name, count in oracle.counts.items()
        }
        assert found(things) == oracle.records


class Killed(BaseException):
    """Stands for the death of the process."""


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=rows, strategy=strategies, chunk=st.integers(1, 5), deaths=st.sets(st.integers(0, 12)))
def test_an_import_that_dies_at_any_commit_ends_as_one_that_does_not(
    things: Importing, body: list[Row], strategy: str | None, chunk: int, deaths: set[int]
) -> None:
    ends = []
    for dying in (set(), deaths):
        things.empty()
        job = things.upload("Thing", text(body), **options(strategy, ("code",)))
        commits = itertools.count()

        def held(dying: set[int] = dying, commits: Iterator[int] = commits) -> None:
            if next(commits) in dying:
                raise Killed

        for _ in range(20):
            try:
                outcome = things.run(job, chunk_rows=chunk, still_held=held)
                break
            except Killed:
                continue
        refused = {(row.row, row.field, row.code) for row in things.refused(job)}
        ends.append((outcome.status, outcome.created, outcome.updated, refused, found(things)))
        assert things.job(job).total == len(body)
    assert ends[0] == ends[1]


def test_ids_are_of_version_7_and_tell_their_row(things: Importing) -> None:
    things.load("Thing", "name\na\nb\n")
    ids = [uuid.UUID(str(record["id"])) for record in things.records("Thing", version=True)]
    assert [found_id.version for found_id in ids] == [7, 7]
    assert ids == sorted(ids)
