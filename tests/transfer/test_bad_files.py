"""Hostile and broken files (matrix I1 to I6): refused before harm, each with its reason."""

import gzip
import io
import json
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.import_options import parse_options
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.transfer.apart import Limits, inspect
from hubblewave_pipelines.transfer.formats import Source
from hubblewave_pipelines.transfer.opening import open_reader
from tests.transfer import files

MEMORY = 1 << 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def seen(path: Path, name: str = "file", limits: Limits | None = None, **options: Any) -> Source:
    return inspect(path, name, parse_options(options, Reading()), limits or Limits(memory=MEMORY))


def read(
    path: Path, name: str = "file", limits: Limits | None = None, **options: Any
) -> tuple[list[dict[str, str | None]], dict[int, str]]:
    """Well-formed rows, and the code of each refused one."""
    limits = limits or Limits(memory=MEMORY)
    source = seen(path, name, limits, **options)
    rows, bad = list[dict[str, str | None]](), dict[int, str]()
    for chunk in open_reader(path, source, limits, columns=source.columns).chunks(chunk_rows=1_000):
        rows += chunk.table.select(list(source.columns)).to_pylist()
        bad |= {row.row: row.code for row in chunk.malformed}
    return rows, bad


LAUGHS = "".join(
    f'<!ENTITY l{n} "{"".join(f"&l{n - 1};" for _ in range(10))}">' for n in range(1, 10)
)


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE r [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]>',
        '<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd">',
        f'<!DOCTYPE r [<!ENTITY l0 "lol">{LAUGHS}<!ENTITY x "&l9;">]>',
        f'<!DOCTYPE r [<!ENTITY x "{"a" * 50_000}">]>',
        '<!-- a comment --><!DOCTYPE r [<!ATTLIST a b CDATA "default">]>',
    ],
    ids=["file", "http", "external", "laughs", "quadratic", "defaults"],
)
def test_i1_xml_with_a_document_type_is_refused(path: Path, prolog: str) -> None:
    path.write_text(f'<?xml version="1.0"?>{prolog}<r><a><b>&x;</b></a></r>')
    with pytest.raises(ImportFailed, match="DOCTYPE"):
        seen(path)
    path.write_bytes(path.read_text().encode("utf-16"))
    with pytest.raises(ImportFailed, match="DOCTYPE"):
        seen(path)


def test_i1_xinclude_is_text_and_huge_or_deep_xml_is_refused(path: Path) -> None:
    inclusion = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>'
    path.write_text(f"<r><a><b>{inclusion}</b></a></r>")
    rows, _ = read(path)
    assert "root:" not in str(rows)
    assert "file:///etc/passwd" in str(rows)
    path.write_text(f"<r><a><b>x</b></a><a><b>{'y' * (2 << 20)}</b></a><a><b>z</b></a></r>")
    assert read(path) == ([{"b": "x"}, {"b": "z"}], {2: "too_long"})
    path.write_text(f"<r><a><b>{'y' * (11 << 20)}</b></a></r>")
    with pytest.raises(ImportFailed):
        seen(path)
    path.write_text("<r>" + "<a>" * 5_000 + "</a>" * 5_000 + "</r>")
    with pytest.raises(ImportFailed):
        seen(path)
    path.write_text("<r><a><b>x</b></a><a><b>cut")
    with pytest.raises(ImportFailed, match="cannot be read"):
        read(path)


