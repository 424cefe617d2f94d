"""/api/v1/imports/preview: what a file holds, how it could be mapped, what would become of it."""

import asyncio
import contextlib
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer
from api.context import Caller, platform
from api.import_form import FORM, LOOKERS, Uploading, entity_of, json_field, understood
from api.uploads import Upload, receive_upload
from hubblewave_pipelines.core.entity import Entity, Json
from hubblewave_pipelines.core.errors import Fault
from hubblewave_pipelines.core.import_options import (
    ImportOptions,
    check_unique_fields,
    parse_options,
)
from hubblewave_pipelines.core.mapping import FieldMap, folded, parse_mapping
from hubblewave_pipelines.core.parameters import refuse_parameters
from hubblewave_pipelines.core.reading import Reading as Faults
from hubblewave_pipelines.core.suggesting import Suggestion, suggestions
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.transfer.apart import limits_of
from hubblewave_pipelines.transfer.formats import Source, shown

router = APIRouter(prefix="/imports")


@router.post("/preview")
async def preview_import(found: Uploading, request: Request) -> Response:
    """Take the form of an import and answer what it would do with the first 20 rows.

    Nothing is kept of the file, and nothing is written. Faults of mapping and options are in
    `problems`; then no row is tried.
    """
    refuse_parameters(request.query_params.multi_items())
    settings = platform(request).settings
    upload = await receive_upload(
        request, settings.spool, max_bytes=settings.max_import_bytes, names=FORM
    )
    try:
        entity = entity_of(upload, found)
        source = await understood(upload, settings)
        with refusing():
            previewed = partial(_previewed, upload, entity, found, source, settings)
            answer = await asyncio.get_running_loop().run_in_executor(LOOKERS, previewed)
        return JsonAnswer(answer)
    finally:
        upload.discard()


def _previewed(
    upload: Upload, entity: Entity, found: Caller, source: Source, settings: Settings
) -> dict[str, Any]:
    # Only who previews pays for Arrow in this process: it takes half a second and 60 MB.
    from hubblewave_pipelines.transfer import preview

    faults = Faults()
    asked = json_field(upload, "options")
    options = parse_options(asked, faults)
    given = json_field(upload, "mapping")
    near = suggestions(entity, source.columns)
    mapping = folded(_suggested(near) if given is None else given, asked, entity, (), faults)
    maps = _maps(mapping, entity, found, source, options, faults)
    limits = limits_of(settings)
    chunk = preview.first_rows(upload.path, source, options, maps, entity, limits)
    rows: list[Any] = []
    if chunk is not None and not faults.faults:
        database = Database(settings.require_database_url(), Role.WORKER, size=1)
        with contextlib.closing(database):
            rows = preview.outcomes(
                database,
                found.principal.tenant_id,
                entity,
                found.catalog,
                source,
                maps,
                options,
                chunk,
            )
    columns = preview.columns_of(source, chunk)
    return {
        "detected": shown(source),
        "columns": [
            {"name": c.name, "type": c.kind.value, "empty": c.empty, "examples": c.examples}
            for c in columns
        ],
        "suggestions": [
            {"sourceField": s.source, "targetField": s.target, "confidence": s.confidence}
            for s in near
        ],
        "mapping": mapping,
        "problems": [fault.as_json() for fault in faults.faults],
        "rows": [_row(row) for row in rows],
    }


def _suggested(near: list[Suggestion]) -> Json:
    return [{"sourceField": s.source, "targetField": s.target} for s in near]


def _maps(
    mapping: Json,
    entity: Entity,
    found: Caller,
    source: Source,
    options: ImportOptions,
    faults: Faults,
) -> tuple[FieldMap, ...]:
    before: list[Fault] = list(faults.faults)
    maps = parse_mapping(
        mapping,
        entity=entity,
        catalog=found.catalog,
        header=source.columns,
        reading=faults,
        more=source.open,
    )
    check_unique_fields(options, maps, faults)
    return maps if faults.faults == before else ()


def _row(row: Any) -> dict[str, Any]:
    return {
        "row": row.row,
        "outcome": row.outcome,
        "values": row.values,
        "errors": [
            {"field": f.field or None, "code": f.code, "message": f.message} for f in row.faults
        ],
        "raw": row.raw[:2_000],
    }
