"""/api/v1/imports: upload a file into an entity, follow it, see what was refused and why."""

import asyncio
import csv
import hashlib
import io
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response, StreamingResponse

from api.body import JsonAnswer, parse
from api.context import Caller, Context, Platform, Reading, Writing, caller, platform
from api.idempotency import idempotency_key, once
from api.uploads import Upload, receive_upload
from hubblewave_pipelines.core.asset_keys import import_key
from hubblewave_pipelines.core.entity import Entity, Json
from hubblewave_pipelines.core.errors import (
    Conflict,
    Fault,
    ImportFailed,
    Invalid,
    MalformedRequest,
    NotFound,
)
from hubblewave_pipelines.core.import_options import (
    ImportOptions,
    check_unique_fields,
    parse_options,
)
from hubblewave_pipelines.core.mapping import as_json, parse_mapping
from hubblewave_pipelines.core.parameters import parse_paging, refuse_parameters
from hubblewave_pipelines.core.reading import Reading as Faults
from hubblewave_pipelines.core.reading import suggestion
from hubblewave_pipelines.storage import imports, work
from hubblewave_pipelines.storage.imports import ImportJob, NewImport, RefusedRow
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.storage.work import WorkRequest
from hubblewave_pipelines.transfer.formats import read_header

router = APIRouter(prefix="/imports")

_FORM = frozenset({"entity", "mapping", "options"})
_REJECTS_PAGE = 1_000
_DONE = ("completed", "partial")
Uploading = Annotated[Caller, Depends(caller("write"))]


def _as_json(job: ImportJob, held: Platform) -> dict[str, Any]:
    read = 100 * job.bytes_done // job.file_size if job.file_size else 0
    return {
        "id": job.id,
        "entity": job.entity_name,
        "fileName": job.file_name,
        "fileSize": job.file_size,
        "sha256": job.file_sha256.hex(),
        "status": job.status,
        "progress": 100 if job.status in _DONE else min(read, 99),
        "totalRecords": job.total,
        "successRecords": job.total - job.failed,
        "createdRecords": job.created,
        "updatedRecords": job.updated,
        "unchangedRecords": job.unchanged,
        "skippedRecords": job.skipped,
        "failedRecords": job.failed,
        "error": job.error,
        "mapping": job.mapping,
        "options": job.options,
        "cancelRequested": job.cancel_requested,
        "runUrl": None if job.run_id is None else held.dagster.run_url(job.run_id),
        "createdAt": job.created_at,
        "startedAt": job.started_at,
        "completedAt": job.completed_at,
    }


def _json_field(upload: Upload, name: str) -> Json:
    text = upload.fields.get(name, "")
    if not text.strip():
        return None
    try:
        return parse(text.encode())
    except MalformedRequest as error:
        detail = error.detail.replace("The body", name, 1)
        raise Invalid(detail, faults=[Fault("format", detail, parameter=name)]) from error


def _entity(upload: Upload, found: Caller) -> Entity:
    name = upload.fields.get("entity", "").strip()
    entity = found.catalog.named(name) or found.catalog.at_path(name)
    if entity is not None:
        return entity
    if not name:
        code, detail = "required", "name the entity that the file fills"
    else:
        hint = suggestion(name[:60], [e.name for e in found.catalog])
        code, detail = "unknown", f'there is no entity "{name[:60]}"{hint}'
    raise Invalid(
        "The import cannot be accepted.", faults=[Fault(code, detail, parameter="entity")]
    )


def _checked(upload: Upload, entity: Entity, found: Caller, new_id: UUID) -> NewImport:
    """The job for an upload. Raises Invalid with every fault of mapping and options at once."""
    faults = Faults()
    options = parse_options(_json_field(upload, "options"), faults)
    mapping = _json_field(upload, "mapping")
    header = read_header(upload.path, delimiter=options.delimiter, quote=options.quote)
    maps = parse_mapping(
        mapping, entity=entity, catalog=found.catalog, header=header.names, reading=faults
    )
    check_unique_fields(options, maps, faults)
    if faults.faults:
        raise Invalid("The import cannot be accepted.", faults=faults.faults)
    settled = ImportOptions(
        **{name: getattr(options, name) for name in options.__slots__ if name != "delimiter"},
        delimiter=header.dialect.delimiter,
    )
    return NewImport(
        id=new_id,
        tenant_id=found.principal.tenant_id,
        entity_id=entity.id,
        entity_name=entity.name,
        file_name=upload.file_name,
        file_size=upload.size,
        file_type="csv",
        file_sha256=upload.sha256,
        spool_path=str(upload.path.resolve()),
        mapping=as_json(maps),
        options=settled.as_json(),
        created_by=found.principal.actor_id,
    )


async def _launch(held: Platform, request: WorkRequest) -> None:
    """Best effort: what is not launched here, a sensor launches."""
    run_id = await held.dagster.launch(request)
    if run_id is not None:
        async with held.database.transaction(request.tenant_id) as tx:
            await tx.run(work.submitted(request.id, run_id))


