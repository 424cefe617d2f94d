"""Rows as a COPY sends them -> the bytes of a file, one writer per format."""

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import pyarrow.parquet as pq

from hubblewave_pipelines.core.errors import ExportFailed
from hubblewave_pipelines.core.export_formats import ENCODINGS, ExportOptions, Format
from hubblewave_pipelines.core.query import Column
from hubblewave_pipelines.transfer.arrow_rows import arrow_batches, schema_of
from hubblewave_pipelines.transfer.sheets import write_sheets
from hubblewave_pipelines.transfer.text_rows import json_rows, xml_rows

Blocks = Iterable[tuple[bytes, int]]  # whole rows of CSV without header, and how many
Writer = Callable[[Blocks, Sequence[Column], ExportOptions, IO[bytes], Path], None]

_XML_HEAD = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<records xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
)


def _write_csv(
    blocks: Blocks, columns: Sequence[Column], options: ExportOptions, target: IO[bytes], _: Path
) -> None:
    encode = _encoder(options.encoding)
    header = io.StringIO()
    if options.header:
        writer = csv.writer(header, delimiter=options.delimiter, lineterminator="\n")
        writer.writerow([column.name for column in columns])
    target.write(encode(header.getvalue().encode()))
    for block, _rows in blocks:
        target.write(encode(block))


def _encoder(encoding: str) -> Callable[[bytes], bytes]:
    """UTF-8, in whole characters, to the encoding."""
    if encoding == "utf-8":
        return lambda data: data
    encoder = codecs.getincrementalencoder(ENCODINGS[encoding])()

    def encode(data: bytes) -> bytes:
        try:
            return encoder.encode(data.decode())
        except UnicodeEncodeError as error:
            shown = error.object[error.start : error.start + 1]
            raise ExportFailed(
                f"{encoding} has no character {shown!r} (U+{ord(shown):04X}); use utf-8."
            ) from error

    return encode


def _write_ndjson(
    blocks: Blocks, columns: Sequence[Column], _: ExportOptions, target: IO[bytes], __: Path
) -> None:
    for table in arrow_batches(blocks, columns, typed=False):
        target.write(json_rows(table, columns, "\n"))


def _write_json(
    blocks: Blocks, columns: Sequence[Column], _: ExportOptions, target: IO[bytes], __: Path
) -> None:
    begin = b"[\n"
    for table in arrow_batches(blocks, columns, typed=False):
        target.write(begin)
        begin = b",\n"
        target.write(json_rows(table, columns, ",\n")[:-2])
    target.write(b"[]\n" if begin == b"[\n" else b"\n]\n")


def _write_xml(
    blocks: Blocks, columns: Sequence[Column], _: ExportOptions, target: IO[bytes], __: Path
) -> None:
    target.write(_XML_HEAD)
    for table in arrow_batches(blocks, columns, typed=False):
        target.write(xml_rows(table, columns))
    target.write(b"</records>\n")


def _write_parquet(
    blocks: Blocks, columns: Sequence[Column], _: ExportOptions, target: IO[bytes], __: Path
) -> None:
    schema = schema_of(columns, typed=True)
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for table in arrow_batches(blocks, columns, typed=True):
            writer.write_table(table, row_group_size=len(table) or 1)


def _write_xlsx(
    blocks: Blocks, columns: Sequence[Column], _: ExportOptions, target: IO[bytes], folder: Path
) -> None:
    write_sheets(arrow_batches(blocks, columns, typed=True), columns, target, folder)


WRITERS: Mapping[Format, Writer] = {
    Format.CSV: _write_csv,
    Format.TSV: _write_csv,
    Format.XLSX: _write_xlsx,
    Format.JSON: _write_json,
    Format.NDJSON: _write_ndjson,
    Format.XML: _write_xml,
    Format.PARQUET: _write_parquet,
}
