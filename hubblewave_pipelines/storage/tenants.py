"""Tenants, and the API keys by which their clients are known."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from hubblewave_pipelines.core.identity import ApiKey, opaque_id
from hubblewave_pipelines.storage.database import Statement, compiled, statement
from hubblewave_pipelines.storage.tables import api_keys, tenants

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tenant:
    id: UUID
    slug: str
    name: str
    plan: str
    schema: str
    catalog_version: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: found from a credential, with the tenant and catalog version of this instant."""

    tenant_id: UUID
    tenant_slug: str
    actor_id: UUID
    scopes: frozenset[str]
    plan: str
    schema: str
    catalog_version: int


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key as listed: never its secret."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    plan: str | None
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


_TENANT = (
    tenants.c.id,
    tenants.c.slug,
    tenants.c.name,
    tenants.c.plan,
    tenants.c.schema_name,
    tenants.c.catalog_version,
    tenants.c.created_at,
)
_KEY = (
    api_keys.c.id,
    api_keys.c.name,
    api_keys.c.key_prefix,
    api_keys.c.scopes,
    api_keys.c.plan,
    api_keys.c.expires_at,
    api_keys.c.last_used_at,
    api_keys.c.revoked_at,
    api_keys.c.created_at,
)


_WIDTH = 7  # columns that hubblewave.authenticate answers


def _principal(row: tuple[Any, ...]) -> Principal:
    tenant_id, slug, actor_id, scopes, plan, schema, version = row
    return Principal(tenant_id, slug, actor_id, frozenset(scopes), plan, schema, version)


def authenticate(key: ApiKey) -> Statement[Principal]:
    """The principal behind a key, or no row. Sets the tenant of the rest of the transaction."""
    return statement(
        "select * from hubblewave.authenticate(%s, %s)", (key.id, key.digest), _principal
    )


_FOR_CALLER = (
    "select caller.*, found.* from hubblewave.authenticate(%s, %s) caller "
    "left join lateral (select * from"
)
_FOR_TENANT = (
    "select found.* from (select set_config('hubblewave.tenant', %s, true) as tenant) caller "
    "left join lateral"
)
_ONCE_SET = "found on caller.tenant is not null"
_ONCE_KNOWN = "built where caller.tenant_id is not null) found on true"


def authenticated(key: ApiKey, read: Statement[T]) -> Statement[tuple[Principal, T | None]]:
    """A credential and one read on its behalf in a single statement: one round trip for both.

    No row when the key is not good; None beside the principal when `read` finds nothing. `read`
    takes positional parameters and its first column is never null. The join is what makes row
    security see the tenant: its left side, which sets the tenant, runs before its right.
    """
    if isinstance(read.params, Mapping):
        raise TypeError("a read that is joined to its credential takes positional parameters")

    def row(row: tuple[Any, ...]) -> tuple[Principal, T | None]:
        own, found = row[:_WIDTH], row[_WIDTH:]
        return _principal(own), None if found[0] is None else read.row(found)

    params = [key.id, key.digest, *read.params]
    return Statement(f"{_FOR_CALLER} ({read.text}) {_ONCE_KNOWN}", params, row)


def note_keys(ids: Collection[str]) -> Statement[Any]:
    """These keys were used just now; once a minute per key, whichever processes say so."""
    return statement("select hubblewave.note_keys(%s)", (sorted(ids),))


def on_behalf(tenant_id: UUID, read: Statement[T]) -> Statement[T]:
    """A read for a tenant, without a credential, as one statement; its conditions are those of
    `authenticated`."""
    if isinstance(read.params, Mapping):
        raise TypeError("a read on behalf of a tenant takes positional parameters")
    text = f"{_FOR_TENANT} ({read.text}) {_ONCE_SET}"
    return Statement(text, [str(tenant_id), *read.params], read.row)


def still_good(keys: Sequence[ApiKey]) -> Statement[tuple[int, Principal]]:
    """The index and the principal of those keys that are good at this moment."""
    text = (
        "select given.k, found.* from unnest(%s::text[], %s::bytea[]) with ordinality"
        " as given(id, digest, k), lateral hubblewave.authenticate(given.id, given.digest) found"
    )
    params = ([key.id for key in keys], [key.digest for key in keys])
    return statement(text, params, lambda row: (row[0] - 1, _principal(row[1:])))


def control_tables_exist() -> Statement[bool]:
    """Whether the database has been migrated at all."""
    return statement(
        "select to_regclass('hubblewave.tenants') is not null", (), lambda row: bool(row[0])
    )


def insert_tenant(slug: str, name: str, plan: str) -> Statement[Tenant]:
    """Owner only. A taken slug returns no row."""
    query = insert(tenants).values(slug=slug, name=name, plan=plan, schema_name=f"t_{opaque_id()}")
    return compiled(query.on_conflict_do_nothing().returning(*_TENANT), lambda row: Tenant(*row))


def create_schema(tenant: Tenant) -> list[Statement[Any]]:
    """Owner only: the schema that will hold the tenant's entity tables, open to the app role."""
    schema = tenant.schema
    return [
        statement(f"create schema {schema}"),
        statement(f"grant usage on schema {schema} to hubblewave_app"),
        statement(
            f"alter default privileges in schema {schema} "
            "grant select, insert, update, delete on tables to hubblewave_app"
        ),
    ]


def tenant_by_slug(slug: str) -> Statement[Tenant]:
    return compiled(select(*_TENANT).where(tenants.c.slug == slug), lambda row: Tenant(*row))


def tenant_by_id(tenant_id: UUID) -> Statement[Tenant]:
    return compiled(select(*_TENANT).where(tenants.c.id == tenant_id), lambda row: Tenant(*row))


def all_tenants() -> Statement[Tenant]:
    return compiled(select(*_TENANT).order_by(tenants.c.slug), lambda row: Tenant(*row))


def insert_key(
    tenant_id: UUID,
    key: ApiKey,
    *,
    name: str,
    scopes: list[str],
    plan: str | None,
    expires_at: datetime | None,
    created_by: UUID | None,
) -> Statement[StoredKey]:
    query = insert(api_keys).values(
        id=key.id,
        tenant_id=tenant_id,
        name=name,
        key_hash=key.digest,
        key_prefix=f"hw_live_{key.id}",
        scopes=scopes,
        plan=plan,
        expires_at=expires_at,
        created_by=created_by,
    )
    return compiled(query.returning(*_KEY), lambda row: StoredKey(*row))


def keys_of(tenant_id: UUID) -> Statement[StoredKey]:
    query = select(*_KEY).where(api_keys.c.tenant_id == tenant_id).order_by(api_keys.c.created_at)
    return compiled(query, lambda row: StoredKey(*row))


def revoke_key(tenant_id: UUID, key_id: str) -> Statement[StoredKey]:
    """Revoking twice keeps the first time; no row when the tenant has no such key."""
    query = (
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, func.now()))
    )
    return compiled(query.returning(*_KEY), lambda row: StoredKey(*row))
