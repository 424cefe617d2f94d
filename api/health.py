"""Whether the process lives, whether it can serve, and its counters."""

import asyncio

import psycopg
import structlog
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from api.body import JsonAnswer
from api.context import platform
from hubblewave_pipelines.core.errors import PlatformError, Unavailable
from hubblewave_pipelines.delivery.queue_metrics import show_queue
from hubblewave_pipelines.storage.deliveries import queue_state
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.storage.tenants import control_tables_exist

router = APIRouter()
_log = structlog.get_logger("hubblewave.api")

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
async def metrics(request: Request) -> Response:
    """Prometheus counters of this process, and the state of the queue of webhook deliveries."""
    try:
        async with asyncio.timeout(_PATIENCE), platform(request).database.transaction() as tx:
            show_queue(await tx.all(queue_state()))
    except (TimeoutError, PlatformError, psycopg.Error):
        _log.warning("the queue's state is not known; its gauges stay as they were")
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
