"""`hubblewave sync`: run a sync job on the running platform and follow it."""

import sys
import time
from typing import Annotated, Any
from uuid import UUID

import httpx
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hubblewave_pipelines.commands.answer import ApiRefusal, AsJson, DataDir, print_json, refusals
from hubblewave_pipelines.commands.client import Key, TenantSlug, Url, api_client, ask

_OPEN = ("pending", "running")
_PARTIAL = 3  # exit code: some records were set aside, or deletes held back
_POLL_SECONDS = 0.5
_JOBS = "/api/v1/sync-jobs"


def sync(
    job: Annotated[str, typer.Argument(help="Name or id of the sync job.")],
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Begin of a window, 2026-01-01T00:00:00Z; with --to."),
    ] = None,
    to: Annotated[str | None, typer.Option(help="End of the window; the mark stays.")] = None,
    allow_deletes: Annotated[
        bool, typer.Option("--allow-deletes", help="Delete more at once than the job's brake lets.")
    ] = False,
    url: Url = None,
    api_key: Key = None,
    tenant: TenantSlug = "default",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Sync what is new, or one window again. Exit code 3 when something was left out."""
    with refusals(json), api_client(data_dir, url, api_key, tenant) as client:
        found = _job(client, job)
        body = {"from": from_, "to": to, "allowDeletes": allow_deletes or None}
        path = f"{_JOBS}/{found['id']}"
        asked = {name: value for name, value in body.items() if value is not None}
        run = ask(client, "POST", f"{path}/run", json=asked)
        run = _follow(client, f"{path}/runs/{run['id']}", found["name"], quiet=json)
        if json:
            print_json(run)
        else:
            sys.stdout.write(_told(run))
        if run["status"] in ("failed", "cancelled"):
            raise typer.Exit(1)
        if run["status"] == "partial":
            raise typer.Exit(_PARTIAL)


def _job(client: httpx.Client, named: str) -> dict[str, Any]:
    """Raises ApiRefusal when no job has that id or name."""
    try:
        return ask(client, "GET", f"{_JOBS}/{UUID(named)}")
    except ValueError:
        pass
    page, names = 1, list[str]()
    while True:
        listed = ask(client, "GET", _JOBS, params={"page": page, "pageSize": 200})
        for found in listed["items"]:
            if found["name"].casefold() == named.casefold():
                return dict(found)
            names.append(found["name"])
        if not listed["pageInfo"]["hasNextPage"]:
            break
        page += 1
    known = f"; there are {', '.join(names[:10])}" if names else "; there is none yet"
    raise ApiRefusal("resource.not_found", f'There is no sync job "{named}"{known}.')


def _follow(client: httpx.Client, path: str, title: str, *, quiet: bool) -> dict[str, Any]:
    """Wait for the run to end; how many records there will be, nobody knows before."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
    )
    with progress:
        task = progress.add_task(title, total=None, done="waits for its run")
        while True:
            run = ask(client, "GET", path)
            if run["status"] != "pending":
                done = f"{run['processed']:,} records, {run['requests']:,} requests"
                progress.update(task, done=done)
            if run["status"] not in _OPEN:
                return run
            time.sleep(_POLL_SECONDS)


def _told(run: dict[str, Any]) -> str:
    words = ("created", "updated", "unchanged", "deleted")
    counts = ", ".join(f"{run[word]:,} {word}" for word in words)
    lines = [
        f"{run['status']}: {counts}, {run['failed']:,} set aside;"
        f" {run['requests']:,} requests (at least {run['minRequests']:,})  {run['runUrl'] or ''}"
    ]
    if run["error"]:
        lines.append(str(run["error"].get("detail", "")))
    lines += [f"{note['code']}: {note['detail']}" for note in run["notes"]]
    if run["failed"]:
        lines.append(
            f"What was set aside, with its reasons: GET /api/v1/dead-letters?syncJobId={run['syncJobId']}"
        )
    return "\n".join(line.rstrip() for line in lines) + "\n"
