"""`hubblewave deadletters`: list deliveries that were given up, send them again, or settle them."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from hubblewave_pipelines.commands.answer import (
    AsJson,
    DataDir,
    print_json,
    print_rows,
    refusals,
)
from hubblewave_pipelines.commands.client import Key, TenantSlug, Url, api_client, ask

app = typer.Typer(
    no_args_is_help=True, help="Webhook deliveries that were given up: list, redrive, resolve."
)
_PATH = "/api/v1/webhooks/dead-letters"
_COLUMNS = ("id", "webhook", "event", "reason", "error", "attempts", "failed_at")

Webhook = Annotated[str | None, typer.Option(help="Only of the webhook with this id.")]
Event = Annotated[str | None, typer.Option(help="Only of this type: contact.created.")]
Reason = Annotated[
    str | None,
    typer.Option(help="Only with it: exhausted, transform_failed, ordering_escape, ..."),
]
Since = Annotated[str | None, typer.Option(help="Failed at this ISO 8601 time or later.")]
Until = Annotated[str | None, typer.Option(help="Failed before this ISO 8601 time.")]
Ids = Annotated[list[UUID], typer.Argument(help="Ids, as `deadletters list` shows them.")]


@dataclass(frozen=True)
class _Line:
    """A letter as the table shows it."""

    id: str
    webhook: str
    event: str
    reason: str
    error: str
    attempts: int
    failed_at: str


def _line(letter: dict[str, Any]) -> _Line:
    error = " ".join(str(letter[name]) for name in ("errorClass", "statusCode") if letter[name])
    return _Line(
        letter["id"],
        letter["webhookName"],
        letter["event"],
        letter["reason"],
        error,
        letter["attempts"],
        letter["failedAt"],
    )


def _filter(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


@app.command("list")
def list_letters(
    state: Annotated[str, typer.Option(help="open, resolved or all.")] = "open",
    webhook: Webhook = None,
    event: Event = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 100,
    url: Url = None,
    api_key: Key = None,
    tenant: TenantSlug = "default",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """List dead letters, newest first."""
    chosen = _filter(
        state=state, webhookId=webhook, event=event, reason=reason, since=since, until=until
    )
    with refusals(json), api_client(data_dir, url, api_key, tenant) as client:
        page = ask(client, "GET", _PATH, params={**chosen, "pageSize": limit})
        letters, total = page["items"], page["pageInfo"]["totalItems"]
        if json:
            print_json(letters)
            return
        print_rows([_line(letter) for letter in letters], _COLUMNS, as_json=False)
        if total > len(letters):
            Console(stderr=True).print(f"{total - len(letters):,} more.", highlight=False)


@app.command()
def redrive(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids; without any, all that the options choose.")
    ] = None,
    webhook: Webhook = None,
    event: Event = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    url: Url = None,
    api_key: Key = None,
    tenant: TenantSlug = "default",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Send open dead letters again, up to 10,000; they count as settled."""
    chosen = _filter(
        ids=ids or None, webhookId=webhook, event=event, reason=reason, since=since, until=until
    )
    with refusals(json), api_client(data_dir, url, api_key, tenant) as client:
        body = {"filter": chosen, "dryRun": dry_run}
        done = ask(client, "POST", f"{_PATH}/redrive", json=body)
        if json:
            print_json(done)
        elif dry_run:
            Console().print(f"{done['matching']:,} would be sent again.", highlight=False)
        else:
            left = f"; {done['remaining']:,} remain" if done["remaining"] else ""
            Console().print(f"{done['redriven']:,} are sent again{left}.", highlight=False)


@app.command()
def resolve(
    ids: Ids,
    url: Url = None,
    api_key: Key = None,
    tenant: TenantSlug = "default",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Settle dead letters without sending them. Doing it twice changes nothing."""
    with refusals(json), api_client(data_dir, url, api_key, tenant) as client:
        settled = [ask(client, "POST", f"{_PATH}/{letter}/resolve") for letter in ids]
        if json:
            print_json(settled)
        else:
            Console().print(f"{len(settled):,} settled.", highlight=False)
