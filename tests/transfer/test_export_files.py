"""Files that exports write: each format, what spreadsheets may not evaluate, and what is refused."""

import csv
import gzip
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lxml import etree
from python_calamine import CalamineWorkbook

from hubblewave_pipelines.core.errors import ExportFailed, Invalid
from hubblewave_pipelines.storage.database import statement
from hubblewave_pipelines.storage.physical import qualified
from tests.transfer.conftest import Exporting

FIELDS = {
    "label": "text",
    "story": "longtext",
    "count": "integer",
    "share": "number",
    "price": "decimal",
    "open": "boolean",
    "day": "date",
    "at": "datetime",
    "mail": "email",
    "site": "url",
    "mark": "uuid",
    "extra": "json",
    "state": "enum",
}
THING = {
    "name": "Thing",
    "pluralName": "Things",
    "fields": [
        {"name": name, "type": kind, **({"enum": ["new", "old"]} if kind == "enum" else {})}
        for name, kind in FIELDS.items()
    ],
}
NAMES = list(FIELDS)
FULL: dict[str, Any] = {
    "label": 'Ünï, "quoted"\nline',
    "story": "<b> & \x0b_x0041_ \r end",
    "count": "-9007199254740993",
    "share": "0.1",
    "price": "12345678901234567890.10",
    "open": "true",
    "day": "2024-02-29",
    "at": "2024-02-29T12:30:00.123456Z",
    "mail": "a@example.com",
    "site": "https://example.com/?q=1",
    "mark": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "extra": '{"a": [1, "x\\"y", null]}',
    "state": "new",
}


def load(exporting: Exporting, *rows: dict[str, Any]) -> None:
    """Define Thing and fill it; what a row does not name is null."""
    exporting.importing.define(THING)
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NOTNULL if hasattr(csv, "QUOTE_NOTNULL") else 1)
    writer.writerow(NAMES)
    text.write("".join(_line(row) for row in rows))
    exporting.importing.load("Thing", text.getvalue())


def _line(row: dict[str, Any]) -> str:
    cells = ['"' + row[n].replace('"', '""') + '"' if n in row else "" for n in NAMES]
    return ",".join(cells) + "\r\n"


def lines(data: bytes) -> list[str]:
    return data.decode().split("\n")


def test_csv_is_what_people_and_programs_read(exporting: Exporting) -> None:
    load(exporting, {**FULL, "label": "plain"}, {"label": ""}, {})
    data = exporting.file("Thing", fields=NAMES, sort="id", options={"raw": True})
    header, first, empty, nothing, end = data.replace(b"\r end", b"CR end").decode().split("\n")
    assert header == ",".join(NAMES)
    assert first.startswith("plain,")
    assert ",12345678901234567890.10,true,2024-02-29,2024-02-29T12:30:00.123456Z," in first
    assert empty == '""' + "," * (len(NAMES) - 1)
    assert nothing == "," * (len(NAMES) - 1)
    assert end == ""


def test_json_and_ndjson_hold_what_the_api_shows(exporting: Exporting) -> None:
    load(exporting, FULL, {"label": ""})
    one_by_one = exporting.file("Thing", "ndjson", fields=NAMES, sort="id")
    rows = [json.loads(line) for line in one_by_one.splitlines()]
    assert rows == json.loads(exporting.file("Thing", "json", fields=NAMES, sort="id"))
    assert rows[0] == {
        **FULL,
        "count": -9007199254740993,
        "share": 0.1,
        "open": True,
        "extra": {"a": [1, 'x"y', None]},
    }
    assert rows[1] == {name: "" if name == "label" else None for name in NAMES}


def test_xml_holds_every_character(exporting: Exporting) -> None:
    load(exporting, FULL, {"label": ""})
    root = etree.fromstring(exporting.file("Thing", "xml", fields=NAMES, sort="id"))
    first, second = root.findall("record")
    assert first.findtext("label") == FULL["label"]
    assert first.findtext("story") == "<b> & _x000B__x005F_x0041_ \r end"
    assert json.loads(first.findtext("extra") or "") == {"a": [1, 'x"y', None]}
    nil = "{http://www.w3.org/2001/XMLSchema-instance}nil"
    assert second.find("label").get(nil) is None
    assert {child.tag for child in second if child.get(nil) == "true"} == {*NAMES} - {"label"}


def test_parquet_has_types(exporting: Exporting) -> None:
    load(exporting, FULL, {"label": ""})
    table = pq.read_table(pa.BufferReader(exporting.file("Thing", "parquet", fields=NAMES)))
    types = dict(zip(table.schema.names, map(str, table.schema.types), strict=True))
    assert types["at"] == "timestamp[us, tz=UTC]"
    assert (types["count"], types["share"], types["open"]) == ("int64", "double", "bool")
    assert (types["day"], types["price"]) == ("date32[day]", "string")
    first = table.to_pylist()[0]
    assert first["at"].microsecond == 123456
    assert (first["label"], first["story"]) == (FULL["label"], FULL["story"])
    assert table.to_pylist()[1] == {name: "" if name == "label" else None for name in NAMES}