@router.post("")
async def create_import(found: Uploading, request: Request) -> Response:
    """Accept a file: multipart parts `file`, `entity`, and as JSON `mapping` and `options`.

    Under an Idempotency-Key that was used for the same form before, answers with that import.
    """
    refuse_parameters(request.query_params.multi_items())
    held = platform(request)
    settings = held.settings
    key = idempotency_key(request.headers)
    upload = await receive_upload(
        request, settings.spool, max_bytes=settings.max_import_bytes, names=_FORM
    )
    asked: WorkRequest | None = None
    keep = False

    async def accept() -> Response:
        nonlocal asked
        job, asked = await _accept(context, upload, found)
        where = f"{request.url.path}/{job.id}"
        return JsonAnswer(_as_json(job, held), 202, {"Location": where})

    try:
        with refusing():
            async with held.database.transaction(found.principal.tenant_id) as tx:
                context = Context(tx, found.principal, found.catalog, found.request_id)
                if key is None:
                    answer = await accept()
                else:
                    answer = await once(context, key, _fingerprint(upload), accept)
                # Only the commit can fail now. Whether it did is not always known, so the file
                # stays; the daily clearing takes one that no import knows.
                keep = asked is not None
    finally:
        if not keep:
            upload.discard()
    if asked is not None:
        with refusing():
            await _launch(held, asked)
    return answer


async def _accept(context: Context, upload: Upload, found: Caller) -> tuple[ImportJob, WorkRequest]:
    """Write the job and ask for its run. Raises Invalid with every fault of the form."""
    entity = _entity(upload, found)
    new = await asyncio.to_thread(_checked, upload, entity, found, uuid.uuid4())
    principal = found.principal
    job = await context.tx.one(imports.insert_job(new))
    asked = await context.tx.one(
        work.insert_request(
            principal.tenant_id,
            "import",
            new.id,
            import_key(principal.tenant_slug, entity.slug),
            principal.actor_id,
        )
    )
    if job is None or asked is None:
        raise Conflict("The import was not stored; send it again.")
    return job, asked


def _fingerprint(upload: Upload) -> bytes:
    """What an upload asks for, whatever its boundaries: two equal ones are the same request."""
    parts = [upload.file_name, upload.sha256.hex(), sorted(upload.fields.items())]
    return hashlib.sha256(json.dumps(["import", *parts]).encode()).digest()


@router.get("")
async def list_imports(context: Reading, request: Request) -> Response:
    """The tenant's imports, newest first."""
    paging = parse_paging(request.query_params.multi_items())
    tenant_id = context.principal.tenant_id
    count = await context.tx.one(imports.count_jobs(tenant_id))
    jobs = await context.tx.all(imports.jobs_of(tenant_id, limit=paging.size, offset=paging.offset))
    held = platform(request)
    return JsonAnswer(
        {"items": [_as_json(job, held) for job in jobs], "pageInfo": paging.page_info(count or 0)}
    )


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(f"There is no import {text[:60]}.") from error


async def _find(context: Context, text: str) -> ImportJob:
    job = await context.tx.one(imports.job_by_id(context.principal.tenant_id, _id(text)))
    if job is None:
        raise NotFound(f"There is no import {text[:60]}.")
    return job


@router.get("/{import_id}")
async def get_import(import_id: str, context: Reading, request: Request) -> Response:
    """One import: status, progress and counts so far."""
    return JsonAnswer(_as_json(await _find(context, import_id), platform(request)))


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
    job = await _find(context, import_id)
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
    job = await _find(context, import_id)
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


async def _refuse_settled(context: Context, import_id: str, verb: str) -> None:
    job = await _find(context, import_id)
    raise Conflict(f"An import that is {job.status} cannot be {verb}.")


@router.post("/{import_id}/cancel")
async def cancel_import(import_id: str, context: Writing, request: Request) -> Response:
    """Stop an import: at once when it has not begun, else after the chunk at hand."""
    tenant_id = context.principal.tenant_id
    job = await context.tx.one(imports.request_cancel(tenant_id, _id(import_id)))
    if job is None:
        await _refuse_settled(context, import_id, "cancelled")
    else:
        await context.tx.all(work.cancel_unclaimed(tenant_id, job.id))
    return JsonAnswer(_as_json(await _find(context, import_id), platform(request)), 202)


@router.post("/{import_id}/retry")
async def retry_import(import_id: str, found: Uploading, request: Request) -> Response:
    """Run a failed or cancelled import again, from its last committed chunk on."""
    held = platform(request)
    tenant_id = found.principal.tenant_id
    with refusing():
        async with held.database.transaction(tenant_id) as tx:
            context = Context(tx, found.principal, found.catalog, found.request_id)
            before = await _find(context, import_id)
            entity = next((e for e in found.catalog if e.id == before.entity_id), None)
            if entity is None:
                raise Conflict(f"The entity {before.entity_name} is gone.")
            job = await tx.one(imports.reopen_job(tenant_id, before.id))
            if job is None:
                raise Conflict(f"An import that is {before.status} cannot be retried.")
            # Asked while the job is ours: who clears the spool locks it too.
            if not await asyncio.to_thread(Path(job.spool_path).exists):
                raise Conflict(
                    f"The uploaded file is no longer there: files stay for "
                    f"{held.settings.upload_days} days after an import ended. Upload it again."
                )
            key = import_key(found.principal.tenant_slug, entity.slug)
            asked = await tx.one(
                work.insert_request(tenant_id, "import", job.id, key, found.principal.actor_id)
            )
        if asked is not None:
            await _launch(held, asked)
    return JsonAnswer(
        _as_json(job, held), 202, {"Location": str(request.url.path)[: -len("/retry")]}
    )
