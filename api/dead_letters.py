"""/api/v1/webhooks/dead-letters: deliveries that were given up; send them again, or settle them."""

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.context import Administering
from api.webhook_sending import moment
from api.webhooks_shown import letter_json
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import Fault, Invalid, MalformedRequest, NotFound
from hubblewave_pipelines.core.parameters import parse_paging
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.storage import dead_letters
from hubblewave_pipelines.storage.dead_letters import MOST, STATES, Chosen

router = APIRouter(prefix="/webhooks/dead-letters")

_FILTERS = ("state", "ids", "webhookId", "event", "reason", "since", "until")


def _chosen(body: dict[str, Json]) -> tuple[Chosen, list[Fault]]:
    """Which letters a filter is about, and what is wrong with it."""
    reading = Reading()
    reading.keys(body, _FILTERS, "#")
    state = "open"
    if body.get("state") is not None:
        state = reading.choice(body, "state", "#", STATES) or "open"
    ids = body.get("ids")
    if ids is not None and not (isinstance(ids, list) and all(isinstance(i, str) for i in ids)):
        reading.fault("#/ids", "type", "ids must be a list of ids")
        ids = None
    chosen = Chosen(
        state=state,
        ids=None if ids is None else [_uuid(reading, "#/ids", i) for i in ids],
        webhook_id=None
        if body.get("webhookId") is None
        else _uuid(reading, "#/webhookId", body["webhookId"]),
        type=reading.text(body, "event", "#", longest=200),
        reason=reading.text(body, "reason", "#", longest=200),
        since=moment(reading, body, "since"),
        until=moment(reading, body, "until"),
    )
    return chosen, reading.faults


def _uuid(reading: Reading, pointer: str, text: Json) -> UUID:
    try:
        return UUID(text)
    except (ValueError, AttributeError, TypeError):
        reading.fault(pointer, "format", "is not an id")
        return UUID(int=0)


@router.get("")
async def list_dead_letters(context: Administering, request: Request) -> Response:
    """Open dead letters, newest first; `state`, `webhookId`, `event`, `reason`, `since` and `until`
    choose others."""
    given = [name for name in _FILTERS if name != "ids"]
    paging = parse_paging(request.query_params.multi_items(), *given)
    asked = {name: request.query_params[name] for name in given if name in request.query_params}
    chosen, faults = _chosen(asked)
    if faults:
        named = [
            Fault(f.code, f.detail, parameter=(f.pointer or "").removeprefix("#/")) for f in faults
        ]
        raise MalformedRequest("The filter cannot be read.", faults=named)
    tenant_id = context.principal.tenant_id
    total = await context.tx.one(dead_letters.count_dead_letters(tenant_id, chosen)) or 0
    found = await context.tx.all(
        dead_letters.dead_letters(tenant_id, chosen, limit=paging.size, offset=paging.offset)
    )
    return JsonAnswer(
        {"items": [letter_json(le) for le in found], "pageInfo": paging.page_info(total)}
    )


@router.post("/redrive")
async def redrive_dead_letters(context: Administering, request: Request) -> Response:
    """`{"filter": {...}, "dryRun": true}`: send the chosen letters again, at most 10,000 at once.

    Each becomes a new delivery with the same `webhook-id`; the letters count as settled.
    """
    body = await read_json(request)
    if not isinstance(body, dict):
        raise Invalid("The body must be an object.", faults=[Fault("type", "an object", "#")])
    reading = Reading()
    reading.keys(body, ("filter", "dryRun"), "#")
    wanted = {} if body.get("filter") is None else body["filter"]
    if not isinstance(wanted, dict):
        reading.fault("#/filter", "type", "filter must be an object")
        wanted = {}
    chosen, faults = _chosen(wanted)
    moved = [Fault(f.code, f.detail, f"#/filter{(f.pointer or '#')[1:]}") for f in faults]
    dry = reading.flag(body, "dryRun", "#")
    if reading.faults or moved:
        raise Invalid("The letters cannot be chosen.", faults=[*reading.faults, *moved])
    tenant_id = context.principal.tenant_id
    matching = await context.tx.one(dead_letters.count_dead_letters(tenant_id, chosen)) or 0
    if dry:
        return JsonAnswer({"dryRun": True, "matching": matching, "redriven": 0})
    done = await context.tx.one(dead_letters.redrive(tenant_id, chosen, context.principal.actor_id))
    redriven = done or 0
    remaining = max(0, matching - redriven) if redriven == MOST else 0
    return JsonAnswer(
        {"dryRun": False, "matching": matching, "redriven": redriven, "remaining": remaining}, 202
    )


@router.post("/{letter_id:uuid}/resolve")
async def resolve_dead_letter(letter_id: UUID, context: Administering) -> Response:
    """Settle a letter without sending it again; who did and when is kept."""
    tenant_id = context.principal.tenant_id
    resolved = await context.tx.one(
        dead_letters.resolve(tenant_id, letter_id, context.principal.actor_id)
    )
    if resolved is None:
        raise NotFound(f"There is no dead letter {letter_id}.")
    return await get_dead_letter(letter_id, context)


@router.get("/{letter_id:uuid}")
async def get_dead_letter(letter_id: UUID, context: Administering) -> Response:
    """One dead letter with its payload and why it was given up."""
    chosen = Chosen(state="all", ids=[letter_id])
    found = await context.tx.one(
        dead_letters.dead_letters(context.principal.tenant_id, chosen, limit=1, offset=0)
    )
    if found is None:
        raise NotFound(f"There is no dead letter {letter_id}.")
    return JsonAnswer(letter_json(found))
