"""/api/v1/jobs/{id}: anything that takes its time, in one shape."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer
from api.connectors_shown import ask_json
from api.context import Context, Platform, Reading, platform
from api.exports_shown import export_json
from api.imports_shown import import_json
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.core.parameters import refuse_parameters
from hubblewave_pipelines.storage import connector_asks, exports, imports

router = APIRouter(prefix="/jobs")

_SHARED = (
    "id",
    "entity",
    "status",
    "progress",
    "totalRecords",
    "error",
    "cancelRequested",
    "runUrl",
    "createdAt",
    "startedAt",
    "completedAt",
)


async def _import(context: Context, job_id: UUID, held: Platform) -> dict[str, Any] | None:
    job = await context.tx.one(imports.job_by_id(context.principal.tenant_id, job_id))
    return None if job is None else import_json(job, held)


async def _export(context: Context, job_id: UUID, held: Platform) -> dict[str, Any] | None:
    job = await context.tx.one(exports.job_by_id(context.principal.tenant_id, job_id))
    return None if job is None else export_json(job, held)


async def _ask(context: Context, job_id: UUID, held: Platform) -> dict[str, Any] | None:
    ask = await context.tx.one(connector_asks.ask_by_id(context.principal.tenant_id, job_id))
    return None if ask is None else ask_json(ask, held)


# Kind of job -> how one of it is found. A new kind is added here.
_KINDS = {"import": _import, "export": _export, "connector": _ask}


@router.get("/{job_id}")
async def get_job(job_id: str, context: Reading, request: Request) -> Response:
    """An import, an export, a check or a discovery, as far as all jobs are alike; `url` has the rest."""
    refuse_parameters(request.query_params.multi_items())
    held = platform(request)
    try:
        wanted = UUID(job_id)
    except ValueError as error:
        raise NotFound(f"There is no job {job_id[:60]}.") from error
    for kind, find in _KINDS.items():
        found = await find(context, wanted, held)
        if found is not None:
            shown = {name: found.get(name) for name in _SHARED}
            url = found.get("url") or f"/api/v1/{kind}s/{wanted}"
            return JsonAnswer({"kind": found.get("kind", kind), **shown, "url": url})
    raise NotFound(f"There is no job {wanted}.")
