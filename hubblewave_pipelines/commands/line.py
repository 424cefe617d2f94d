"""The command line as a whole: `hubblewave COMMAND`."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr
from rich.console import Console

from hubblewave_pipelines import __version__
from hubblewave_pipelines.commands import (
    check,
    deadletters,
    keys,
    sandbox,
    sync,
    tenants,
    transfers,
)
from hubblewave_pipelines.commands.answer import (
    AsJson,
    DataDir,
    print_json,
    print_rows,
    refusals,
    settings_with,
)
from hubblewave_pipelines.core.log import configure_log
from hubblewave_pipelines.supervisor import first_start
from hubblewave_pipelines.supervisor.state import Ready, database_url, stored_at
from hubblewave_pipelines.supervisor.up import run as run_platform
from hubblewave_pipelines.sync.installing import install

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Governed copies of business records, kept in step by Dagster pipelines.",
)
app.add_typer(tenants.app, name="tenants")
app.add_typer(keys.app, name="keys")
app.add_typer(deadletters.app, name="deadletters")
app.command("export")(transfers.export)
app.command("import")(transfers.import_file)
app.command("watch")(transfers.watch)
app.command("sync")(sync.sync)
app.command("sandbox")(sandbox.sandbox)

ApiPort = Annotated[
    int | None, typer.Option(help="0 picks a free one [HUBBLEWAVE_API_PORT, default 8080].")
]
DagsterPort = Annotated[
    int | None, typer.Option(help="0 picks a free one [HUBBLEWAVE_DAGSTER_PORT, default 3000].")
]


@app.command()
def up(
    data_dir: DataDir = None,
    api_port: ApiPort = None,
    dagster_port: DagsterPort = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written as JSON once everything answers.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Run the platform on this machine until Ctrl-C."""
    with refusals(json):
        settings = settings_with(data_dir=data_dir, api_port=api_port, dagster_port=dagster_port)
        run_platform(settings, ready_file=ready_file, announce=print_json if json else _announce)


@app.command()
def worker(data_dir: DataDir = None, json: AsJson = False) -> None:
    """Send webhook deliveries until SIGTERM (a child of `up`; start more on other machines)."""
    from hubblewave_pipelines.delivery import process  # imports much, used by workers only

    with refusals(json):
        settings = settings_with(data_dir=data_dir)
        configure_log(settings.log_level)
        found = settings.model_copy(update={"database_url": SecretStr(database_url(settings))})
        process.run(found, said=lambda text: Console().print(text, highlight=False))


@app.command()
def migrate(data_dir: DataDir = None, json: AsJson = False) -> None:
    """Bring the platform's and Dagster's tables to this version (`up` does it by itself)."""
    with refusals(json):
        settings = settings_with(data_dir=data_dir)
        url = database_url(settings)
        revision = install(url)
        dagster = first_start.migrate_dagster(settings.model_copy(update=stored_at(settings)))
        if json:
            print_json({"revision": revision, "dagster": dagster})
        else:
            Console().print(f"Revision {revision}; {dagster}.", highlight=False)


@app.command("check")
def check_all(data_dir: DataDir = None, json: AsJson = False) -> None:
    """Check settings, database, roles, Dagster's storage and directories; exit code 1 if wrong."""
    with refusals(json):
        found = check.findings(settings_with(data_dir=data_dir))
        print_rows(found, ("what", "state", "detail"), as_json=json)
        if any(finding.state == "wrong" for finding in found):
            raise typer.Exit(1)


@app.command()
def version(json: AsJson = False) -> None:
    """Say which version this is."""
    if json:
        print_json({"version": __version__})
    else:
        Console().print(__version__, highlight=False)


@app.command()
def demo(
    data_dir: DataDir = None,
    api_port: ApiPort = None,
    dagster_port: DagsterPort = None,
    stay: Annotated[
        bool, typer.Option(help="Run on until Ctrl-C once the counts are verified.")
    ] = True,
    json: AsJson = False,
) -> None:
    """The main job: import 336,776 flights, sync from a Salesforce sandbox, verify the counts."""
    from hubblewave_pipelines.commands import demo as demonstration  # imports much, used seldom

    with refusals(json):
        settings = settings_with(data_dir=data_dir, api_port=api_port, dagster_port=dagster_port)
        agreed = demonstration.run(settings, stay=stay, console=Console(stderr=json))
        if json:
            print_json({"agreed": agreed})
        if not agreed:
            raise typer.Exit(1)


@app.command(hidden=True)
def reference(
    folder: Annotated[Path, typer.Argument(help="Where the pages go.")] = Path("docs/reference"),
    json: AsJson = False,
) -> None:
    """Write the reference pages that are made from code (for developers of the platform)."""
    from hubblewave_pipelines.commands import reference as pages

    changed = pages.write(folder)
    if json:
        print_json({"changed": changed})
    else:
        Console().print(f"{len(changed)} pages changed in {folder}.", highlight=False)


def _announce(ready: Ready) -> None:
    lines = [
        "",
        "[bold]The platform is ready.[/bold]",
        f"  API       {ready.api_url}/api/v1",
        f"  Dagster   {ready.dagster_url}",
        f"  database  {ready.database_url}",
    ]
    if ready.api_key is not None:
        lines += [f"  API key   {ready.api_key}", "            (shown this once; keep it)"]
    lines += ["Ctrl-C stops it.", ""]
    Console().print("\n".join(lines), highlight=False, soft_wrap=True)
