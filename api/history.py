"""/api/v1/{plural}/{id}/history and /restore: who changed what, and bringing a version back."""

import msgspec
from starlette.responses import Response

from api.attempts import Attempt
from api.body import JSON
from api.calls import Call
from api.conditions import etag, required_versions
from api.context import Context
from api.lists import cursor_secret
from api.reads import Read
from hubblewave_pipelines.core.entity import Catalog, Json
from hubblewave_pipelines.core.errors import Fault, Invalid, NotFound, VersionConflict
from hubblewave_pipelines.core.parameters import refuse_parameters
from hubblewave_pipelines.core.versions import Bookmarks, Version, page_of_events, parse_history
from hubblewave_pipelines.storage.database import AsyncTransaction
from hubblewave_pipelines.storage.history import (
    present_record,
    restore_deleted,
    restore_present,
    select_versions,
)
from hubblewave_pipelines.storage.records import version_of
from hubblewave_pipelines.storage.tenants import Principal

_NEWEST = 2**63 - 1


def history(call: Call, principal: Principal, catalog: Catalog) -> Read[list[Version]]:
    """One page of what happened to a record, newest first; deleted records have one, too."""
    entity = call.entity(catalog)
    record_id = call.record_id(entity)
    marks = Bookmarks(cursor_secret(call.request, principal), entity, record_id)
    before, size = parse_history(call.request.query_params.multi_items(), marks)

    async def answer(found: list[Version] | None, tx: AsyncTransaction | None) -> Response | None:
        if not found and before is None:
            raise NotFound(f"There is no {entity.name} {record_id}, and there never was.")
        page = page_of_events(found or [], before=before, size=size)
        info = {
            "pageSize": size,
            "hasNextPage": page.next is not None,
            "endCursor": None if page.next is None else marks.mark(page.next),
        }
        return Response(
            msgspec.json.encode({"items": page.items, "pageInfo": info}), 200, None, JSON
        )

    return Read(entity, select_versions(entity, record_id, before=before, size=size), answer)


def _wanted(body: Json) -> int:
    """The version a body `{"version": 3}` names. Raises Invalid."""
    if not isinstance(body, dict):
        fault = Fault("type", 'expected an object like {"version": 3}', "#")
        raise Invalid("The body must be a JSON object.", faults=[fault])
    faults = [
        Fault("unknown", f'there is no "{name[:60]}" here; known is version', "#/" + name[:60])
        for name in body
        if name != "version"
    ]
    version: Json = body.get("version")
    whole = isinstance(version, int) and not isinstance(version, bool)
    if not whole or not 1 <= version <= _NEWEST:
        code = "required" if version is None else "type"
        faults.append(Fault(code, "version must be a whole number from 1", "#/version"))
    if faults:
        raise Invalid("The body must name a version to restore.", faults=faults)
    return int(version)


async def restore(call: Call, context: Context, attempt: Attempt) -> Response:
    """Make an earlier version the present one, as a new version; a deleted record comes back.

    Raises NotFound, VersionConflict, and what a rule of the present definition refuses.
    """
    entity = call.target(context, attempt)
    refuse_parameters(call.request.query_params.multi_items())
    record_id, version = call.record_id(entity), _wanted(call.body)
    versions = required_versions(call.request.headers)
    tx, actor_id = context.tx, context.principal.actor_id
    if entity.require_if_match and await tx.one(version_of(entity, record_id)) is not None:
        required_versions(call.request.headers, needed=True)
    written = await tx.one(
        restore_present(entity, record_id, version, actor_id=actor_id, versions=versions)
    )
    if written is not None:
        return Response(written.text, 200, {"ETag": etag(written.version)}, JSON)
    present = await tx.one(version_of(entity, record_id))
    if versions is not None and present not in versions:
        now = "does not exist" if present is None else f"is at version {present}"
        raise VersionConflict(f"The record {now}, which If-Match does not name.")
    if present == version:
        written = await tx.one(present_record(entity, record_id))
        if written is not None:
            return Response(written.text, 200, {"ETag": etag(written.version)}, JSON)
    if present is None:
        written = await tx.one(restore_deleted(entity, record_id, version, actor_id=actor_id))
        if written is not None:
            location = call.request.url.path.removesuffix("/restore")
            headers = {"ETag": etag(written.version), "Location": location}
            return Response(written.text, 201, headers, JSON)
    raise NotFound(f"There is no version {version} of a {entity.name} {record_id}.")
