"""/api/v1/imports/{id}/errors and /rejects: what an import refused, as JSON and as CSV to mend."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from api.body import JsonAnswer
from api.context import Platform, Reading, platform
from api.imports_shown import find_import
from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.import_options import ImportOptions, parse_options
from hubblewave_pipelines.core.parameters import parse_paging, refuse_parameters
from hubblewave_pipelines.core.reading import Reading as Faults
from hubblewave_pipelines.storage import imports
from hubblewave_pipelines.storage.imports import ImportJob, RefusedRow
from hubblewave_pipelines.transfer.formats import read_header

router = APIRouter(prefix="/imports")

_REJECTS_PAGE = 1_000


def _refused_json(row: RefusedRow) -> dict[str, Any]:
    return {
        "row": row.row,
        "field": row.field or None,
        "code": row.code,
        "message": row.message,
        "raw": row.raw,
    }


@router.get("/{import_id}/errors")
async def list_errors(import_id: str, context: Reading, request: Request) -> Response:
    """What was refused, by row and field; `raw` comes with the first fault of a row."""
    paging = parse_paging(request.query_params.multi_items())
    job = await find_import(context, import_id)
    count = await context.tx.one(imports.count_errors(job.tenant_id, job.id))
    rows = await context.tx.all(
        imports.refused_rows(job.tenant_id, job.id, limit=paging.size, offset=paging.offset)
    )
    return JsonAnswer(
        {"items": [_refused_json(row) for row in rows], "pageInfo": paging.page_info(count or 0)}
    )


@router.get("/{import_id}/rejects")
async def download_rejects(import_id: str, context: Reading, request: Request) -> Response:
    """The refused rows as CSV: number, reasons, then the cells as they are in the file."""
    refuse_parameters(request.query_params.multi_items())
    job = await find_import(context, import_id)
    columns = await asyncio.to_thread(_columns, job)
    name = f'attachment; filename="import-{job.id}-rejects.csv"'
    return StreamingResponse(
        _rejects(platform(request), job, columns),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": name},
    )


def _columns(job: ImportJob) -> tuple[str, ...]:
    """The columns of the file, or none when the file is gone."""
    options = parse_options(job.options, Faults())
    try:
        return read_header(
            Path(job.spool_path), delimiter=options.delimiter, quote=options.quote
        ).names
    except ImportFailed:
        return ()


async def _rejects(
    held: Platform, job: ImportJob, columns: tuple[str, ...]
) -> AsyncIterator[bytes]:
    options = parse_options(job.options, Faults())
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["_row", "_reason", *columns])
    after: tuple[int, str] | None = (0, "")
    pending: list[RefusedRow] = []
    while after is not None:
        async with held.database.transaction(job.tenant_id) as tx:
            rows = await tx.all(
                imports.refused_rows(job.tenant_id, job.id, limit=_REJECTS_PAGE, after=after)
            )
        for row in rows:
            if pending and pending[0].row != row.row:
                writer.writerow(_reject(pending, options))
                pending = []
            pending.append(row)
        after = (rows[-1].row, rows[-1].field) if rows else None
        if after is None and pending:
            writer.writerow(_reject(pending, options))
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()


def _reject(faults: list[RefusedRow], options: ImportOptions) -> list[str]:
    """One refused row: its faults may come in any order, its cells with one of them."""
    reasons = "; ".join(fault.message for fault in faults)
    raw = next((fault.raw for fault in faults if fault.raw is not None), "")
    lines = csv.reader(
        io.StringIO(raw, newline=""), delimiter=options.delimiter or ",", quotechar=options.quote
    )
    return [str(faults[0].row), reasons, *next(lines, [])]
