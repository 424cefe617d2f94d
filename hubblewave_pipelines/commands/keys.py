"""`hubblewave keys`: make, list and revoke API keys."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from hubblewave_pipelines.commands.answer import (
    AsJson,
    DataDir,
    owner,
    print_json,
    print_rows,
    refusals,
)
from hubblewave_pipelines.core.errors import Invalid, NotFound
from hubblewave_pipelines.core.identity import new_api_key
from hubblewave_pipelines.core.scope import PLANS, SCOPES
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Transaction
from hubblewave_pipelines.storage.tenants import Tenant

app = typer.Typer(no_args_is_help=True, help="API keys: make, list and revoke them.")
_COLUMNS = ("id", "name", "scopes", "plan", "expires_at", "last_used_at", "revoked_at")
_SPAN = re.compile(r"(\d{1,5})([dh])")

Slug = Annotated[str, typer.Option("--tenant", help="Slug of the tenant.")]


@app.command()
def create(
    tenant: Slug = "default",
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"One of {', '.join(SCOPES)}; repeat for several. Default: read."),
    ] = None,
    plan: Annotated[
        str | None, typer.Option(help=f"Own rate limit: {', '.join(PLANS)}. Default: tenant's.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 90d, 12h or an ISO 8601 time. Default: never.")
    ] = None,
    name: Annotated[str, typer.Option(help="What it is for, as lists show it.")] = "command line",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Make a key and print it as JSON. Its text is stored nowhere and shown this once."""
    with refusals(json), owner(data_dir) as database:
        scopes = sorted(set(scope or ["read"]))
        if unknown := [text for text in scopes if text not in SCOPES]:
            raise Invalid(f"There is no scope {unknown[0]!r}; scopes are {', '.join(SCOPES)}.")
        if plan is not None and plan not in PLANS:
            raise Invalid(f"There is no plan {plan!r}; plans are {', '.join(PLANS)}.")
        expires_at = None if expires is None else end_of(expires, datetime.now(UTC))
        key = new_api_key()
        with database.transaction() as tx:
            holder = _tenant(tx, tenant)
            stored = tx.one(
                tenants.insert_key(
                    holder.id,
                    key,
                    name=name,
                    scopes=scopes,
                    plan=plan,
                    expires_at=expires_at,
                    created_by=None,
                )
            )
        print_json({"tenant": tenant, "api_key": key.text, "key": stored})


@app.command("list")
def list_keys(tenant: Slug = "default", data_dir: DataDir = None, json: AsJson = False) -> None:
    """List a tenant's keys, ended ones too; never their text."""
    with refusals(json), owner(data_dir) as database:
        with database.transaction() as tx:
            found = tx.all(tenants.keys_of(_tenant(tx, tenant).id))
        print_rows(found, _COLUMNS, as_json=json)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.")],
    tenant: Slug = "default",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """End a key at once. Doing it twice changes nothing."""
    with refusals(json), owner(data_dir) as database:
        with database.transaction() as tx:
            ended = tx.one(tenants.revoke_key(_tenant(tx, tenant).id, key_id))
        if ended is None:
            raise NotFound(f"Tenant {tenant!r} has no key {key_id!r}; see `hubblewave keys list`.")
        print_rows([ended], _COLUMNS, as_json=json)


def _tenant(tx: Transaction, slug: str) -> Tenant:
    found = tx.one(tenants.tenant_by_slug(slug))
    if found is None:
        raise NotFound(f"There is no tenant {slug!r}; see `hubblewave tenants list`.")
    return found


def end_of(text: str, now: datetime) -> datetime:
    """The instant meant by `90d`, `12h` or an ISO 8601 time (UTC when it names no zone)."""
    if span := _SPAN.fullmatch(text):
        number = int(span[1])
        end = now + (timedelta(days=number) if span[2] == "d" else timedelta(hours=number))
    else:
        try:
            end = datetime.fromisoformat(text)
        except ValueError:
            raise Invalid(
                f"--expires {text!r} is neither a span (90d, 12h) nor an ISO 8601 time."
            ) from None
        end = end if end.tzinfo is not None else end.replace(tzinfo=UTC)
    if end <= now:
        raise Invalid(f"--expires {text!r} is in the past.")
    return end
