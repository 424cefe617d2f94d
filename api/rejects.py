"""/api/v1/imports/{id}/errors and /rejects: what an import refused, as JSON and as CSV to mend."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from api.body import JsonAnswer
from api.context import Reading, platform
from api.imports_shown import find_import
from api.rejects_file import rejects
from hubblewave_pipelines.core.parameters import parse_paging, refuse_parameters
from hubblewave_pipelines.storage import imports
from hubblewave_pipelines.storage.imports import RefusedRow

router = APIRouter(prefix="/imports")

_RAW = 2_000  # characters of a refused row that are shown in JSON


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
        imports.refused_rows(
            job.tenant_id, job.id, limit=paging.size, offset=paging.offset, raw_length=_RAW
        )
    )
    return JsonAnswer(
        {"items": [_refused_json(row) for row in rows], "pageInfo": paging.page_info(count or 0)}
    )


@router.get("/{import_id}/rejects")
async def download_rejects(import_id: str, context: Reading, request: Request) -> Response:
    """The refused rows as CSV: number, reasons, then the cells as they are in the file."""
    refuse_parameters(request.query_params.multi_items())
    job = await find_import(context, import_id)
    name = f'attachment; filename="import-{job.id}-rejects.csv"'
    return StreamingResponse(
        rejects(platform(request).database, job),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": name},
    )
