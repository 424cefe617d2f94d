"""References found by look-up, and imports beside other writers."""

import threading
from typing import TYPE_CHECKING

import pytest

from hubblewave_pipelines.storage import physical
from hubblewave_pipelines.storage.database import statement

if TYPE_CHECKING:
    from tests.transfer.conftest import Importing

MAKER = {
    "name": "Maker",
    "pluralName": "Makers",
    "fields": [{"name": "code", "type": "text", "unique": True, "maxLength": 2}],
}
CAR = {
    "name": "Car",
    "pluralName": "Cars",
    "fields": [
        {"name": "plate", "type": "text", "required": True},
        {"name": "year", "type": "integer"},
    ],
    "relationships": [
        {"name": "maker", "type": "manyToOne", "targetEntity": "Maker", "required": True},
        {"name": "owner", "type": "manyToOne", "targetEntity": "Maker"},
    ],
}


def looked_up(source: str, target: str, missing: str) -> dict[str, object]:
    lookup = {"entity": "Maker", "by": "code", "onMissing": missing}
    return {"sourceField": source, "targetField": target, "transform": {"lookup": lookup}}


MAPPING = [
    {"sourceField": "plate", "targetField": "plate"},
    {"sourceField": "year", "targetField": "year"},
    looked_up("by", "makerId", "reject"),
    looked_up("of", "owner", "null"),
]


def test_references_are_found_by_a_unique_field(importing: "Importing") -> None:
    importing.define(MAKER, CAR)
    importing.load("Maker", "code\nA\nB\n")
    ids = {r["code"]: r["id"] for r in importing.records("Maker", version=True)}
    job = importing.upload(
        "Car", "plate,year,by,of\n1,1,A,B\n2,2,C,B\n3,3,B,toolong\n4,4,,A\n5,x,C,\n", MAPPING
    )
    outcome = importing.run(job)
    assert (outcome.created, outcome.failed) == (2, 3)
    assert [(r["plate"], r["makerId"], r["ownerId"]) for r in importing.records("Car")] == [
        ("1", ids["A"], ids["B"]),
        ("3", ids["B"], None),
    ]
    assert {(row.row, row.field, row.code) for row in importing.refused(job)} == {
        (2, "makerId", "reference"),
        (4, "makerId", "required"),
        (5, "year", "type"),
    }


@pytest.mark.parametrize("chunk_rows", [1, 100])
def test_several_fields_without_an_index_make_a_key(
    importing: "Importing", chunk_rows: int
) -> None:
    importing.define(MAKER, CAR)
    importing.load("Maker", "code\nA\nB\n")
    options = {"uniqueFields": ["plate", "makerId"], "duplicateStrategy": "update"}
    text = "plate,year,by,of\n1,1,A,\n1,1,B,\n1,2,A,\n1,2,A,\n"
    outcome = importing.load("Car", text, MAPPING, chunk_rows=chunk_rows, **options)
    assert (outcome.created, outcome.updated, outcome.unchanged) == (2, 1, 1)
    again = importing.load("Car", text, MAPPING, chunk_rows=chunk_rows, **options)
    assert (again.created, again.updated + again.unchanged) == (0, 4)
    assert [(r["plate"], r["year"]) for r in importing.records("Car")] == [("1", 2), ("1", 1)]


def test_an_import_beside_another_writer_of_the_same_keys_loses_and_doubles_nothing(
    importing: "Importing",
) -> None:
    importing.define(MAKER)
    maker = importing.entity("Maker")
    codes = [f"{a}{b}" for a in "ABCDEFGH" for b in "ABCDEFGH"]
    column = maker.columns["code"]
    insert = (
        f"insert into {physical.qualified(maker)} ({column}) values (%s) on conflict do nothing"
    )
    written: list[int] = []

    def write() -> None:
        for code in reversed(codes):
            with importing.owner.transaction() as tx:
                written.append(tx.run(statement(insert, (code,))))

    job = importing.upload(
        "Maker", "code\n" + "\n".join(codes), uniqueFields=["code"], duplicateStrategy="skip"
    )
    thread = threading.Thread(target=write)
    thread.start()
    outcome = importing.run(job, chunk_rows=3)
    thread.join()
    assert outcome.created + sum(written) == len(codes)
    assert outcome.created + outcome.skipped == len(codes)
    assert sorted(r["code"] for r in importing.records("Maker")) == codes