def zipped(*members: tuple[str, bytes], **attributes: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return out.getvalue()


def encrypted() -> bytes:
    """A ZIP whose entry says that it is encrypted."""
    content = bytearray(zipped(("a.csv", b"a\n1\n")))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped(("a.csv", b"0" * (100 << 20))), "bomb"),
        (zipped(("a.zip", zipped(("a.csv", b"a\n1\n")))), "archive in an archive"),
        (zipped(*((f"{n}.zip", b"PK\x05\x06" + bytes(18)) for n in range(16))), "holds 16 files"),
        (zipped(*((f"{n}.csv", b"") for n in range(1_001))), "1000 entries"),
        (zipped(("a.csv", b"/etc/passwd"), external_attr=0o120777 << 16), "a link"),
        (zipped(("../a.csv", b"a\n1\n")), "unsafe name"),
        (zipped(("/etc/a.csv", b"a\n1\n")), "unsafe name"),
        (zipped(("C:\\a.csv", b"a\n1\n")), "unsafe name"),
        (zipped(("..\\a.csv", b"a\n1\n")), "unsafe name"),
        (zipped(("a\x07.csv", b"a\n1\n")), "unsafe name"),
        (zipped(("nul.csv", b"a\n1\n")), "unsafe name"),
        (zipped(("\u00e4.csv", b"a\n1\n"), ("a\u0308.csv", b"a\n1\n")), "twice"),
        (zipped(), "holds 0 files"),
        (encrypted(), "encrypted"),
        (zipped(("a.csv", b"a\n1\n"))[:-10], "directory is missing"),
        (gzip.compress(gzip.compress(b"a\n1\n")), "packed twice"),
        (gzip.compress(b"a\n" + b"0" * (100 << 20)), "bomb"),
    ],
    ids=[
        "bomb", "nested", "42", "entries", "symlink", "dotdot", "absolute", "drive", "backslash",
        "control", "reserved", "nfc", "empty", "encrypted", "cut", "twice", "gzip-bomb",
    ],
)  # fmt: skip
def test_i2_zip_and_gzip_are_refused_before_anything_is_extracted(
    path: Path, content: bytes, reason: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(ImportFailed, match=reason):
        seen(path)
    assert list(path.parent.iterdir()) == [path]


def test_i2_zip_with_a_directory_of_a_million_entries_is_not_read(path: Path) -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65_535, 65_535, 46 << 20, 4, 0)
    path.write_bytes(b"PK\x03\x04" + bytes(46 << 20) + end)
    with pytest.raises(ImportFailed, match="1000 entries"):
        seen(path)


def test_i2_zip_whose_sizes_lie_and_gzip_that_grows_are_stopped_on_the_way(path: Path) -> None:
    bomb = gzip.compress(b"a\n" + (b"0" * 100_000 + b"\n") * 1_000)
    path.write_bytes(bomb[:-4] + struct.pack("<I", 1_000))  # it says that it holds 1,000 bytes
    with pytest.raises(ImportFailed, match="bomb"):
        read(path)
    small = Limits(memory=MEMORY, max_inflated=1 << 20)
    path.write_bytes(gzip.compress(b"a\n" + b"0123456789\n" * 200_000))
    with pytest.raises(ImportFailed, match="more than 1048576 bytes"):
        read(path, limits=small)


