"""Whether the process lives, whether it can serve, and its counters."""

import asyncio

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from api.body import JsonAnswer
from api.context import platform
from hubblewave_pipelines.core.errors import Unavailable
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.storage.tenants import control_tables_exist

router = APIRouter()

_PATIENCE = 3  # seconds; a probe that waits longer is answered too late to be of use


@router.get("/health")
async def live() -> Response:
    """The process answers."""
    return JsonAnswer({"status": "ok"})


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """The database answers and is migrated; 503 otherwise."""
    try:
        with refusing():
            async with asyncio.timeout(_PATIENCE), platform(request).database.transaction() as tx:
                migrated = await tx.one(control_tables_exist())
    except TimeoutError as error:
        raise Unavailable("PostgreSQL does not answer.", retry_after=5) from error
    if not migrated:
        raise Unavailable("The database is not migrated: run `hubblewave migrate`.", retry_after=5)
    return JsonAnswer({"status": "ready"})


@router.get("/metrics")
async def metrics() -> Response:
    """Prometheus counters of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
