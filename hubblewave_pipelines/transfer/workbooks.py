"""XLSX and XLS workbooks as records: one sheet, the values of its cells, formulas as last computed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import python_calamine as calamine

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.import_options import ImportOptions
from hubblewave_pipelines.core.reading import suggestion
from hubblewave_pipelines.transfer.archives import check_workbook
from hubblewave_pipelines.transfer.cells import Cell, Record
from hubblewave_pipelines.transfer.content import plain_file
from hubblewave_pipelines.transfer.csv_header import column_names, is_rejects
from hubblewave_pipelines.transfer.formats import Format, Source

_SHOWN_SHEETS = 100


@contextmanager
def _workbook(path: Path, source: Source, max_inflated: int) -> Iterator[Any]:
    with plain_file(path, source.compression, max_inflated=max_inflated) as plain:
        if source.format is Format.XLSX:
            check_workbook(plain)
        try:
            with calamine.load_workbook(plain) as book:
                yield book
        except calamine.PasswordError as error:
            raise ImportFailed("The workbook is encrypted; save it without a password.") from error
        except (calamine.CalamineError, ValueError, OSError) as error:
            raise ImportFailed(f"The workbook cannot be read: {error}.") from error


def _rows(book: Any, sheet: str) -> Iterator[tuple[int, list[Any]]]:
    """The rows of a sheet that hold something, with their numbers in the sheet from 1."""
    found = book.get_sheet_by_name(sheet)
    if found.start is None:
        return
    for number, cells in enumerate(found.iter_rows(), 1):
        if any(cell != "" for cell in cells):
            yield number, cells


def text_of(cell: Any) -> Cell:
    """A cell's value as text: numbers with all their digits, ISO dates, true and false."""
    match cell:
        case "" | None:
            return None
        case str():
            return cell
        case bool():
            return "true" if cell else "false"
        case float():
            whole = cell.is_integer() and abs(cell) < 2**53
            return str(int(cell)) if whole else format(Decimal(repr(cell)), "f")
        case datetime() | date() | time():
            return cell.isoformat()
        case timedelta():
            return str(cell)
        case _:
            return str(cell)


def _header(rows: Iterator[tuple[int, list[Any]]], *, named: bool) -> tuple[int, tuple[str, ...]]:
    """The number of the header's row (0: there is none) and the names of the columns."""
    number, cells = next(rows, (0, []))
    if not cells:
        raise ImportFailed("The sheet is empty: it needs a row with the column names.")
    names = [(text_of(cell) or "").strip() for cell in cells]
    if not named and not is_rejects(names):
        return 0, tuple(f"column{n}" for n in range(1, len(names) + 1))
    while len(names) > 1 and not names[-1]:
        names.pop()  # cells beyond the header belong to no column
    return number, column_names(names)


def inspected(path: Path, source: Source, options: ImportOptions, max_inflated: int) -> Source:
    """The source with its sheet and the columns in the first row of it that holds something."""
    with _workbook(path, source, max_inflated) as book:
        sheets = list(book.sheet_names)
        sheet = _chosen(book, sheets, options.sheet)
        number, columns = _header(_rows(book, sheet), named=options.header)
    shown = tuple(sheets[:_SHOWN_SHEETS])
    return replace(
        source, sheet=sheet, sheets=shown, columns=columns, header=number > 0, offset=number
    )


def _chosen(book: Any, sheets: list[str], wanted: str | int | None) -> str:
    if isinstance(wanted, int):
        if wanted <= len(sheets):
            return sheets[wanted - 1]
        raise ImportFailed(f"The workbook has {len(sheets)} sheets, and no sheet {wanted}.")
    if wanted is not None:
        if wanted in sheets:
            return wanted
        hint = suggestion(wanted, sheets) or f"; its sheets are {', '.join(sheets[:20])}"
        raise ImportFailed(f'The workbook has no sheet "{wanted[:60]}"{hint}')
    for sheet in book.sheets_metadata:
        tables = sheet.typ == calamine.SheetTypeEnum.WorkSheet
        if tables and sheet.visible == calamine.SheetVisibleEnum.Visible:
            return str(sheet.name)
    raise ImportFailed("The workbook has no visible sheet; set options.sheet.")


def records(
    path: Path,
    source: Source,
    columns: Sequence[str],
    nulls: frozenset[str],
    after: int,
    max_inflated: int,
) -> Iterator[tuple[Record, int]]:
    """Rows after number `after` (from 1 below the header), with the share of the file read."""
    places = [source.columns.index(name) for name in columns]
    size = path.stat().st_size
    with _workbook(path, source, max_inflated) as book:
        assert source.sheet is not None
        end = book.get_sheet_by_name(source.sheet).end
        total = 1 if end is None else end[0] + 1
        for row, cells in _rows(book, source.sheet):
            number = row - source.offset
            if number <= after:
                continue
            texts = [text_of(cells[at]) if at < len(cells) else None for at in places]
            if nulls:
                texts = [None if text in nulls else text for text in texts]
            yield Record(number, texts), size * row // total
