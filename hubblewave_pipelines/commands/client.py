"""The API of a running platform as commands use it: where it is, with which key, what it answers."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from hubblewave_pipelines.commands.answer import ApiRefusal, owner, settings_with
from hubblewave_pipelines.core.errors import NotFound, Unavailable
from hubblewave_pipelines.core.identity import ApiKey, new_api_key
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.supervisor.state import running

Url = Annotated[
    str | None, typer.Option(help="Where the API answers; default: the platform of --data-dir.")
]
Key = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help="[HUBBLEWAVE_API_KEY]; default: one for this command alone, from the platform's database.",
    ),
]
TenantSlug = Annotated[str, typer.Option("--tenant", help="Whose, when no key says it.")]
OPEN = ("pending", "processing")
_POLL_SECONDS = 0.25


@contextmanager
def api_client(
    data_dir: Path | None, url: str | None, api_key: str | None, tenant: str
) -> Iterator[httpx.Client]:
    """A client of the API. Without a key it carries a new one of `tenant`, revoked at the end.

    Raises Unavailable when no platform runs, NotFound when there is no such tenant.
    """
    settings = settings_with(data_dir=data_dir)
    state = None if url else running(settings.data_dir)
    if url is None and state is None:
        raise Unavailable(
            f"No platform is running on {settings.data_dir.absolute()}: start it with `hubblewave up`,"
            " or name it with --data-dir or with --url and --api-key."
        )
    base = url or (state.api_url if state else "")
    given = api_key or (settings.api_key.get_secret_value() if settings.api_key else None)
    if given is not None:
        with httpx.Client(base_url=base, headers={"X-API-Key": given}, timeout=60) as client:
            yield client
        return
    with (
        _own_key(data_dir, tenant) as key,
        httpx.Client(base_url=base, headers={"X-API-Key": key.text}, timeout=60) as client,
    ):
        yield client


@contextmanager
def _own_key(data_dir: Path | None, slug: str) -> Iterator[ApiKey]:
    """Whoever may open the platform's database may do what a key may."""
    key = new_api_key()
    with owner(data_dir) as database:
        with database.transaction() as tx:
            tenant = tx.one(tenants.tenant_by_slug(slug))
            if tenant is None:
                raise NotFound(f"There is no tenant {slug!r}; see `hubblewave tenants list`.")
            tx.run(
                tenants.insert_key(
                    tenant.id,
                    key,
                    name="command line",
                    scopes=["admin"],
                    plan="enterprise",
                    expires_at=datetime.now(UTC) + timedelta(days=1),
                    created_by=None,
                )
            )
        try:
            yield key
        finally:
            with database.transaction() as tx:
                tx.run(tenants.revoke_key(tenant.id, key.id))


def ask(client: httpx.Client, method: str, path: str, **request: Any) -> dict[str, Any]:
    """The JSON of a good answer. Raises ApiRefusal for any other, Unavailable without one."""
    try:
        response = client.request(method, path, **request)
    except httpx.TransportError as error:
        raise Unavailable(f"{client.base_url} does not answer: {error}.") from error
    return answered(response)


def answered(response: httpx.Response) -> dict[str, Any]:
    """Raises ApiRefusal with what the problem document says, its faults included."""
    try:
        found = response.json()
    except ValueError:
        found = {"code": f"http.{response.status_code}", "detail": response.text[:500]}
    if response.is_success and isinstance(found, dict):
        return found
    faults = "".join(
        f"\n  {fault.get('pointer', fault.get('parameter', ''))}: {fault.get('detail')}"
        for fault in found.get("errors", ())
    )
    raise ApiRefusal(str(found.get("code")), f"{found.get('detail')}{faults}")


def follow(client: httpx.Client, path: str, title: str, *, quiet: bool) -> dict[str, Any]:
    """Wait for a job to end, with a bar on a terminal; the job as it ended."""
    with bars(quiet=quiet) as progress:
        task = progress.add_task(title, total=100)
        while True:
            job = ask(client, "GET", path)
            progress.update(task, completed=job["progress"])
            if job["status"] not in OPEN:
                return job
            time.sleep(_POLL_SECONDS)


def bars(*, quiet: bool) -> Progress:
    """Progress on standard error; nothing when that is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
    )


def download(client: httpx.Client, path: str, target: Path) -> None:
    """Fetch a file to `target`, which appears whole or not at all."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with client.stream("GET", path) as response, unfinished.open("wb") as file:
            if not response.is_success:
                response.read()
                answered(response)
            for piece in response.iter_bytes(1 << 20):
                file.write(piece)
        unfinished.replace(target)
    except httpx.TransportError as error:
        raise Unavailable(f"The download broke off: {error}.") from error
    finally:
        unfinished.unlink(missing_ok=True)


def as_document(text: str | None, name: str) -> Any:
    """A JSON object given on the command line. Raises ApiRefusal when it is none."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ApiRefusal("request.malformed", f"{name} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ApiRefusal("request.malformed", f"{name} must be a JSON object.")
    return value
