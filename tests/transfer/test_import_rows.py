"""What an import does with good and bad rows, one file at a time."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from hubblewave_pipelines.core.errors import ImportFailed

if TYPE_CHECKING:
    from tests.transfer.conftest import Importing

PART = {
    "name": "Part",
    "pluralName": "Parts",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True, "maxLength": 8},
        {"name": "name", "type": "text"},
        {"name": "price", "type": "decimal", "min": "0"},
        {"name": "stock", "type": "integer", "max": 1000},
        {"name": "mail", "type": "email", "unique": True},
        {"name": "since", "type": "date"},
        {"name": "seen", "type": "datetime"},
        {"name": "status", "type": "enum", "enum": ["new", "old"], "default": "new"},
        {"name": "active", "type": "boolean"},
        {"name": "extra", "type": "json"},
    ],
}


def test_every_kind_of_value_arrives(importing: "Importing") -> None:
    importing.define(PART)
    outcome = importing.load(
        "Part",
        "code,name,price,stock,mail,since,seen,status,active,extra\r\n"
        'A,"a ""b"", c",12.50, 7 ,x@example.org,2024-02-29,2024-01-01T10:00:00Z,old,yes,"{""a"":1}"\r\n'
        "B,,,,,,,,,\r\n",
    )
    assert (outcome.status, outcome.total, outcome.created) == ("completed", 2, 2)
    first, second = importing.records("Part")
    assert first == {
        "code": "A",
        "name": 'a "b", c',
        "price": Decimal("12.50"),
        "stock": 7,
        "mail": "x@example.org",
        "since": date(2024, 2, 29),
        "seen": datetime(2024, 1, 1, 10, tzinfo=UTC),
        "status": "old",
        "active": True,
        "extra": {"a": 1},
    }
    assert second["status"] == "new"
    assert second["name"] is None


def test_all_faults_of_a_row_are_told_at_once(importing: "Importing") -> None:
    importing.define(PART)
    job = importing.upload(
        "Part", "code,price,stock,mail,since\nA,1,2,a@b.cz,2024-01-01\n,-1,5000,nope,2024-02-30\n"
    )
    outcome = importing.run(job)
    assert (outcome.status, outcome.created, outcome.failed) == ("partial", 1, 1)
    faults = {(row.row, row.field): row.code for row in importing.refused(job)}
    assert faults == {
        (2, "code"): "required",
        (2, "price"): "range",
        (2, "stock"): "range",
        (2, "mail"): "format",
        (2, "since"): "format",
    }
    assert [row.raw for row in importing.refused(job) if row.raw] == [",-1,5000,nope,2024-02-30"]


def test_a_second_row_with_a_unique_value_is_refused(importing: "Importing") -> None:
    importing.define(PART)
    job = importing.upload("Part", "code,mail\nA,a@b.cz\nB,a@b.cz\nA,c@b.cz\nC,d@b.cz\n")
    outcome = importing.run(job)
    assert (outcome.created, outcome.failed) == (2, 2)
    assert {(row.row, row.field, row.code) for row in importing.refused(job)} == {
        (2, "mail", "unique"),
        (3, "code", "unique"),
    }


@pytest.mark.parametrize("chunk_rows", [1, 2, 50])
def test_duplicates_are_updated_in_file_order(importing: "Importing", chunk_rows: int) -> None:
    importing.define(PART)
    text = "code,name,stock\nA,one,1\nB,x,\nA,two,\nA,two,\nB,x,\nA,three,3\n"
    outcome = importing.load(
        "Part", text, chunk_rows=chunk_rows, uniqueFields=["code"], duplicateStrategy="update"
    )
    assert (outcome.created, outcome.updated, outcome.unchanged) == (2, 2, 2)
    found = importing.records("Part", version=True)
    assert [(r["code"], r["name"], r["stock"], r["version"]) for r in found] == [
        ("A", "three", 3, 3),
        ("B", "x", None, 1),
    ]


@pytest.mark.parametrize("chunk_rows", [1, 2, 50])
def test_a_merge_keeps_what_empty_cells_do_not_give(
    importing: "Importing", chunk_rows: int
) -> None:
    importing.define(PART)
    text = 'code,name,stock\nA,one,1\nA,"",2\nA,,\nA,two,\n'
    outcome = importing.load(
        "Part", text, chunk_rows=chunk_rows, uniqueFields=["code"], duplicateStrategy="merge"
    )
    assert (outcome.created, outcome.updated, outcome.unchanged) == (1, 2, 1)
    found = importing.records("Part", version=True)
    assert [(r["code"], r["name"], r["stock"], r["version"]) for r in found] == [("A", "two", 2, 3)]


def test_an_error_strategy_names_the_earlier_row(importing: "Importing") -> None:
    importing.define(PART)
    importing.load("Part", "code\nA\n")
    job = importing.upload(
        "Part", "code\nB\nB\nA\n", uniqueFields=["code"], duplicateStrategy="error"
    )
    outcome = importing.run(job)
    assert (outcome.created, outcome.failed) == (1, 2)
    first, second = importing.refused(job)
    assert first.message == "has the same code as row 1 of this file"
    assert second.message.startswith("has the same code as record ")


def test_an_aborting_import_leaves_nothing_behind(importing: "Importing") -> None:
    importing.define(PART)
    job = importing.upload("Part", "code,stock\nA,1\nB,2\nC,x\nD,4\n", onError="abort", batchSize=2)
    with pytest.raises(ImportFailed, match="row 3, stock"):
        importing.run(job)
    assert importing.records("Part") == []
    settled = importing.job(job)
    assert (settled.status, settled.total, settled.created) == ("failed", 0, 0)
    assert [(row.row, row.field) for row in importing.refused(job)] == [(3, "stock")]
