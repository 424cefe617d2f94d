"""The real platform with the flights data, for proofs that take minutes; no test imports it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
from rich.console import Console
from rich.progress import Progress

from hubblewave_pipelines.commands import flights
from hubblewave_pipelines.commands.demo import Platform, define, load


class FlightsStack:
    """A running platform whose airlines, airports and planes are loaded, and its clients."""

    def __init__(self, platform: Platform, client: httpx.Client, files: dict[str, Path]) -> None:
        self.platform = platform
        self.client = client
        self.files = files
        self.flights = flights.LOADS[-1]

    def import_flights(self) -> dict[str, Any]:
        """One whole import, followed to its end."""
        with Progress(console=Console(quiet=True)) as progress:
            return load(self.client, self.flights, self.files["flights.csv"], progress)

    def table(self) -> tuple[str, list[str]]:
        """The physical flights table and its data columns (fields and references)."""
        with psycopg.connect(self.platform.ready["database_url"]) as connection:
            row = connection.execute(
                "select t.schema_name, e.id from hubblewave.entities e "
                "join hubblewave.tenants t on t.id = e.tenant_id where e.name = 'Flight'"
            ).fetchone()
            assert row is not None
            columns = connection.execute(
                "select column_name from information_schema.columns where table_schema = %s "
                "and table_name = %s and column_name ~ '^[cr]_' order by 1",
                (row[0], f"e_{row[1]}"),
            ).fetchall()
        return f"{row[0]}.e_{row[1]}", [name for (name,) in columns]

    def fingerprint(self) -> tuple[int, str]:
        """Rows, and a digest of their data that no order, id or time of writing changes."""
        table, columns = self.table()
        with psycopg.connect(self.platform.ready["database_url"]) as connection:
            row = connection.execute(
                f"select count(*), md5(string_agg(d, '' order by d)) from "
                f"(select md5(row({', '.join(columns)})::text) d from {table}) rows"
            ).fetchone()
            assert row is not None
            return row[0], row[1]

    def empty(self) -> None:
        """Remove every flight."""
        table, _ = self.table()
        with psycopg.connect(self.platform.ready["database_url"]) as connection:
            connection.execute(f"truncate {table}")


@contextmanager
def flights_stack() -> Iterator[FlightsStack]:
    """Start on a fresh directory and free ports; stop and remove everything afterwards."""
    os.environ["HUBBLEWAVE_RATE_LIMITS"] = '{"enterprise": 10000000}'  # noqa: TID251 - for `up`
    with tempfile.TemporaryDirectory(prefix="hw-proof-") as directory:
        platform = Platform(Path(directory), api_port=0, dagster_port=0)
        try:
            platform.wait()
            url, headers = platform.ready["api_url"], {"X-API-Key": platform.key()}
            with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                define(client, Console(quiet=True))
                files = flights.unpack(Path(directory))
                with Progress(console=Console(quiet=True)) as progress:
                    for item in flights.LOADS[:-1]:
                        load(client, item, files[item.file], progress)
                yield FlightsStack(platform, client, files)
        finally:
            platform.stop()
