"""`hubblewave tenants`: make and list tenants."""

import re
from typing import Annotated

import typer

from hubblewave_pipelines.commands.answer import (
    AsJson,
    DataDir,
    owner,
    print_rows,
    refusals,
)
from hubblewave_pipelines.core.errors import Conflict, Invalid
from hubblewave_pipelines.core.scope import PLANS
from hubblewave_pipelines.storage.tenants import all_tenants
from hubblewave_pipelines.supervisor.first_start import make_tenant

app = typer.Typer(no_args_is_help=True, help="Tenants: make and list them.")
_SLUG = re.compile(r"[a-z][a-z0-9-]{0,38}")
_COLUMNS = ("slug", "name", "plan", "catalog_version", "created_at", "id")


@app.command()
def create(
    slug: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens; final.")],
    name: Annotated[str | None, typer.Option(help="Name for people; default: the slug.")] = None,
    plan: Annotated[str, typer.Option(help=f"One of {', '.join(PLANS)}.")] = "free",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Make a tenant."""
    with refusals(json), owner(data_dir) as database:
        if plan not in PLANS:
            raise Invalid(f"There is no plan {plan!r}; plans are {', '.join(PLANS)}.")
        if _SLUG.fullmatch(slug) is None:
            raise Invalid(
                f"{slug!r} cannot be a tenant's slug: a lower-case letter, then up to 38 lower-case"
                " letters, digits or hyphens."
            )
        tenant = make_tenant(database, slug, name or slug, plan)
        if tenant is None:
            raise Conflict(f"There is a tenant {slug!r} already.")
        print_rows([tenant], _COLUMNS, as_json=json)


@app.command("list")
def list_tenants(data_dir: DataDir = None, json: AsJson = False) -> None:
    """List all tenants."""
    with refusals(json), owner(data_dir) as database:
        with database.transaction() as tx:
            found = tx.all(all_tenants())
        print_rows(found, _COLUMNS, as_json=json)
