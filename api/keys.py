"""/api/v1/api-keys: a tenant's keys. A key's text is shown once, in the answer that creates it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.context import Administering
from hubblewave_pipelines.core.entity import Field, FieldKind, Json
from hubblewave_pipelines.core.errors import Conflict, Fault, Invalid, NotFound
from hubblewave_pipelines.core.identity import new_api_key
from hubblewave_pipelines.core.parameters import parse_paging
from hubblewave_pipelines.core.scope import PLANS, SCOPES
from hubblewave_pipelines.core.values import Refused, from_json
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.tenants import StoredKey

router = APIRouter(prefix="/api-keys")

_NAME = Field(id="name", name="name", kind=FieldKind.TEXT, max_length=200)
_EXPIRES_AT = Field(id="expires", name="expiresAt", kind=FieldKind.DATETIME)
_KNOWN = ("name", "scopes", "plan", "expiresAt")


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    scopes: list[str]
    plan: str | None
    expires_at: datetime | None


def _wanted(body: Json, now: datetime, plans: Sequence[str]) -> _Wanted:
    """What a request asks for; `plans` are those the caller may give away. Raises Invalid naming
    everything that is wrong.
    """
    if not isinstance(body, dict):
        raise Invalid(
            "The body must be a JSON object.", faults=[Fault("type", "expected an object", "#")]
        )
    faults = [
        Fault("unknown", f"known are {', '.join(_KNOWN)}", f"#/{name}")
        for name in body
        if name not in _KNOWN
    ]

    def read(field: Field) -> Any:
        try:
            return None if body.get(field.name) is None else from_json(field, body[field.name])
        except Refused as refused:
            faults.append(Fault(refused.code, refused.detail, f"#/{field.name}"))
            return None

    name = read(_NAME)
    if body.get("name") in (None, ""):
        faults.append(Fault("required", "name is required", "#/name"))
    scopes = body.get("scopes")
    if not isinstance(scopes, list) or not scopes or any(s not in SCOPES for s in scopes):
        faults.append(Fault("enum", f"list some of {', '.join(SCOPES)}", "#/scopes"))
    plan = body.get("plan")
    if plan is not None and plan not in PLANS:
        faults.append(Fault("enum", f"must be one of {', '.join(PLANS)}", "#/plan"))
    elif plan is not None and plan not in plans:
        detail = f"your own plan is {plans[-1]}; a key you make may carry {' or '.join(plans)}"
        faults.append(Fault("plan", detail, "#/plan"))
    expires_at = read(_EXPIRES_AT)
    if expires_at is not None and expires_at <= now:
        faults.append(Fault("range", "must be in the future", "#/expiresAt"))
    if faults:
        raise Invalid("The API key cannot be made.", faults=faults)
    return _Wanted(name, sorted(set(body["scopes"])), plan, expires_at)


def _as_json(key: StoredKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "plan": key.plan,
        "expiresAt": key.expires_at,
        "lastUsedAt": key.last_used_at,
        "revokedAt": key.revoked_at,
        "createdAt": key.created_at,
    }


@router.get("")
async def list_keys(context: Administering, request: Request) -> Response:
    """The tenant's keys in order of creation, revoked and expired ones included."""
    paging = parse_paging(request.query_params.multi_items())
    keys = await context.tx.all(tenants.keys_of(context.principal.tenant_id))
    shown = keys[paging.offset : paging.offset + paging.size]
    return JsonAnswer(
        {"items": [_as_json(key) for key in shown], "pageInfo": paging.page_info(len(keys))}
    )


@router.post("")
async def create_key(context: Administering, request: Request) -> Response:
    """Make a key; `key` in the answer is its text, which is stored nowhere."""
    plans = PLANS[: PLANS.index(context.principal.plan) + 1]
    wanted = _wanted(await read_json(request), datetime.now(UTC), plans)
    key = new_api_key()
    stored = await context.tx.one(
        tenants.insert_key(
            context.principal.tenant_id,
            key,
            name=wanted.name,
            scopes=wanted.scopes,
            plan=wanted.plan,
            expires_at=wanted.expires_at,
            created_by=context.principal.actor_id,
        )
    )
    if stored is None:
        raise Conflict("The key's id is taken; ask again.")
    location = {"Location": f"{request.url.path}/{key.id}"}
    return JsonAnswer({**_as_json(stored), "key": key.text}, 201, location)


async def _find(context: Administering, key_id: str) -> StoredKey:
    for key in await context.tx.all(tenants.keys_of(context.principal.tenant_id)):
        if key.id == key_id:
            return key
    raise NotFound(f"There is no API key {key_id}.")


@router.get("/{key_id}")
async def get_key(key_id: str, context: Administering) -> Response:
    """One key, without its text."""
    return JsonAnswer(_as_json(await _find(context, key_id)))


@router.delete("/{key_id}")
async def revoke_key(key_id: str, context: Administering) -> Response:
    """Revoke a key: requests that carry it are refused from the next one on."""
    revoked = await context.tx.one(tenants.revoke_key(context.principal.tenant_id, key_id))
    if revoked is None:
        raise NotFound(f"There is no API key {key_id}.")
    return Response(status_code=204)
