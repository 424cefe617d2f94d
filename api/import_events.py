"""/api/v1/imports/{id}/events: the progress of an import as server-sent events (WHATWG HTML 9.2)."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import StreamingResponse

from api.context import Caller, Platform, caller, credential, platform
from api.imports_shown import import_id_of, import_json
from hubblewave_pipelines.core.errors import NotFound, PlatformError, Unavailable
from hubblewave_pipelines.core.identity import ApiKey
from hubblewave_pipelines.core.parameters import refuse_parameters
from hubblewave_pipelines.storage.imports import OPEN, ImportJob, job_by_id
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.storage.tenants import authenticate

router = APIRouter(prefix="/imports")

_ASK_SECONDS = 0.5
_ALIVE_SECONDS = 15  # proxies end a connection on which nothing is said for a minute
_MOST = 200  # followers per process; each asks the database twice a second

_following = 0


def _event(name: str, data: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


async def _read(held: Platform, key: ApiKey, import_id: str) -> ImportJob | None:
    """The job as it is now, or None when the key has been revoked or the job is gone."""
    with refusing():
        async with held.database.transaction() as tx:
            principal = await tx.one(authenticate(key))
            if principal is None:
                return None
            return await tx.one(job_by_id(principal.tenant_id, import_id_of(import_id)))


async def _follow(held: Platform, key: ApiKey, import_id: str) -> AsyncIterator[bytes]:
    """`progress` whenever something changed; the last event is named after the final status."""
    global _following
    _following += 1
    try:
        yield b"retry: 2000\n\n"
        said, spoke = b"", time.monotonic()
        while True:
            try:
                job = await _read(held, key, import_id)
            except PlatformError as error:
                yield _event("error", {"code": error.code, "detail": error.detail})
                return
            if job is None:
                yield _event("error", {"code": "gone", "detail": "The import is not to be seen."})
                return
            name = "progress" if job.status in OPEN else job.status
            event = _event(name, import_json(job, held))
            if event != said:
                yield event
                said, spoke = event, time.monotonic()
            elif time.monotonic() - spoke > _ALIVE_SECONDS:
                yield b": alive\n\n"
                spoke = time.monotonic()
            if name != "progress":
                return
            await asyncio.sleep(_ASK_SECONDS)
    finally:
        _following -= 1


@router.get("/{import_id}/events")
async def follow_import(
    import_id: str, found: Annotated[Caller, Depends(caller("read"))], request: Request
) -> StreamingResponse:
    """Follow an import: `progress` events with the import, then one named after its end."""
    refuse_parameters(request.query_params.multi_items())
    held = platform(request)
    key = credential(request.headers)
    if await _read(held, key, import_id) is None:
        raise NotFound(f"There is no import {import_id[:60]}.")
    if _following >= _MOST:
        raise Unavailable("Too many imports are being followed; ask again.", retry_after=10)
    return StreamingResponse(
        _follow(held, key, import_id),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )
