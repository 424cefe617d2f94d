"""The refused rows of an import as a CSV file that can be mended and uploaded again as it is."""

import csv
import io
from collections.abc import AsyncIterator, Sequence

from hubblewave_pipelines.core.import_options import parse_options
from hubblewave_pipelines.core.reading import Reading as Faults
from hubblewave_pipelines.storage import imports
from hubblewave_pipelines.storage.database import AsyncDatabase
from hubblewave_pipelines.storage.imports import ImportJob, RefusedRow
from hubblewave_pipelines.transfer.cells import Cell
from hubblewave_pipelines.transfer.csv_header import REJECTS_COLUMNS, Dialect
from hubblewave_pipelines.transfer.formats import Format, stored_source
from hubblewave_pipelines.transfer.json_text import cells_of

_PAGE = 100  # faults read at a time; the row of one can be 1 MiB
_BOM = b"\xef\xbb\xbf"  # stronger than options.encoding, which was meant for the original
_UNCUT = ("quote", "too_long")


async def rejects(database: AsyncDatabase, job: ImportJob) -> AsyncIterator[bytes]:
    """UTF-8 with a byte order mark, written with the delimiter and quote of the original."""
    form = _Form(job)
    yield _BOM + form.header()
    after: tuple[int, str] | None = (0, "")
    pending: list[RefusedRow] = []
    while after is not None:
        async with database.transaction(job.tenant_id) as tx:
            rows = await tx.all(
                imports.refused_rows(job.tenant_id, job.id, limit=_PAGE, after=after)
            )
        lines: list[str] = []
        for row in rows:
            if pending and pending[0].row != row.row:
                lines.append(form.line(pending))
                pending = []
            pending.append(row)
        after = (rows[-1].row, rows[-1].field) if rows else None
        if after is None and pending:
            lines.append(form.line(pending))
        yield "".join(lines).encode()


class _Form:
    """How the refused rows of one import are written."""

    def __init__(self, job: ImportJob) -> None:
        source = stored_source(job.detected)
        options = parse_options(job.options, Faults())
        self.cut = source is None or source.format is Format.CSV
        self.dialect = Dialect(options.delimiter or ",", options.quote)
        if source is not None and source.format is Format.CSV:
            self.dialect = source.csv.dialect
        self.columns = list(() if source is None else source.columns)
        for item in job.mapping if isinstance(job.mapping, list) else []:
            name = item.get("sourceField") if isinstance(item, dict) else None
            if isinstance(name, str) and name not in self.columns:
                self.columns.append(name)

    def header(self) -> bytes:
        return self._joined([*REJECTS_COLUMNS, *self.columns]).encode()

    def line(self, faults: Sequence[RefusedRow]) -> str:
        """One refused row: its faults may come in any order, its cells with one of them."""
        reasons = "; ".join(fault.message for fault in faults)
        raw = next((fault.raw for fault in faults if fault.raw is not None), "")
        number = str(faults[0].row)
        if not self.cut:
            cells = cells_of(raw, self.columns)
            if cells is None:
                return self._joined([number, f"{reasons}: {raw}"])
            return self._joined([number, reasons, *cells])
        if any(fault.code in _UNCUT for fault in faults):
            lines = csv.reader(
                io.StringIO(raw, newline=""),
                delimiter=self.dialect.delimiter,
                quotechar=self.dialect.quote,
            )
            return self._joined([number, reasons, *next(lines, [])])
        # As it is in the file: an empty text in quotes is not an empty cell.
        return self._joined([number, reasons])[:-2] + f"{self.dialect.delimiter}{raw}\r\n"

    def _joined(self, cells: Sequence[Cell]) -> str:
        return self.dialect.delimiter.join(map(self._written, cells)) + "\r\n"

    def _written(self, cell: Cell) -> str:
        if cell is None:
            return ""
        quote = self.dialect.quote
        if cell and not any(sign in cell for sign in (self.dialect.delimiter, quote, "\r", "\n")):
            return cell
        return f"{quote}{cell.replace(quote, quote * 2)}{quote}"
