"""/api/v1/connectors: external systems of a tenant. Credentials go in and never come out."""

import uuid
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import psycopg
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.connectors_shown import find_connector, shown
from api.context import Administering, Context, Reading, platform
from hubblewave_pipelines.core.connector import ConnectorWish, parse_connector
from hubblewave_pipelines.core.credentials import Credentials
from hubblewave_pipelines.core.errors import Conflict, Fault
from hubblewave_pipelines.core.parameters import parse_flags, parse_paging, refuse_parameters
from hubblewave_pipelines.core.stream import ConnectorType
from hubblewave_pipelines.core.stream_json import type_json
from hubblewave_pipelines.storage import connector_types, connector_vault, connectors
from hubblewave_pipelines.storage.connectors import StoredConnector

router = APIRouter(prefix="/connectors")


async def _types(context: Context) -> Mapping[str, ConnectorType]:
    return {each.name: each for each in await context.tx.all(connector_types.all_types())}


async def _answer(context: Context, connector: StoredConnector, status: int = 200) -> Response:
    (body,) = await shown(context, [connector])
    headers = {"Location": f"/api/v1/connectors/{connector.id}"} if status == 201 else None
    return JsonAnswer(body, status, headers)


async def _seal(
    context: Context, request: Request, connector_id: UUID, credentials: Credentials | None
) -> None:
    if credentials is None:
        return
    tenant_id, envelope = context.principal.tenant_id, platform(request).secrets.envelope
    sealed = connector_vault.sealed_credentials(envelope, tenant_id, connector_id, credentials)
    put = connector_vault.put_credentials(tenant_id, connector_id, credentials, sealed)
    await context.tx.run(put)


def _columns(context: Context, request: Request, id: UUID, wish: ConnectorWish) -> dict[str, Any]:
    found: dict[str, Any] = {"name": wish.name, "config": wish.config, "pace": wish.pace}
    if wish.inbound_secret is not None:
        place = connectors.inbound_place(context.principal.tenant_id, id)
        found["inbound_sealed"] = platform(request).secrets.envelope.seal(
            place, wish.inbound_secret
        )
    return found


def _taken(name: str) -> Conflict:
    fault = Fault("unique", f'another connector is called "{name[:60]}"', "#/name")
    return Conflict("The name is taken.", faults=[fault])


@router.get("/types")
async def list_types(context: Reading, request: Request) -> Response:
    """The types of connectors there are: JSON Schemas of `config` and `credentials`, and what each can do."""
    refuse_parameters(request.query_params.multi_items())
    return JsonAnswer({"items": [type_json(each) for each in (await _types(context)).values()]})


@router.get("")
async def list_connectors(context: Administering, request: Request) -> Response:
    """The tenant's connectors in order of creation."""
    paging = parse_paging(request.query_params.multi_items())
    tenant_id = context.principal.tenant_id
    total = await context.tx.one(connectors.count_connectors(tenant_id)) or 0
    found = await context.tx.all(
        connectors.connectors_of(tenant_id, limit=paging.size, offset=paging.offset)
    )
    return JsonAnswer({"items": await shown(context, found), "pageInfo": paging.page_info(total)})


@router.post("")
async def create_connector(context: Administering, request: Request) -> Response:
    """Make a connector. Nothing is asked of its system yet: that is what `/check` does."""
    body = await read_json(request)
    wish = parse_connector(body, await _types(context), platform(request).settings.egress)
    connector_id, principal = uuid.uuid4(), context.principal
    values = {**_columns(context, request, connector_id, wish), "status": wish.status}
    try:
        connector = await context.tx.one(
            connectors.insert_connector(
                connector_id, principal.tenant_id, wish.type, principal.actor_id, values
            )
        )
    except psycopg.errors.UniqueViolation as error:
        raise _taken(wish.name) from error
    assert connector is not None
    await _seal(context, request, connector_id, wish.credentials)
    return await _answer(context, connector, 201)


@router.get("/{connector_id:uuid}")
async def get_connector(connector_id: UUID, context: Administering, request: Request) -> Response:
    """One connector: configuration, state, what its last check found."""
    refuse_parameters(request.query_params.multi_items())
    return await _answer(context, await find_connector(context, connector_id))


@router.patch("/{connector_id:uuid}")
async def patch_connector(connector_id: UUID, context: Administering, request: Request) -> Response:
    """Change what the body names, `config`, `limits` and `credentials` each as a whole. `status: active`
    also clears an error."""
    return await _write(connector_id, context, request, whole=False)


@router.put("/{connector_id:uuid}")
async def put_connector(connector_id: UUID, context: Administering, request: Request) -> Response:
    """Replace the configuration; credentials that are not in the body stay."""
    return await _write(connector_id, context, request, whole=True)


async def _write(
    connector_id: UUID, context: Context, request: Request, *, whole: bool
) -> Response:
    before = await find_connector(context, connector_id, locked=True)
    body = await read_json(request)
    merged = body
    if isinstance(body, dict) and not whole:
        (now,) = await shown(context, [before])
        kept = {name: now[name] for name in ("name", "config", "limits")}
        merged = {**kept, **body}
    wish = parse_connector(
        merged,
        await _types(context),
        platform(request).settings.egress,
        credentials_needed=False,
        type_kept=before.type,
    )
    values = _columns(context, request, before.id, wish)
    if whole or (isinstance(body, dict) and "status" in body):
        values |= {"status": wish.status, "last_error": None}
    elif before.status == "error" and wish.credentials is not None:
        values |= {"status": "active", "last_error": None}  # what was wrong may be mended by them
    try:
        connector = await context.tx.one(
            connectors.update_connector(context.principal.tenant_id, before.id, values)
        )
    except psycopg.errors.UniqueViolation as error:
        raise _taken(wish.name) from error
    assert connector is not None
    await _seal(context, request, before.id, wish.credentials)
    return await _answer(context, connector)


@router.delete("/{connector_id:uuid}")
async def delete_connector(
    connector_id: UUID, context: Administering, request: Request
) -> Response:
    """Remove a connector with its credentials; `?force=true` also with the sync jobs that use it.

    Records that came from its system stay.
    """
    force = parse_flags(request.query_params.multi_items(), "force")["force"]
    connector = await find_connector(context, connector_id, locked=True)
    tenant_id = context.principal.tenant_id
    jobs = await context.tx.all(connectors.jobs_on(tenant_id, connector.id))
    if jobs and not force:
        named = ", ".join(jobs[:5])
        raise Conflict(f"Sync jobs use the connector ({named}): remove them first, or ?force=true.")
    await context.tx.run(connectors.delete_connector(tenant_id, connector.id))
    return Response(status_code=204)
