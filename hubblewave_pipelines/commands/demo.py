"""`hubblewave demo`: the main job on real data, in front of the user."""

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from hubblewave_pipelines.commands import flights, salesforce_demo
from hubblewave_pipelines.commands.client import ask, download, follow
from hubblewave_pipelines.commands.salesforce_demo import Beside
from hubblewave_pipelines.core.errors import ExportFailed, ImportFailed, Misconfigured, Unavailable
from hubblewave_pipelines.settings import Settings

_READY_SECONDS = 180
_POLL_SECONDS = 0.25
_SHOWN_LINES = 6


class Platform:
    """`hubblewave up` as a child process, and a client of its API."""

    def __init__(
        self,
        data_dir: Path,
        *,
        api_port: int,
        dagster_port: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data_dir = data_dir
        self.ready_file = data_dir / "demo-ready.json"
        self.ready_file.unlink(missing_ok=True)
        self.log = data_dir / "demo-up.log"
        self.key_file = data_dir / "demo-key"
        self.ready: dict[str, Any] = {}
        command = [sys.executable, "-m", "hubblewave_pipelines", "up", "--data-dir", str(data_dir)]
        command += ["--api-port", str(api_port), "--dagster-port", str(dagster_port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command line
                [*command, "--ready-file", str(self.ready_file)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches us first; `stop` then ends it in order
            )

    def wait(self) -> None:
        """Until everything answers. Raises Unavailable with the end of the log."""
        deadline = time.monotonic() + _READY_SECONDS
        while not self.ready_file.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise Unavailable(f"The platform did not start. The end of {self.log}:\n{tail}")
            time.sleep(_POLL_SECONDS)
        self.ready = json.loads(self.ready_file.read_text())

    def key(self) -> str:
        """The first start's admin key, kept for later demos on the same directory."""
        if self.ready["api_key"] is not None:
            self.key_file.touch(mode=0o600)
            self.key_file.write_text(self.ready["api_key"])
        if not self.key_file.exists():
            raise Misconfigured(f"{self.key_file} is gone; remove {self.data_dir} and start again.")
        return self.key_file.read_text()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


def _refused(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url} -> {response.text}"


def define(client: httpx.Client, console: Console) -> None:
    """Create what is missing of the four entities and their relations."""
    for definition in flights.ENTITIES:
        if client.get(f"/api/v1/entities/{definition['name']}").status_code == 200:
            console.print(f"  {definition['name']} is there already")
            continue
        response = client.post("/api/v1/entities", json=definition)
        if response.status_code != 201:
            raise ImportFailed(_refused(response))
        console.print(f"  {definition['name']}: {len(definition['fields'])} fields")
    airline = client.get("/api/v1/entities/Airline").json()
    relations = airline.get("relationships") or []
    if not any(relation["name"] == "flights" for relation in relations):
        airline["relationships"] = [*relations, flights.AIRLINE_FLIGHTS]
        response = client.put("/api/v1/entities/Airline", json=airline)
        if response.status_code != 200:
            raise ImportFailed(_refused(response))
        console.print("  Airline.flights: the other side of Flight.airline")


def load(
    client: httpx.Client, item: flights.Load, path: Path, progress: Progress
) -> dict[str, Any]:
    """Upload one file and follow its run to the end. Returns the finished import."""
    task = progress.add_task(f"{item.file} -> {item.entity}", total=100)
    with path.open("rb") as content:
        response = client.post(
            "/api/v1/imports",
            files={"file": (item.file, content, "text/csv")},
            data={
                "entity": item.entity,
                "mapping": json.dumps(item.mapping),
                "options": json.dumps(item.options()),
            },
            timeout=120,
        )
    if response.status_code != 202:
        raise ImportFailed(_refused(response))
    job: dict[str, Any] = response.json()
    while job["status"] in ("pending", "processing"):
        time.sleep(_POLL_SECONDS)
        job = client.get(f"/api/v1/imports/{job['id']}").json()
        progress.update(task, completed=job["progress"])
    if job["status"] != "completed":
        raise ImportFailed(f"{item.file}: {job['status']}: {json.dumps(job)}")
    progress.update(task, completed=100)
    return job


def export(client: httpx.Client, data_dir: Path, console: Console) -> None:
    """A filtered file of flights, with a column of another entity; shows its first lines."""
    target = data_dir / flights.EXPORT_FILE
    job = ask(client, "POST", "/api/v1/exports", json=flights.EXPORT)
    path = f"/api/v1/exports/{job['id']}"
    job = follow(client, path, f"Flight -> {target.name}", quiet=False)
    if job["status"] != "completed":
        raise ExportFailed(json.dumps(job["error"]))
    download(client, f"{path}/download", target)
    console.print(
        f"\nExported {job['totalRecords']:,} flights from JFK that left an hour late or more, "
        f"{job['fileSize']:,} bytes: {target}\n",
        highlight=False,
        soft_wrap=True,
    )
    with target.open() as file:
        for line in itertools.islice(file, _SHOWN_LINES):
            console.print(f"  {line.rstrip()}", markup=False, highlight=False, soft_wrap=True)


def verify(client: httpx.Client, files: dict[str, Path]) -> tuple[Table, bool]:
    """What the API answers beside what the files hold, and whether all of it agrees."""
    table = Table("", "in the files", "in the API", "", title="Counted twice")
    agreed = True
    for fact in flights.facts(files):
        parameters = {"pageSize": "1", "count": "exact", **fact.parameters}
        response = client.get(f"/api/v1/{fact.path}", params=parameters)
        if response.status_code != 200:
            raise ImportFailed(_refused(response))
        found = response.json()["pageInfo"]["totalItems"]
        same = found == fact.expected
        agreed = agreed and same
        table.add_row(fact.label, f"{fact.expected:,}", f"{found:,}", "ok" if same else "DIFFERS")
    return table, agreed


def _farewell(ready: dict[str, Any], key: str, sandbox: str) -> str:
    api = ready["api_url"]
    header = f"-H 'X-API-Key: {key}'"
    newest = "sort=-timeHour&pageSize=2&fields=carrier,number,origin,dest,timeHour"
    return "\n".join(
        [
            "",
            "Open",
            f"  Dagster   {ready['dagster_url']}/asset-groups",
            f"  API       {api}/api/v1/flights   (key below)",
            f"  database  {ready['database_url']}",
            f"  Salesforce sandbox  {sandbox}/__sandbox",
            "",
            f"API key  {key}",
            "",
            "Try",
            f"  curl -sg {header} '{api}/api/v1/flights?{newest}'",
            f"  curl -sg {header} '{api}/api/v1/flights?filter[origin]=JFK&pageSize=1&count=exact'",
            f"  curl -sg {header} '{api}/api/v1/entities/Flight'",
            "",
        ]
    )


def _import_all(
    client: httpx.Client, files: dict[str, Path], console: Console
) -> list[dict[str, Any]]:
    columns = (
        TextColumn("  {task.description:<26}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        return [load(client, item, files[item.file], progress) for item in flights.LOADS]


def run(settings: Settings, *, stay: bool, console: Console) -> bool:
    """Start the platform and a Salesforce sandbox, do the job, say what to open; True when every count agreed.

    With `stay` it then runs until Ctrl-C or SIGTERM; without, it stops at once.
    """
    console.print(
        "[bold]HubbleWave pipelines[/bold]: four files and a Salesforce in, one governed copy out\n"
    )
    data_dir = settings.data_dir
    sandbox: Beside | None = None
    platform: Platform | None = None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sandbox = Beside()
        allowed = {"egress_allow": sandbox.allowed(settings.egress_allow)}
        platform = Platform(
            data_dir,
            api_port=settings.api_port,
            dagster_port=settings.dagster_port,
            environment=settings.model_copy(update=allowed).child_environment(),
        )
        started = time.monotonic()
        with console.status("Starting PostgreSQL, the API and Dagster..."):
            platform.wait()
        console.print(f"Ready after {time.monotonic() - started:.1f} s. Defining entities:")
        key = platform.key()
        headers = {"X-API-Key": key}
        with httpx.Client(
            base_url=platform.ready["api_url"], headers=headers, timeout=30
        ) as client:
            define(client, console)
            files = flights.unpack(data_dir)
            console.print("\nImporting, each file by a Dagster run of its own:")
            jobs = _import_all(client, files, console)
            for item, job in zip(flights.LOADS, jobs, strict=True):
                console.print(
                    f"  {item.file:<13} {job['totalRecords']:>7,} rows: {job['createdRecords']:,} "
                    f"created, {job['updatedRecords']:,} updated, {job['unchangedRecords']:,} "
                    f"unchanged, {job['failedRecords']:,} refused   {job['runUrl']}",
                    soft_wrap=True,
                )
            table, agreed = verify(client, files)
            console.print()
            console.print(table)
            console.print("\nSyncing accounts and contacts from a Salesforce sandbox:")
            agreed = salesforce_demo.show(client, sandbox, console) and agreed
            export(client, data_dir, console)
        console.print(
            _farewell(platform.ready, key, sandbox.url),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if stay:
            console.print("Running until Ctrl-C.")
            platform.process.wait()
        return agreed
    except KeyboardInterrupt:
        console.print("\nStopping.")
        return True
    finally:
        for child in (platform, sandbox):
            if child is not None:
                child.stop()