@pytest.mark.parametrize("kind", ["csv", "ndjson", "json"])
def test_a_truncated_gzip_is_refused_or_gives_its_whole_rows_and_then_fails(
    path: Path, kind: str
) -> None:
    rows = [{"code": f"{n:x}{n * 7919 % 10007}"} for n in range(200_000)]
    packed = gzip.compress(files.FORMATS[kind](rows))
    path.write_bytes(packed[:2_000])
    with pytest.raises(ImportFailed, match="cut short"):
        seen(path)
    if kind == "json":  # its first 16 MiB are looked at for the place of its records
        return
    path.write_bytes(packed[: len(packed) * 9 // 10])
    found: list[str | None] = []
    reader = open_reader(path, seen(path), Limits(), columns=["code"])
    with pytest.raises(ImportFailed, match="cut short"):  # noqa: PT012 - the chunks before it count
        for chunk in reader.chunks(chunk_rows=1_000):
            found += chunk.table["code"].to_pylist()
    assert len(found) > 10_000 or kind == "csv"  # which is read 4 MB at a time
    assert found == [row["code"] for row in rows[: len(found)]]


def workbook(path: Path, write: Any) -> None:
    book = xlsxwriter.Workbook(path)
    write(book, book.add_worksheet("Data"))
    book.close()


def test_i3_xlsx_with_one_cell_far_away_formulas_merged_cells_and_links(path: Path) -> None:
    def write(book: Any, sheet: Any) -> None:
        sheet.write_row(2, 1, ["code", "sum", "note"])
        sheet.write_row(4, 1, ["A"])
        sheet.write_formula(4, 2, "=1+1", None, 2)
        sheet.write_formula(4, 3, '=HYPERLINK("http://127.0.0.1:9/","x")', None, "x")
        sheet.merge_range(5, 1, 6, 1, "merged")
        sheet.write_string(6, 3, "below")
        sheet.write_formula(7, 1, "=cmd|' /C calc'!A0", None, "dde")
        sheet.write_string(1_048_575, 1, "last")

    workbook(path, write)
    limits = Limits(memory=MEMORY)
    source = seen(path)
    chunks = open_reader(path, source, limits, columns=source.columns).chunks(chunk_rows=10)
    (chunk,) = chunks
    assert chunk.table.to_pylist() == [
        {"code": "A", "sum": "2", "note": "x"},
        {"code": "merged", "sum": None, "note": None},
        {"code": None, "sum": None, "note": "below"},
        {"code": "dde", "sum": None, "note": None},
        {"code": "last", "sum": None, "note": None},
    ]
    # Row 5 of the sheet is row 2 below its header; the last row of all is its own number too.
    assert chunk.row_numbers.tolist() == [2, 3, 4, 5, 1_048_573]


def test_i3_xlsx_that_claims_every_cell_ends_its_reader_and_nothing_else(path: Path) -> None:
    def write(book: Any, sheet: Any) -> None:
        sheet.write_string(0, 0, "code")
        sheet.write_string(1_048_575, 16_383, "x")

    workbook(path, write)
    with pytest.raises(ImportFailed, match=r"held in memory as a whole.* save the sheet as CSV"):
        seen(path)


def test_i3_xlsx_with_huge_shared_strings_is_refused_by_its_ratio(path: Path) -> None:
    strings = b"<sst>" + b"<si><t>" + b"a" * (100 << 20) + b"</t></si></sst>"
    path.write_bytes(
        zipped(
            ("[Content_Types].xml", b"<Types/>"),
            ("xl/workbook.xml", b"<workbook/>"),
            ("xl/sharedStrings.xml", strings),
        )
    )
    with pytest.raises(ImportFailed, match="bomb"):
        seen(path)
    path.write_bytes(zipped(("[Content_Types].xml", b"<x"), ("xl/workbook.xml", b"nonsense")))
    with pytest.raises(ImportFailed, match="cannot be read"):
        seen(path)
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4_000))
    with pytest.raises(ImportFailed):
        seen(path, "a.xls")


def test_i4_csv_of_10_000_columns_duplicate_headers_mixed_cells_and_cr_only(path: Path) -> None:
    names = [f"c{n}" for n in range(10_000)]
    path.write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n1,2\n")
    rows, bad = read(path)
    assert (len(rows), len(rows[0]), bad) == (1, 10_000, {2: "columns"})
    path.write_text("a,b,a\n1,2,3\n")
    with pytest.raises(ImportFailed, match="names a column twice: a"):
        seen(path)
    path.write_bytes(b'\xef\xbb\xbfa,b\r1,x\r"open,y\r3,\0\r4,\xff\r5,z')
    rows, bad = read(path)
    assert [row["a"] for row in rows] == ["1", "5"]
    assert bad == {2: "quote", 3: "nul", 4: "encoding"}


JSON_ROWS: list[tuple[str, str | None]] = [
    ('{"a": 1, "a": 2}', "key"),
    ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "depth"),
    ('{"a": ' + "[" * 65 + "]" * 65 + "}", "depth"),
    ('{"a": NaN}', "format"),
    ('{"a": -Infinity}', "format"),
    ('{"a": "\\ud800"}', "encoding"),
    ('{"a": "\\u0000"}', "nul"),
    ('{"a": 01}', "format"),
    ("[1]", "type"),
    ('{"a": "' + "x" * (3 << 20) + '"}', "too_long"),
    ('{"a": 1e400}', None),
    ('{"a": 123456789012345678901234567890.10}', None),
    ('{"a": "]},{\\"\\\\"}', None),
]


