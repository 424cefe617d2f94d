"""/api/v1/imports: upload a file into an entity, follow it, cancel and retry it."""

import asyncio
import hashlib
import json
import uuid
from pathlib import Path
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.body import JsonAnswer
from api.context import Caller, Context, Reading, Writing, caller, platform
from api.idempotency import idempotency_key, once
from api.import_form import FORM, Uploading, entity_of, json_field, understood
from api.imports_shown import find_import, import_id_of, import_json
from api.launching import launch
from api.uploads import Upload, receive_upload
from hubblewave_pipelines.core.asset_keys import import_key
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import Conflict
from hubblewave_pipelines.core.parameters import parse_paging, refuse_parameters
from hubblewave_pipelines.core.transform_schema import mapping_schema
from hubblewave_pipelines.storage import imports, reverts, work
from hubblewave_pipelines.storage.imports import ImportJob, NewImport
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.storage.work import WorkRequest
from hubblewave_pipelines.transfer.accepting import Arrival, accepted
from hubblewave_pipelines.transfer.formats import Source

router = APIRouter(prefix="/imports")

Known = Annotated[Caller, Depends(caller("read"))]


def _checked(upload: Upload, entity: Entity, found: Caller, source: Source) -> NewImport:
    """The job for an upload. Raises Invalid with every fault of mapping and options at once."""
    principal = found.principal
    return accepted(
        Arrival(
            path=upload.path,
            name=upload.file_name,
            size=upload.size,
            sha256=upload.sha256,
            tenant_id=principal.tenant_id,
            by=principal.actor_id,
        ),
        source,
        entity=entity,
        catalog=found.catalog,
        mapping=json_field(upload, "mapping"),
        options=json_field(upload, "options"),
        new_id=uuid.uuid4(),
    )


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
        request, settings.spool, max_bytes=settings.max_import_bytes, names=FORM
    )
    asked: WorkRequest | None = None
    keep = False

    async def accept() -> Response:
        nonlocal asked
        job, asked = await _accept(context, upload, found, source)
        where = f"{request.url.path}/{job.id}"
        return JsonAnswer(import_json(job, held), 202, {"Location": where})

    try:
        source = await understood(upload, settings)  # before a connection is held
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
            await launch(held, asked)
    return answer


async def _accept(
    context: Context, upload: Upload, found: Caller, source: Source
) -> tuple[ImportJob, WorkRequest]:
    """Write the job and ask for its run. Raises Invalid with every fault of the form."""
    entity = entity_of(upload, found)
    new = await asyncio.to_thread(_checked, upload, entity, found, source)
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
        {
            "items": [import_json(job, held) for job in jobs],
            "pageInfo": paging.page_info(count or 0),
        }
    )


@router.get("/transforms")
async def list_transforms(found: Known) -> Response:
    """The JSON Schema of a mapping and its transforms, with an example of each."""
    return JsonAnswer(mapping_schema(), media_type="application/schema+json")


@router.get("/{import_id:uuid}")  # so that /preview and /transforms are no ids
async def get_import(import_id: UUID, context: Reading, request: Request) -> Response:
    """One import: status, progress and counts so far."""
    return JsonAnswer(import_json(await find_import(context, str(import_id)), platform(request)))


async def _refuse_settled(context: Context, import_id: str, verb: str) -> None:
    job = await find_import(context, import_id)
    raise Conflict(f"An import that is {job.status} cannot be {verb}.")


@router.post("/{import_id}/cancel")
async def cancel_import(import_id: str, context: Writing, request: Request) -> Response:
    """Stop an import: at once when it has not begun, else after the chunk at hand."""
    tenant_id = context.principal.tenant_id
    job = await context.tx.one(imports.request_cancel(tenant_id, import_id_of(import_id)))
    if job is None:
        await _refuse_settled(context, import_id, "cancelled")
    else:
        await context.tx.all(work.cancel_unclaimed(tenant_id, job.id))
    return JsonAnswer(import_json(await find_import(context, import_id), platform(request)), 202)


@router.post("/{import_id}/retry")
async def retry_import(import_id: str, found: Uploading, request: Request) -> Response:
    """Run a failed or cancelled import again, from its last committed chunk on."""
    held = platform(request)
    tenant_id = found.principal.tenant_id
    with refusing():
        async with held.database.transaction(tenant_id) as tx:
            context = Context(tx, found.principal, found.catalog, found.request_id)
            before = await find_import(context, import_id)
            entity = next((e for e in found.catalog if e.id == before.entity_id), None)
            if entity is None:
                raise Conflict(f"The entity {before.entity_name} is gone.")
            job = await tx.one(imports.reopen_job(tenant_id, before.id))
            if job is None:
                raise Conflict(f"An import that is {before.status} cannot be retried.")
            if await tx.one(reverts.revert_of(tenant_id, job.id)) is not None:
                raise Conflict("The import has been taken back; upload the file again.")
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
            await launch(held, asked)
    return JsonAnswer(
        import_json(job, held), 202, {"Location": request.url.path.removesuffix("/retry")}
    )
