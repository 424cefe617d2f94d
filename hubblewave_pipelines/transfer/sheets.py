"""XLSX: rows into sheets, each cell of its own type, in constant memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.errors import ExportFailed
from hubblewave_pipelines.core.query import Column

SHEET_ROWS = 1_048_575  # beside the header
_EXACT_INTEGER = 2**53
_EXACT_DIGITS = 15
_FIRST_DAY = date(1900, 3, 1)  # before it, Excel counts a day that never was
_TOO_LONG = -2  # what XlsxWriter answers to a text beyond 32,767 characters
Cell = Callable[[Worksheet, int, int, Any], Any]


def _text(sheet: Worksheet, row: int, at: int, value: Any) -> Any:
    return sheet.write_string(row, at, value if isinstance(value, str) else str(value))


def _integer(sheet: Worksheet, row: int, at: int, value: int) -> Any:
    if -_EXACT_INTEGER <= value <= _EXACT_INTEGER:
        return sheet.write_number(row, at, value)
    return sheet.write_string(row, at, str(value))


def _number(sheet: Worksheet, row: int, at: int, value: float) -> Any:
    # XlsxWriter writes 16 digits, and some doubles need 17.
    if float(f"{value:.16G}") == value:
        return sheet.write_number(row, at, value)
    return sheet.write_string(row, at, repr(value))


def _decimal(sheet: Worksheet, row: int, at: int, value: str) -> Any:
    exact = len(Decimal(value).as_tuple().digits) <= _EXACT_DIGITS
    return (
        sheet.write_number(row, at, float(value)) if exact else sheet.write_string(row, at, value)
    )


def _boolean(sheet: Worksheet, row: int, at: int, value: bool) -> Any:
    return sheet.write_boolean(row, at, value)


def _dated(day: Format, moment: Format) -> tuple[Cell, Cell]:
    def write_day(sheet: Worksheet, row: int, at: int, value: date) -> Any:
        if value < _FIRST_DAY:
            return sheet.write_string(row, at, value.isoformat())
        return sheet.write_datetime(row, at, value, day)

    def write_moment(sheet: Worksheet, row: int, at: int, value: datetime) -> Any:
        if value.date() < _FIRST_DAY or value.microsecond:
            return sheet.write_string(row, at, value.isoformat().replace("+00:00", "Z"))
        return sheet.write_datetime(row, at, value.replace(tzinfo=None), moment)

    return write_day, write_moment


def write_sheets(
    tables: Iterable[pa.Table], columns: Sequence[Column], target: IO[bytes], folder: Path
) -> int:
    """Write the rows of typed tables as a workbook; its number of sheets. Temporary files go to
    `folder`.

    A value that a cell's type cannot hold exactly (integers beyond 2^53, more than 15 digits,
    parts of a second, days before March 1900) is text. Raises ExportFailed for a text that is
    longer than a cell may be.
    """
    options = {"constant_memory": True, "tmpdir": str(folder), "strings_to_urls": False}
    book = xlsxwriter.Workbook(target, options)
    day, moment = _dated(
        book.add_format({"num_format": "yyyy-mm-dd"}),
        book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
    )
    kinds: Mapping[FieldKind, Cell] = {
        FieldKind.INTEGER: _integer,
        FieldKind.NUMBER: _number,
        FieldKind.DECIMAL: _decimal,
        FieldKind.BOOLEAN: _boolean,
        FieldKind.DATE: day,
        FieldKind.DATETIME: moment,
    }
    cells = [kinds.get(column.kind, _text) for column in columns]
    bold = book.add_format({"bold": True})
    sheets, row = 0, SHEET_ROWS
    sheet: Worksheet
    try:
        for table in tables:
            values = [found.to_pylist() for found in table.columns]
            for record in zip(*values, strict=True):
                if row == SHEET_ROWS:
                    sheets, row = sheets + 1, 0
                    sheet = _new_sheet(book, columns, bold)
                row += 1
                for at, value in enumerate(record):
                    if value is not None and cells[at](sheet, row, at, value) == _TOO_LONG:
                        raise ExportFailed(
                            f"{columns[at].name} holds a text of {len(value)} characters in row "
                            f"{row}; a cell of a spreadsheet holds 32,767. Use another format."
                        )
        if not sheets:
            sheets = 1
            _new_sheet(book, columns, bold)
    finally:
        book.close()
    return sheets


def _new_sheet(book: xlsxwriter.Workbook, columns: Sequence[Column], bold: Format) -> Worksheet:
    sheet = book.add_worksheet()
    sheet.freeze_panes(1, 0)
    for at, column in enumerate(columns):
        sheet.write_string(0, at, column.name, bold)
    return sheet