@pytest.mark.parametrize("form", ["lines", "array"])
def test_i5_json_depth_duplicate_keys_and_strange_numbers_refuse_their_row(
    path: Path, form: str
) -> None:
    texts = [text for text, _ in JSON_ROWS]
    path.write_text("\n".join(texts) if form == "lines" else f"[{', '.join(texts)}]")
    rows, bad = read(path, "a.ndjson" if form == "lines" else "a.json")
    assert bad == {number: code for number, (_, code) in enumerate(JSON_ROWS, 1) if code}
    assert [row["a"] for row in rows] == ["1e400", "123456789012345678901234567890.10", ']},{"\\']


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"a": 1}, {"a": 2}', "cut short"),
        ('[{"a": 1}] and more', "Text follows"),
        ('[{"a": 1},, {"a": 2}]', "comma"),
        ("[]", "no record"),
        ("[1, 2]", None),
        ('{"a": ' + '{"a": ' * 100_000 + "1" + "}" * 100_001, None),
    ],
)
def test_i5_json_that_is_broken_as_a_whole_fails(path: Path, text: str, reason: str | None) -> None:
    path.write_text(text)
    with pytest.raises(ImportFailed, match=reason):
        read(path, "a.json")


def test_i6_parquet_with_crafted_lengths_fails_alone(path: Path) -> None:
    good = files.parquet([{"code": f"K{n}", "n": n} for n in range(1_000)])
    for at in (*range(4, len(good) - 8, len(good) // 7), len(good) - 8):
        crafted = bytearray(good)
        crafted[at : at + 4] = b"\xff\xff\xff\x7f"
        path.write_bytes(crafted)
        try:
            rows, _ = read(path)
        except ImportFailed:
            continue
        assert len(rows) <= 1_000
    path.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(ImportFailed):
        seen(path)


def test_i6_parquet_that_inflates_beyond_the_memory_of_its_reader_fails(path: Path) -> None:
    rows = [{"code": "x" * (8 << 20)} for _ in range(24)]
    path.write_bytes(files.parquet(rows, compression="zstd", use_dictionary=False))
    assert path.stat().st_size < 1 << 20
    began = time.monotonic()
    with pytest.raises(ImportFailed):
        read(path, limits=Limits(memory=1 << 29))
    assert time.monotonic() - began < 120  # it is stopped, however busy the machine is


def test_parquet_keeps_every_digit(path: Path) -> None:
    from datetime import datetime
    from decimal import Decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "small": pa.array([Decimal("0.0000000001")], pa.decimal128(20, 10)),
            "large": pa.array([2**64 - 1], pa.uint64()),
            "ns": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "Europe/Berlin")),
            "s": pa.array([datetime(2026, 1, 31)], pa.timestamp("s")),  # noqa: DTZ001
            "nested": pa.array([[{"k": Decimal("1.10")}]], pa.list_(pa.struct([("k", pa.decimal128(5, 2))]))),
            "word": pa.array(["x"]).dictionary_encode(),
            "tiny": pa.array([1e-300], pa.float64()),
            "half": pa.array([0.1], pa.float32()),
        }
    )  # fmt: skip
    pq.write_table(table, path)
    ((row,), bad) = read(path)
    tiny = row.pop("tiny")
    assert tiny is not None
    assert float(tiny) == 1e-300
    assert (row, bad) == (
        {
            "small": "0.0000000001",
            "large": "18446744073709551615",
            "ns": "2023-11-14 22:13:20.123456789Z",
            "s": "2026-01-31 00:00:00",
            "nested": json.dumps([{"k": 1.10}]).replace("1.1", "1.10"),
            "word": "x",
            "half": "0.1",
        },
        {},
    )
