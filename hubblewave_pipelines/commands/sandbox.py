"""`hubblewave sandbox VENDOR`: a stand-in of a vendor on this machine, to rehearse against."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console

from hubblewave_pipelines.commands.answer import AsJson, print_json, refusals
from hubblewave_pipelines.core.errors import Misconfigured
from hubblewave_pipelines.sandboxes import serving
from hubblewave_pipelines.sandboxes.app import Sandbox
from hubblewave_pipelines.sandboxes.clock import Clock
from hubblewave_pipelines.sandboxes.control import instant
from hubblewave_pipelines.sandboxes.faults import Fault
from hubblewave_pipelines.sandboxes.registry import VENDORS, build
from hubblewave_pipelines.sandboxes.vendor import Options, Outage


def sandbox(
    vendor: Annotated[str, typer.Argument(help=f"One of {', '.join(sorted(VENDORS))}.")],
    records: Annotated[int, typer.Option(min=0, help="How many records it starts with.")] = 1_000,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 picks a free one.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data.")] = 1,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="KIND:RATE, KIND:RATE:SECONDS or KIND@NUMBER; may be repeated."),
    ] = None,
    outage: Annotated[
        list[str] | None,
        typer.Option(help="FROM-TO as 10:00-12:00 (UTC) or +60-+7200 (seconds from now)."),
    ] = None,
    edits_per_second: Annotated[
        float, typer.Option(min=0, help="Changes that it makes by itself.")
    ] = 0.0,
    clock: Annotated[
        str | None, typer.Option(help="Where its clock starts (ISO 8601); without, now.")
    ] = None,
    switch: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, a switch of the vendor's own; may be repeated."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address it listens on.")] = "127.0.0.1",
    json: AsJson = False,
) -> None:
    """Run a stand-in of a vendor, with live data and faults on demand, until Ctrl-C."""
    with refusals(json):
        try:
            start = None if clock is None else instant(clock)
            made = build(
                vendor, _options(records, seed, start, fault, outage, edits_per_second, switch)
            )
            bound = serving.bind(port, host)
        except (ValueError, KeyError) as error:
            raise Misconfigured(str(error.args[0])) from error
        except OSError as error:
            raise Misconfigured(f"{host}:{port} cannot be listened on: {error.strerror}") from error
        _announce(made, serving.url_of(bound), json)
        serving.run(made, bound)


def _options(
    records: int,
    seed: int,
    start: datetime | None,
    faults: list[str] | None,
    outages: list[str] | None,
    edits_per_second: float,
    switches: list[str] | None,
) -> Options:
    now = Clock(start).now()
    extra: dict[str, str] = {}
    for switch in switches or ():
        name, equals, value = switch.partition("=")
        if not equals:
            raise ValueError(f"{switch!r} is not NAME=VALUE.")
        extra[name] = value
    return Options(
        records=records,
        seed=seed,
        start=start,
        edits_per_second=edits_per_second,
        faults=tuple(Fault.parse(text) for text in faults or ()),
        outages=tuple(Outage.parse(text, now) for text in outages or ()),
        extra=extra,
    )


def _announce(made: Sandbox, url: str, as_json: bool) -> None:
    """Where it is, and the connector that reaches it. Its credentials are worth nothing elsewhere."""
    connector = made.vendor.connector(url)
    tables = {name: len(table.rows) for name, table in made.stage.tables.items()}
    if as_json:
        print_json({"vendor": made.vendor.name, "url": url, "tables": tables, **connector})
        return
    console = Console()
    console.print(f"[bold]{made.vendor.name}[/bold] at {url}", highlight=False)
    for name, rows in tables.items():
        console.print(f"  {name:<28} {rows:>9,} records", highlight=False)
    console.print("\nA connector of it (POST /api/v1/connectors):", highlight=False)
    console.print_json(data={"name": f"{made.vendor.name} sandbox", **connector})
    console.print(
        f"\nSteer it: {url}/__sandbox (faults, clock, creates, edits, deletes, outage, reset)\n"
        "Ctrl-C stops it.",
        highlight=False,
    )