def test_xlsx_types_its_cells_and_loses_nothing(exporting: Exporting) -> None:
    load(exporting, FULL, {**FULL, "count": "7", "price": "1.5", "at": "2024-02-29T12:30:00Z"})
    data = exporting.file("Thing", "xlsx", fields=NAMES, sort="id")
    rows = CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(0).to_python()
    first, second = (dict(zip(rows[0], row, strict=True)) for row in rows[1:])
    assert first["count"] == "-9007199254740993"  # a double would round it
    assert first["price"] == "12345678901234567890.10"
    assert first["at"] == "2024-02-29T12:30:00.123456Z"
    assert (second["count"], second["price"], second["open"]) == (7.0, 1.5, True)
    assert second["at"].isoformat() == "2024-02-29T12:30:00"
    assert second["day"].isoformat()[:10] == "2024-02-29"
    assert second["label"] == FULL["label"]


SIGNS = ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"]  # noqa: RUF001 - full-width signs are the point


def test_I7_what_a_spreadsheet_would_evaluate_is_neutralised(exporting: Exporting) -> None:
    attacks = [f'{sign}HYPERLINK("http://example.com","x")' for sign in SIGNS]
    numbers = {"count": "-5", "price": "-1.50"}
    load(exporting, *({"label": a, "story": f"a;{a}", **numbers} for a in attacks))
    asked: dict[str, Any] = {"fields": ["label", "story", "count", "price"], "sort": "id"}
    guarded = exporting.file("Thing", **asked).decode()
    rows = list(csv.reader(io.StringIO(guarded, newline="")))[1:]
    # Numbers stay numbers.
    assert rows == [[f"'{a}", f"a;{a}", "-5", "-1.50"] for a in attacks]
    assert guarded.count('"a;') == len(attacks)  # no cell begins inside another
    book = CalamineWorkbook.from_filelike(io.BytesIO(exporting.file("Thing", "xlsx", **asked)))
    assert [row[0] for row in book.get_sheet_by_index(0).to_python()[1:]] == [r[0] for r in rows]
    exact = exporting.file("Thing", options={"raw": True}, **asked).decode()
    found = list(csv.reader(io.StringIO(exact, newline="")))[1:]
    assert found == [[a, f"a;{a}", "-5", "-1.50"] for a in attacks]


def test_I7_the_guard_is_in_the_manifest(exporting: Exporting) -> None:
    load(exporting, FULL)
    for options, guarded in (({}, True), ({"raw": True}, False)):
        job = exporting.ask("Thing", options=options)
        exporting.run(job)
        assert exporting.job(job.id).manifest["formulaGuard"] is guarded


def test_the_manifest_says_what_is_in_the_file(exporting: Exporting) -> None:
    load(exporting, FULL, {**FULL, "state": "old"})
    job = exporting.ask("Thing", where={"state": "new"}, fields=["label", "count"])
    outcome = exporting.run(job)
    data = Path(outcome.path).read_bytes()
    found = exporting.job(job.id)
    assert found.manifest | {"snapshot": None} == {
        "entity": "Thing",
        "query": {"where": {"state": "new"}, "fields": ["label", "count"]},
        "format": "csv",
        "options": job.options,
        "formulaGuard": True,
        "columns": [{"name": "label", "type": "text"}, {"name": "count", "type": "integer"}],
        "rowCount": 1,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "snapshot": None,
    }
    assert found.manifest["snapshot"]["xids"].count(":") == 2
    assert (found.status, found.total, found.file_size) == ("completed", 1, len(data))
    assert Path(outcome.path).stat().st_mode & 0o777 == 0o600
    assert Path(outcome.path).parent.stat().st_mode & 0o777 == 0o700


def test_times_have_one_form_whatever_parts_of_a_second_they_have(exporting: Exporting) -> None:
    seconds = ("0001-01-01T00:00:00", "0999-12-31T23:59:59", "9999-12-31T23:59:59")
    parts = ("000000", "000001", "999999", "500000", "100000", "120000")
    times = [f"{second}.{part}Z" for second in seconds for part in parts]
    load(exporting, *({"at": time} for time in times))
    data = exporting.file("Thing", fields=["at"], sort="at", options={"header": False})
    assert data.decode().splitlines() == sorted(times)


def test_compressed_files_hold_the_same(exporting: Exporting) -> None:
    load(exporting, FULL)
    plain = exporting.file("Thing", "xml")
    packed = exporting.file("Thing", "xml", options={"compression": "gzip"})
    assert gzip.decompress(packed) == plain
    job = exporting.ask("Thing", "xml", options={"compression": "zip", "fileName": "all"})
    outcome = exporting.run(job)
    with zipfile.ZipFile(outcome.path) as archive:
        assert archive.namelist() == ["all.xml"]
        assert archive.read("all.xml") == plain
    assert outcome.sha256 == hashlib.sha256(Path(outcome.path).read_bytes()).hexdigest()


