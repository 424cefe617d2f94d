"""Every format, packed or not, brings the same records; a killed import of any of them goes on."""

import itertools
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.import_options import parse_options
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.transfer.apart import Limits, inspect
from hubblewave_pipelines.transfer.formats import Source
from hubblewave_pipelines.transfer.opening import open_reader
from tests.transfer import files
from tests.transfer.conftest import Importing

ALL: dict[str, Any] = {
    "name": "All",
    "pluralName": "Alls",
    "fields": [
        {"name": "code", "type": "text", "unique": True, "required": True},
        {"name": "whole", "type": "integer"},
        {"name": "float", "type": "number"},
        {"name": "ok", "type": "boolean"},
        {"name": "day", "type": "date"},
        {"name": "at", "type": "datetime"},
        {"name": "price", "type": "decimal"},
        {"name": "text", "type": "longtext"},
    ],
}
ROWS = [
    {
        "code": f"K{n:03d}",
        "whole": (n - 50) * 10**11 if n % 7 else None,
        "float": n / 8 if n % 5 else None,
        "ok": bool(n % 2),
        "day": date(2000 + n % 30, 1 + n % 12, 1 + n % 28),
        "at": datetime(2026, 1, 31, n % 24 if n % 3 else 0, 0, 0, tzinfo=UTC),
        "price": Decimal(f"{n}234567890123456789.{n % 10}0"),
        "text": f'Zeile {n}, "ä"\nzwei' if n % 4 else None,
    }
    for n in range(1, 61)
]


@pytest.fixture
def everything(importing: Importing) -> Importing:
    importing.define(ALL)
    return importing


class Killed(BaseException):
    """Stands for the death of the process."""


@pytest.mark.parametrize(
    ("kind", "packing"),
    [
        ("csv", "gz"),
        ("csv", "zip"),
        ("ndjson", "plain"),
        ("json", "zip"),
        ("xml", "gz"),
        ("xlsx", "plain"),
        ("xls", "zip"),
        ("parquet", "gz"),
    ],
)
def test_a_killed_import_of_every_format_ends_with_exactly_its_records(
    everything: Importing, kind: str, packing: str
) -> None:
    path = everything.directory / "all"
    path.write_bytes(files.PACKED[packing](files.FORMATS[kind](ROWS)))
    job = everything.upload("All", path)
    detected = everything.job(job).detected
    assert isinstance(detected, dict)
    found = (detected["format"], detected["compression"])
    assert found == (kind, {"plain": None, "gz": "gzip", "zip": "zip"}[packing])
    commits = itertools.count()

    def held() -> None:
        if next(commits) == 2:
            raise Killed

    with pytest.raises(Killed):
        everything.run(job, chunk_rows=13, still_held=held)
    assert len(everything.records("All")) == 26
    outcome = everything.run(job, chunk_rows=13)
    assert (outcome.status, outcome.created, outcome.failed) == ("completed", 60, 0)
    assert everything.records("All") == ROWS
    done = everything.job(job)
    assert done.bytes_done <= done.file_size


def seen(path: Path, name: str = "file", **options: Any) -> Source:
    reading = Reading()
    parsed = parse_options(options, reading)
    assert not reading.faults
    return inspect(path, name, parsed, Limits())


def rows_of(path: Path, name: str = "file", **options: Any) -> list[dict[str, str | None]]:
    """The well-formed rows, all columns."""
    source = seen(path, name, **options)
    reader = open_reader(path, source, Limits(), columns=source.columns)
    found: list[dict[str, str | None]] = []
    for chunk in reader.chunks(chunk_rows=1_000):
        found += [
            {name: cell for name, cell in row.items() if name in source.columns}
            for row in chunk.table.to_pylist()
        ]
    return found


