"""Cutting CSV text into records: exact numbers, whatever is wrong, however it is read."""

from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.transfer import csv, scanning
from hubblewave_pipelines.transfer.content import Content
from hubblewave_pipelines.transfer.csv import CsvFile
from hubblewave_pipelines.transfer.csv_header import Dialect, Header, csv_header

Found = tuple[list[tuple[int, str | None, str | None]], list[tuple[int, str]]]


def read_header(path: Path, *, delimiter: str | None, quote: str) -> Header:
    with opened(path) as content:
        return csv_header(content.read(), whole=True, delimiter=delimiter, quote=quote)


def opened(path: Path) -> Content:
    return Content(path, bom=3 if path.read_bytes().startswith(b"\xef\xbb\xbf") else 0)


def read(
    path: Path,
    *,
    window: int = 1 << 22,
    chunk_rows: int = 1000,
    offset: int | None = None,
    first: int = 1,
) -> Found:
    """(rows as (number, a, b), refused rows as (number, code))"""
    header = read_header(path, delimiter=",", quote='"')
    good, bad = [], []
    file = CsvFile(partial(opened, path), header, columns=["a", "b"], window=window)
    for chunk in file.chunks(chunk_rows=chunk_rows, offset=offset, first_row=first):
        values = zip(chunk.table["a"].to_pylist(), chunk.table["b"].to_pylist(), strict=True)
        good += [(int(n), *v) for n, v in zip(chunk.row_numbers, values, strict=True)]
        bad += [(row.row, row.code) for row in chunk.malformed]
        assert chunk.rows <= chunk_rows
    return good, bad


@pytest.mark.parametrize(
    ("content", "rows", "refused"),
    [
        (b"1,2\n3,4\n", [(1, "1", "2"), (2, "3", "4")], []),
        (b"1,2\r\n\r\n3,4", [(1, "1", "2"), (2, "3", "4")], []),
        (b"1,2\r3,4\r", [(1, "1", "2"), (2, "3", "4")], []),
        (b'"x\ny",2\n3,4\n', [(1, "x\ny", "2"), (2, "3", "4")], []),
        (b'5" pipe,"say ""hi"""\n,""\n', [(1, '5" pipe', 'say "hi"'), (2, None, "")], []),
        (b'1,"open\n3,4\n', [(2, "3", "4")], [(1, "quote")]),
        (b'1,"x"y\n3,4\n', [(2, "3", "4")], [(1, "quote")]),
        (b'1,"open\n3,"4"\n5,6\n', [(2, "3", "4"), (3, "5", "6")], [(1, "quote")]),
        (b"1\n1,2,3\n3,4\n", [(3, "3", "4")], [(1, "columns"), (2, "columns")]),
        (b"1,\xff\n1,a\0\n3,\xc3\xa9\n", [(3, "3", "é")], [(1, "encoding"), (2, "nul")]),
        (b'"1",', [(1, "1", None)], []),
        (b"", [], []),
    ],
)
def test_good_rows_are_kept_and_bad_ones_told_by_number(
    tmp_path: Path, content: bytes, rows: list[object], refused: list[object]
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\n" + content)
    assert read(path) == (rows, refused)


@pytest.mark.parametrize("delimiter", [",", None])
@pytest.mark.parametrize(
    ("header", "names"),
    [
        (b'5" pipe,code', ('5" pipe', "code")),
        (b'inch"",code', ('inch""', "code")),
        (b'"a ""b"", c",code', ('a "b", c', "code")),
        (b'"two\nlines",code', ("two\nlines", "code")),
        (b'\n\r\n"",x', ()),
        (b'"","a"', ()),
    ],
)
def test_quotes_mean_in_the_header_what_they_mean_in_rows(
    tmp_path: Path, header: bytes, names: tuple[str, ...], delimiter: str | None
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(header + b'\n1,"2"\n3,4\n')
    if not names:
        with pytest.raises(ImportFailed, match="no name for column 1"):
            read_header(path, delimiter=delimiter, quote='"')
        return
    found = read_header(path, delimiter=delimiter, quote='"')
    assert found.names == names
    (chunk,) = CsvFile(partial(opened, path), found, columns=["code"]).chunks(chunk_rows=10)
    assert chunk.table["code"].to_pylist() == ["2", "4"]


def test_a_line_longer_than_the_limit_costs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    long = b"x" * (3 * scanning.RECORD_LIMIT)
    path.write_bytes(b"a,b\n1,2\n" + long + b'\n3,"' + long + b"\n5,6\n")
    for window in (1 << 16, 1 << 22):
        assert read(path, window=window) == (
            [(1, "1", "2"), (4, "5", "6")],
            [(2, "too_long"), (3, "too_long")],
        )


pieces = st.lists(
    st.sampled_from(
        [b"a", b"1", b",", b",", b'"', b'"', b"\n", b"\n", b"\r", b"\xff", b"\0", b'","', b'""']
    ),
    max_size=40,
).map(b"".join)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=pieces, window=st.integers(1, 9), chunk_rows=st.integers(1, 4))
def test_what_is_found_depends_on_the_file_only(
    tmp_path: Path, content: bytes, window: int, chunk_rows: int
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + content)
    whole = read(path)
    assert read(path, window=window, chunk_rows=chunk_rows) == whole


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=pieces, chunk_rows=st.integers(1, 4))
def test_the_end_of_any_chunk_is_a_place_to_resume(
    tmp_path: Path, content: bytes, chunk_rows: int
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + content)
    good, bad = read(path)
    header = read_header(path, delimiter=",", quote='"')
    for chunk in CsvFile(partial(opened, path), header, columns=["a", "b"]).chunks(
        chunk_rows=chunk_rows
    ):
        after = chunk.first_row + chunk.rows
        rest = read(path, offset=chunk.offset_end, first=after)
        assert rest == ([r for r in good if r[0] >= after], [r for r in bad if r[0] >= after])


@settings(max_examples=300)
@given(content=pieces)
def test_counting_quotes_agrees_with_the_rules(content: bytes) -> None:
    dialect = Dialect(",", '"')
    fast = scanning.scan(content, dialect, final=True)
    found = scanning._Found()
    scanning._by_rule(content, dialect, 0, True, found)
    assert fast.starts.tolist() == found.starts
    assert fast.ends.tolist() == found.ends
    assert fast.columns.tolist() == found.columns
    assert fast.refused == found.refused


def test_a_long_file_is_cut_by_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "CHUNK_BYTES", 100)
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 100)
    header = read_header(path, delimiter=None, quote='"')
    chunks = list(
        CsvFile(partial(opened, path), header, columns=["a", "b"]).chunks(chunk_rows=1000)
    )
    assert sum(chunk.rows for chunk in chunks) == 100
    assert all(chunk.offset_end - chunk.offset_start <= 110 for chunk in chunks)