def test_csv_in_another_encoding(exporting: Exporting) -> None:
    load(exporting, {"label": "Ünï"}, {"label": "ß"})
    codecs = {"utf-16": "utf-16", "utf-8-bom": "utf-8-sig", "windows-1252": "cp1252"}
    for encoding, codec in {**codecs, "latin-1": "latin-1"}.items():
        options = {"encoding": encoding, "delimiter": ";"}
        data = exporting.file("Thing", fields=["label", "count"], sort="id", options=options)
        assert data.decode(codec) == 'label;count\n"Ünï";\n"ß";\n'


def test_a_character_that_an_encoding_lacks_fails_the_export_by_name(exporting: Exporting) -> None:
    load(exporting, {"label": "日本"})
    job = exporting.ask("Thing", options={"encoding": "latin-1"})
    with pytest.raises(ExportFailed, match=r"latin-1 has no character '日' \(U\+65E5\)"):
        exporting.run(job)
    assert exporting.job(job.id).status == "failed"
    assert exporting.on_disk() == []


def test_a_text_longer_than_a_cell_fails_the_export_by_name(exporting: Exporting) -> None:
    load(exporting, {"story": "x" * 32_768})
    with pytest.raises(ExportFailed, match="story holds a text of 32768 characters in row 1"):
        exporting.file("Thing", "xlsx")
    assert exporting.on_disk() == []


def test_no_rows_are_a_file_too(exporting: Exporting) -> None:
    exporting.importing.define(THING)

    def empty(format: str) -> bytes:
        return exporting.file("Thing", format, fields=["label", "count"])

    assert empty("csv") == b"label,count\n"
    assert (empty("json"), empty("ndjson")) == (b"[]\n", b"")
    assert len(etree.fromstring(empty("xml"))) == 0
    assert pq.read_table(pa.BufferReader(empty("parquet"))).to_pylist() == []
    book = CalamineWorkbook.from_filelike(io.BytesIO(empty("xlsx")))
    assert book.get_sheet_by_index(0).to_python() == [["label", "count"]]


def test_columns_and_order_follow_relations(exporting: Exporting) -> None:
    city = {"name": "City", "pluralName": "Cities", "fields": [{"name": "name", "type": "text"}]}
    shop = {
        "name": "Shop",
        "pluralName": "Shops",
        "fields": [{"name": "label", "type": "text"}],
        "relationships": [{"name": "city", "type": "manyToOne", "targetEntity": "City"}],
    }
    exporting.importing.define(city, shop)
    exporting.importing.load("City", "name\nOslo\nAden\n")
    exporting.importing.load("Shop", "label\none\ntwo\nthree\n")
    cities, shops = exporting.importing.entity("City"), exporting.importing.entity("Shop")
    label, name = shops.columns["label"], cities.columns["name"]
    with exporting.importing.owner.transaction() as tx:
        tx.run(
            statement(
                f"update {qualified(shops)} s set {shops.columns['cityId']} = c.id"
                f" from {qualified(cities)} c where c.{name} ="
                f" case s.{label} when 'one' then 'Oslo' when 'two' then 'Aden' end"
            )
        )
    data = exporting.file(
        "Shop", fields=["label", "city.name"], sort="city.name", options={"raw": True}
    )
    assert lines(data) == ["label,city.name", "two,Aden", "one,Oslo", "three,", ""]
    part = exporting.file("Shop", fields="label", sort="-label", limit=1, offset=1)
    assert lines(part) == ["label", '"three"', ""]


def test_faults_are_named_all_at_once(exporting: Exporting) -> None:
    catalog = exporting.importing.define(THING)
    assert catalog.named("Thing")
    with pytest.raises(Invalid) as refused:
        exporting.ask(
            "Thing",
            "cvs",
            fields=["labl"],
            where={"count": "x"},
            limit=-1,
            options={"delimiter": "ab", "raws": 1},
            schedule="* * *",
            timezone="Mars/Base",
        )
    assert sorted(fault.pointer or "" for fault in refused.value.faults) == [
        "#/fields",
        "#/format",
        "#/limit",
        "#/options/delimiter",
        "#/options/raws",
        "#/schedule",
        "#/timezone",
        "#/where",
    ]


def test_F6_a_full_disk_fails_the_export_and_leaves_nothing(
    exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(exporting, FULL)

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    job = exporting.ask("Thing")
    with pytest.raises(ExportFailed, match="no room for the file"):
        exporting.run(job)
    monkeypatch.undo()
    assert exporting.job(job.id).error["code"] == "export.failed"
    assert exporting.on_disk() == []