@pytest.mark.parametrize(
    ("content", "options", "name", "encoding", "how"),
    [
        ("code,name\nA,Ä€\n".encode(), {}, "Ä€", "utf-8", "content"),
        ("code,name\nA,Ä€\n".encode("utf-8-sig"), {"encoding": "iso-8859-1"}, "Ä€", "utf-8", "bom"),
        ("\ufeffcode,name\rA,Ä€\r".encode("utf-16-le"), {}, "Ä€", "utf-16-le", "bom"),
        ("\ufeffcode,name\r\nA,Ä€\r\n".encode("utf-16-be"), {}, "Ä€", "utf-16-be", "bom"),
        ("code,name\nA,Ä€\n".encode("utf-16-le"), {}, "Ä€", "utf-16-le", "content"),
        ("code;name\nA;Äh€\n".encode("cp1252"), {}, "Äh€", "windows-1252", "content"),
        ("code\tname\nA\tÄ¤\n".encode("latin-1"), {"encoding": "ISO-8859-1"}, "Ä¤", "iso-8859-1", "option"),
        ("code|name\nA|日本\n".encode("cp932"), {"encoding": "shift_jis"}, "日本", "shift_jis", "option"),
    ],
)  # fmt: skip
def test_an_encoding_is_reported_and_never_guessed_silently(
    tmp_path: Path, content: bytes, options: dict[str, Any], name: str, encoding: str, how: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    source = seen(path, **options)
    assert (source.encoding, source.encoding_from) == (encoding, how)
    assert rows_of(path, **options) == [{"code": "A", "name": name}]


def test_what_an_encoding_does_not_know_refuses_its_row_only(everything: Importing) -> None:
    content = b"\xff\xfe" + "code,text\nA,x\n".encode("utf-16-le") + b"B\0,\0\x00\xd8\n\0C\0,\0y\0"
    job = everything.upload("All", content)
    assert everything.run(job).created == 2
    assert [(row.row, row.code) for row in everything.refused(job)] == [(2, "encoding")]
    mixed = "code,text\nM,ä\nN,ö\n".encode() + b"O,\xe4\n"
    job = everything.upload("All", mixed)
    assert everything.run(job).created == 2
    assert [(row.row, row.code) for row in everything.refused(job)] == [(3, "encoding")]


def test_files_without_a_header_and_names_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"A;1\nB;2\n")
    assert rows_of(path, header=False) == [
        {"column1": "A", "column2": "1"},
        {"column1": "B", "column2": "2"},
    ]
    path.write_bytes(b'{"code": "A"}\n{"code": "B"}\n')
    assert [row["code"] for row in rows_of(path, "data.csv")] == ["A", "B"]
    path.write_bytes(b"code\nA\n")
    for name in ("a.xlsx", "a.parquet", "a.json", "a.xml"):
        with pytest.raises(ImportFailed, match="its content is no"):
            seen(path, name)
    with pytest.raises(ImportFailed, match="is no XLSX"):
        seen(path, format="xlsx")


def test_records_are_found_at_their_path(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(
        b'{"meta": {"n": [1, 2], "t": "]}\\""}, "data": {"items": [{"a": 1.10, "b": [1, {"c": 2.50}]}, '
        b'{"a": 1e400, "d": null}], "rest": 1}}'
    )
    expected = [
        {"a": "1.10", "b": '[1, {"c": 2.50}]', "d": None},
        {"a": "1e400", "b": None, "d": None},
    ]
    assert rows_of(path, recordPath="data.items") == expected
    with pytest.raises(ImportFailed, match=r'no "data\.nope"'):
        seen(path, recordPath="data.nope")
    path.write_bytes(b'{"next": null, "items": [{"a": true}, {"a": false}]}')
    assert seen(path).record_path == ("items",)
    assert rows_of(path) == [{"a": "true"}, {"a": "false"}]
    path.write_bytes(b'{\n "a": "one object"\n}')
    assert rows_of(path) == [{"a": "one object"}]
    path.write_bytes(
        b'<x:r xmlns:x="u"><x:list n="2"><x:i id="7"><x:t>one</x:t><x:t>two</x:t><x:e/></x:i>'
        b"<x:i><x:t>&lt;</x:t></x:i></x:list></x:r>"
    )
    assert rows_of(path, recordPath="r/list/i") == [
        {"t": '["one", "two"]', "e": "", "id": "7"},
        {"t": "<", "e": None, "id": None},
    ]
    path.write_bytes(b"<records><record><a>1</a></record><record><a>2</a></record></records>")
    assert rows_of(path) == [{"a": "1"}, {"a": "2"}]
