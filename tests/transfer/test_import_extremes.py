"""Files nobody expects: a line of a gigabyte, ten thousand columns, cells across blocks, no rows."""

import multiprocessing
import resource
import uuid
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.transfer.imports import run_import
from tests.transfer.conftest import Importing

NOTE = {
    "name": "Note",
    "pluralName": "Notes",
    "fields": [
        {"name": "code", "type": "text", "required": True},
        {"name": "text", "type": "longtext"},
    ],
}
GIGABYTE = 1 << 30
MEGABYTES_ALLOWED = 150


def measured(url: str, tenant_id: uuid.UUID, import_id: uuid.UUID, answer: Connection) -> None:
    """Run an import in this process; answers by how many MB its memory grew at most."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run_import(
        Database(url, Role.WORKER),
        Settings(),
        tenant_id,
        import_id,
        run_id="measured",
        still_held=lambda: None,
        progress=lambda _: None,
    )
    answer.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)


def test_a_line_of_a_gigabyte_costs_its_row_and_no_memory(
    importing: Importing, tmp_path: Path
) -> None:
    importing.define(NOTE)
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.write(b"code,text\nA,first\n")
        file.seek(GIGABYTE, 1)  # a hole: zeros that take no room on the disk
        file.write(b'\nB,second\nC,"')
        file.seek(GIGABYTE // 8, 1)
        file.write(b"\nD,last\n")
    job = importing.upload("Note", path)
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(
        target=measured, args=(importing.worker.url, importing.tenant.id, job, writer)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    grown = reader.recv()
    assert grown < MEGABYTES_ALLOWED, grown
    assert [r["code"] for r in importing.records("Note")] == ["A", "B", "D"]
    refused = importing.refused(job)
    assert [(r.row, r.code) for r in refused] == [(2, "too_long"), (4, "too_long")]
    assert all(r.raw is not None and len(r.raw) < 3_000 for r in refused)
    assert importing.job(job).status == "partial"


def test_ten_thousand_columns_are_read_for_the_two_that_are_wanted(importing: Importing) -> None:
    importing.define(NOTE)
    names = [f"col{n}" for n in range(10_000)]
    row = ",".join(f"v{n}" for n in range(10_000))
    short = row.rpartition(",")[0]
    mapping = [
        {"sourceField": "col7", "targetField": "code"},
        {"sourceField": "col9999", "targetField": "text"},
    ]
    lines = [",".join(names), *[row] * 50, short, row]
    job = importing.upload("Note", "\n".join(lines), mapping)
    outcome = importing.run(job)
    assert (outcome.created, outcome.failed) == (51, 1)
    assert importing.records("Note")[50]["text"] == "v9999"
    (refused,) = importing.refused(job)
    assert (refused.row, refused.code) == (51, "columns")
    assert refused.message == "the row has 9999 columns; the header has 10000"


def test_cells_with_line_ends_may_lie_across_any_border(importing: Importing) -> None:
    importing.define(NOTE)
    cell = '"' + 'a ""b"",\r\nc\n' * 8_000 + '"'  # 100 kB; the file is read 4 MB at a time
    text = 'a "b",\r\nc\n' * 8_000
    rows = [f"{n},{cell}" for n in range(100)]
    outcome = importing.load("Note", "\n".join(["code,text", *rows]), chunk_rows=7)
    assert (outcome.status, outcome.created) == ("completed", 100)
    found = importing.records("Note")
    assert [r["code"] for r in found] == [str(n) for n in range(100)]
    assert {r["text"] for r in found} == {text}


@pytest.mark.parametrize("chunk_rows", [1, 100])
def test_line_ends_may_differ_from_line_to_line(importing: Importing, chunk_rows: int) -> None:
    importing.define(NOTE)
    job = importing.upload("Note", b'code,text\r\nA,1\nB,2\rC,"x\ny"\r\n\n\r\nD,3\r\r\nE\n\nF,6')
    outcome = importing.run(job, chunk_rows=chunk_rows)
    assert (outcome.created, outcome.failed) == (5, 1)
    assert [(r["code"], r["text"]) for r in importing.records("Note")] == [
        ("A", "1"),
        ("B", "2"),
        ("C", "x\ny"),
        ("D", "3"),
        ("F", "6"),
    ]
    assert [(r.row, r.code) for r in importing.refused(job)] == [(5, "columns")]


@pytest.mark.parametrize("content", ["code,text", "code,text\n", "code,text\r\n\r\n"])
@pytest.mark.parametrize("on_error", ["continue", "abort"])
def test_a_header_without_rows_is_an_import_of_nothing(
    importing: Importing, content: str, on_error: str
) -> None:
    importing.define(NOTE)
    outcome = importing.load("Note", content, onError=on_error)
    assert (outcome.status, outcome.total) == ("completed", 0)


@pytest.mark.parametrize("left", [0, 15])
def test_a_file_cut_short_after_its_upload_is_refused_whole(
    importing: Importing, tmp_path: Path, left: int
) -> None:
    importing.define(NOTE)
    path = tmp_path / "cut.csv"
    path.write_text("code,text\nA,1\nB,2\n")
    job = importing.upload("Note", path)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ImportFailed, match="upload it again"):
        importing.run(job)
    assert importing.job(job).status == "failed"
    assert importing.records("Note") == []
