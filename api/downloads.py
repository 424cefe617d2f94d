"""/api/v1/exports/{id}/download and /link: the file, in parts if asked, by credential or by link."""

import asyncio
import base64
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from api import problems
from api.body import JsonAnswer, read_json
from api.context import Reading, opened, platform
from api.exports_shown import export_id_of, find_export
from api.file_links import sign, tenant_of_link
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import (
    Conflict,
    Gone,
    Invalid,
    NotFound,
    RangeNotSatisfiable,
)
from hubblewave_pipelines.core.export_formats import Format, media_type, parse_export_options
from hubblewave_pipelines.core.file_names import content_disposition
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.reading import Reading as Faults
from hubblewave_pipelines.storage import exports
from hubblewave_pipelines.storage.exports import ExportJob
from hubblewave_pipelines.storage.refusals import refusing

router = APIRouter(prefix="/exports")

_LONGEST = 7 * 24 * 3600  # seconds a link may live
_USUAL = 3600
_RANGE = re.compile(r"bytes=[ \t]*([0-9]+-[0-9]*|-[0-9]+)([ \t]*,[ \t]*([0-9]+-[0-9]*|-[0-9]+))*")


def _lifetime(body: Json) -> int:
    faults = Faults()
    given = body if isinstance(body, dict) else {}
    if not isinstance(body, dict):
        faults.fault("#", "type", "the body must be a JSON object")
    faults.keys(given, ("expiresIn",), "#")
    found = faults.whole(given, "expiresIn", "#", least=1, most=_LONGEST)
    if faults.faults:
        raise Invalid("The link cannot be made.", faults=faults.faults)
    return found or _USUAL


@router.post("/{export_id}/link")
async def create_link(export_id: str, context: Reading, request: Request) -> Response:
    """A link that opens the file without a credential for `expiresIn` seconds (3600)."""
    seconds = _lifetime(await read_json(request) if await request.body() else {})
    job = await find_export(context, export_id)
    _refuse_absent(job)
    held = platform(request)
    expires = int(time.time()) + seconds
    link = await asyncio.to_thread(sign, held.settings, job.tenant_id, job.id, expires)
    url = f"{held.settings.api_url}/api/v1/exports/{job.id}/download?link={link}"
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
    return JsonAnswer({"url": url, "expiresAt": at}, 201)


@router.api_route("/{export_id}/download", methods=["GET", "HEAD"])
async def download_export(export_id: str, request: Request) -> Response:
    """The file; Range and If-Range are heeded, and the ETag is its SHA-256."""
    job = await _job(export_id, request)
    _refuse_absent(job)
    path, there = Path(job.file_path or ""), None
    try:
        there = await asyncio.to_thread(os.stat, path)
    except FileNotFoundError as error:
        raise Gone("The file is no longer there; export it again.") from error
    headers = _headers(job)
    if request.headers.get("if-none-match") in (headers["ETag"], "*"):
        return Response(status_code=304, headers={"ETag": headers["ETag"]})
    refused = _checked_range(request, there.st_size, headers["ETag"])
    if refused is not None:
        return refused
    chosen = Format(job.format)
    media = media_type(chosen, parse_export_options(job.options, chosen, Faults()))
    return FileResponse(path, headers=headers, media_type=media, stat_result=there)


async def _job(export_id: str, request: Request) -> ExportJob:
    """By the link in the address, or else by the credential. No transaction stays open."""
    found = Given.of_address(request.query_params.multi_items())
    found.only(("link",))
    found.done()
    link = found.text("link")
    if link is None:
        async with opened(request, "read") as context:
            return await find_export(context, export_id)
    held = platform(request)
    await held.limits.charge_stranger(request)
    wanted = export_id_of(export_id)
    tenant_id = await asyncio.to_thread(tenant_of_link, held.settings, wanted, link)
    with refusing():
        async with held.database.transaction(tenant_id) as tx:
            job = await tx.one(exports.job_by_id(tenant_id, wanted))
    if job is None:
        raise NotFound(f"There is no export {wanted}.")
    return job


def _refuse_absent(job: ExportJob) -> None:
    if job.status != "completed":
        raise Conflict(f"An export that is {job.status} has no file.")
    if job.removed_at is not None:
        raise Gone("The file was kept until its expiresAt and is removed; export it again.")


def _headers(job: ExportJob) -> Mapping[str, str]:
    digest = job.file_sha256 or b""
    return {
        "ETag": f'"{digest.hex()}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",  # RFC 9530
        "Content-Disposition": content_disposition(job.file_name or str(job.id)),
        "Accept-Ranges": "bytes",
    }


def _checked_range(request: Request, size: int, etag: str) -> Response | None:
    """The refusal of a range that lies outside the file. What is no range is ignored, as RFC 9110
    section 14.2 asks: the header goes."""
    given = request.headers.get("range")
    if given is None:
        return None
    headers: list[tuple[bytes, bytes]] = request.scope["headers"]
    if request.headers.get("if-range") not in (None, etag) or not _RANGE.fullmatch(given):
        request.scope["headers"] = [(k, v) for k, v in headers if k not in (b"range", b"if-range")]
        return None
    if any(_reaches(part, size) for part in given.removeprefix("bytes=").split(",")):
        return None
    error = RangeNotSatisfiable(f"The file has {size} bytes; {given[:60]} lies outside of it.")
    response = problems.refuse(request, error)
    response.headers["Content-Range"] = f"bytes */{size}"
    return response


def _reaches(part: str, size: int) -> bool:
    first, _, last = part.strip().partition("-")
    if not first:
        return int(last) > 0 and size > 0
    return int(first) < size and (not last or int(last) >= int(first))
