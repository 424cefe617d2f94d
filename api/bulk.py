"""/api/v1/{plural}/bulk: up to 1,000 records in one request, with the outcome of each in order."""

from functools import partial
from typing import Any

import msgspec
from starlette.responses import Response

from api.attempts import Attempt
from api.batches import Done, Writer
from api.body import JSON
from api.calls import Call, Handlers, Writing
from api.context import Context
from api.preferences import preferred_return
from api.problems import document
from hubblewave_pipelines.core.bulk import Batch, BulkKind, read_batch
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import (
    Conflict,
    Fault,
    Invalid,
    MalformedRequest,
    PlatformError,
    PreconditionRequired,
)
from hubblewave_pipelines.core.parameters import refuse_parameters
from hubblewave_pipelines.core.reading import suggestion


async def _bulk(kind: BulkKind, call: Call, context: Context, attempt: Attempt) -> Response:
    entity = call.target(context, attempt)
    parameters = call.request.query_params.multi_items()
    key = upsert_key(entity, parameters) if kind is BulkKind.UPSERT else None
    refuse_parameters([given for given in parameters if key is None or given[0] != "key"])
    wanted = preferred_return(call.request.headers)
    batch = read_batch(entity, call.body, kind, key=key)
    writer = Writer(context, entity, batch, key=key, whole=wanted == "representation")
    done = await writer.write()
    if batch.refused and batch.atomic:
        raise undone(batch)
    headers = {} if wanted is None else {"Preference-Applied": f"return={wanted}"}
    path, request_id = call.request.url.path, context.request_id
    items = [_outcome(index, batch, done, path, request_id) for index in range(batch.total)]
    failed = len(batch.refused)
    summary = {"total": batch.total, "succeeded": batch.total - failed, "failed": failed}
    text = msgspec.json.encode({"summary": summary, "items": items})
    return Response(text, 207 if failed else 200, headers, JSON)


def upsert_key(entity: Entity, parameters: list[tuple[str, str]]) -> str:
    """The unique field by which records are found. Raises MalformedRequest."""
    given = [value for name, value in parameters if name == "key"]
    names = [field.name for field in entity.fields if field.unique and not field.computed]
    known = f"; {entity.name} has {', '.join(names) or 'none'}"
    if len(given) == 1 and given[0] in names:
        return given[0]
    if not given:
        detail = f"name a unique field, ?key=field{known}"
    elif len(given) > 1:
        detail = "may be given once"
    else:
        detail = f"must be a unique field that clients write{suggestion(given[0], names) or known}"
    raise MalformedRequest(f"key: {detail}.", faults=[Fault("key", detail, parameter="key")])


def undone(batch: Batch) -> PlatformError:
    """The refusal of an atomic request: what is wrong with each item that failed."""
    refused = [batch.refused[index] for index in sorted(batch.refused)]
    faults = [fault for error in refused for fault in error.faults]
    if all(isinstance(error, PreconditionRequired) for error in refused):
        raise PreconditionRequired("Say which versions you change.", faults=faults)
    # 422 when the request cannot succeed as it is, 409 when only the present state is in its way.
    kind = (
        Invalid
        if any(isinstance(error, Invalid | PreconditionRequired) for error in refused)
        else Conflict
    )
    failed = "1 item was" if len(refused) == 1 else f"{len(refused)} items were"
    return kind(f"{failed} refused of {batch.total}; nothing was written.", faults=faults)


def _outcome(
    index: int, batch: Batch, done: dict[int, Done], path: str, request_id: str
) -> dict[str, Any]:
    refused = batch.refused.get(index)
    if refused is not None:
        problem = document(refused, instance=path, request_id=request_id)
        return {"index": index, "status": refused.status, "error": problem}
    written = done[index]
    found: dict[str, Any] = {"index": index, "status": written.status, "id": written.record_id}
    if written.version is not None:
        found["version"] = written.version
    if written.text is not None:
        found["record"] = msgspec.Raw(written.text.encode())
    return found


HANDLERS: Handlers = {
    "POST": Writing(partial(_bulk, BulkKind.CREATE), (JSON,)),
    "PUT": Writing(partial(_bulk, BulkKind.UPSERT), (JSON,)),
    "PATCH": Writing(partial(_bulk, BulkKind.UPDATE), (JSON,)),
    "DELETE": Writing(partial(_bulk, BulkKind.DELETE), (JSON,)),
}
