"""Exports in every format against `\\copy to`, and XLSX against XlsxWriter writing the same cells.

One PostgreSQL, one run: psql's `\\copy` of the entity's columns to a CSV file before and after our
own code path (`run_export`) in a process of its own per format, whose peak memory is reported. XLSX
is written from fewer rows, beside XlsxWriter in constant memory with the same typed cells from
memory. Prints a table and a JSON line; run it with
`python -m tests.bench.bench_export [--rows N ...] [--sheet-rows N] [--url URL]`.
"""

import argparse
import csv
import json
import multiprocessing
import resource
import tempfile
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xlsxwriter

from hubblewave_pipelines.core.export_request import parse_export
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import exports, physical
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.exports import NewExport
from hubblewave_pipelines.transfer.exports import run_export
from tests.bench.bench_import import COLUMNS, Bench, physical_truncate, server, write_file

TARGETS = {"csv": 1.5, "csv raw": 1.5, "ndjson": 3.0, "json": 3.0, "xml": 3.0, "parquet": 3.0}
XLSX_TARGET, MEMORY_GROWTH = 1.2, 1.2


@dataclass
class Result:
    format: str
    rows: int
    seconds: float
    floor_seconds: float
    ratio: float
    peak_mb: int
    megabytes: float


def _ask(bench: Bench, format: str, limit: int | None, options: dict[str, Any]) -> uuid.UUID:
    with bench.owner.transaction() as tx:
        catalog = load_catalog(tx, bench.tenant.id)
        body = {"entity": "Item", "fields": COLUMNS, "format": format, "options": options}
        wanted = parse_export(body | ({"limit": limit} if limit else {}), catalog=catalog)
        job = tx.one(
            exports.insert_job(
                NewExport(
                    tenant_id=bench.tenant.id,
                    entity_id=bench.entity.id,
                    entity_name="Item",
                    query=wanted.question,
                    format=format,
                    options=wanted.options.as_json(),
                    destination=None,
                    created_by=uuid.uuid4(),
                )
            )
        )
    assert job is not None
    return job.id


def _child(url: str, tenant_id: uuid.UUID, job: uuid.UUID, folder: str, send: Any) -> None:
    database = Database(url, Role.WORKER)
    with database.transaction(tenant_id) as tx:
        load_catalog(tx, tenant_id)
    settings = Settings.model_validate({"data_dir": folder})
    started = time.perf_counter()
    outcome = run_export(
        database,
        settings,
        tenant_id,
        job,
        run_id="bench",
        still_held=lambda: None,
        progress=lambda _: None,
    )
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    Path(outcome.path).unlink()
    send.send((seconds, peak, outcome.rows, outcome.size))
    database.close()


def export(
    bench: Bench, format: str, limit: int | None = None, **options: Any
) -> tuple[float, int, int, int]:
    """Seconds, peak megabytes, rows and bytes of one export in a process of its own."""
    job = _ask(bench, format, limit, options)
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    arguments = (bench.url, bench.tenant.id, job, str(bench.directory), send)
    child = context.Process(target=_child, args=arguments)
    child.start()
    found: tuple[float, int, int, int] = receive.recv()
    child.join()
    return found


def copy_out(bench: Bench, path: Path) -> float:
    columns = ", ".join(bench.entity.columns[name] for name in COLUMNS)
    table = physical.qualified(bench.entity)
    seconds = bench.psql(f"\\copy {table} ({columns}) to '{path}' with (format csv, header)")
    path.unlink()
    return seconds


def fill(bench: Bench, rows: int) -> None:
    path = bench.directory / "rows.csv"
    write_file(path, rows)
    columns = ", ".join(bench.entity.columns[name] for name in COLUMNS)
    table = physical.qualified(bench.entity)
    with bench.owner.transaction() as tx:
        tx.run(physical_truncate(bench.entity.table, bench.entity.schema))
    bench.psql(f"\\copy {table} ({columns}) from '{path}' with (format csv, header)")
    bench.psql(f"analyze {table}")
    path.unlink()


def measure(bench: Bench, rows: int) -> list[Result]:
    fill(bench, rows)
    target = bench.directory / "floor.csv"
    results = []
    for name in TARGETS:
        format, _, word = name.partition(" ")
        before = copy_out(bench, target)
        seconds, peak, found, size = export(bench, format, **({"raw": True} if word else {}))
        assert found == rows
        floor = (before + copy_out(bench, target)) / 2
        results.append(_result(name, rows, seconds, floor, peak, size))
    return results


def _result(name: str, rows: int, seconds: float, floor: float, peak: int, size: int) -> Result:
    return Result(
        name,
        rows,
        round(seconds, 2),
        round(floor, 2),
        round(seconds / floor, 2),
        peak,
        round(size / 1e6, 1),
    )


def sheet(bench: Bench, rows: int) -> Result:
    """XLSX of the first `rows` beside XlsxWriter alone with the cells in memory."""
    seconds, peak, _, size = export(bench, "xlsx", rows)
    path = bench.directory / "floor.csv"
    columns = ", ".join(bench.entity.columns[name] for name in COLUMNS)
    table = physical.qualified(bench.entity)
    bench.psql(f"\\copy (select {columns} from {table} limit {rows}) to '{path}' with (format csv)")
    with path.open() as file:
        read = [_cells(row) for row in csv.reader(file)]
    started = time.perf_counter()
    book = xlsxwriter.Workbook(str(bench.directory / "floor.xlsx"), {"constant_memory": True})
    target = book.add_worksheet()
    for number, cells in enumerate(read):
        for at, cell in enumerate(cells):
            target.write(number, at, cell)
    book.close()
    return _result("xlsx", rows, seconds, time.perf_counter() - started, peak, size)


def _cells(row: list[str]) -> list[object]:
    kinds: dict[str, Any] = {"quantity": int, "price": float, "weight": float}
    kinds["active"] = "t".__eq__
    return [
        None if not cell else kinds.get(name, str)(cell)
        for name, cell in zip(COLUMNS, row, strict=True)
    ]


def flat(results: list[Result]) -> bool:
    """Whether no format needs notably more memory for the most rows than for the fewest."""
    found: dict[str, list[int]] = {}
    for result in results:
        found.setdefault(result.format, []).append(result.peak_mb)
    return all(peaks[-1] <= MEMORY_GROWTH * peaks[0] for peaks in found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--sheet-rows", type=int, nargs="*", default=[50_000, 200_000])
    parser.add_argument("--url", help="an administrator's URL of the server to use")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="hw-bench-") as name,
        server(given.url, Path(name)) as url,
    ):
        bench = Bench(url, Path(name))
        results = [result for rows in given.rows for result in measure(bench, rows)]
        results += [sheet(bench, rows) for rows in given.sheet_rows]
        bench.owner.close()
    line = "{:<8} {:>10} {:>8} {:>8} {:>6} {:>8} {:>8}"
    print(line.format("format", "rows", "seconds", "floor s", "ratio", "peak MB", "MB"))
    for r in results:
        print(
            line.format(
                r.format, f"{r.rows:,}", r.seconds, r.floor_seconds, r.ratio, r.peak_mb, r.megabytes
            )
        )
    print("floor: \\copy to of the same columns; of xlsx, XlsxWriter with the cells in memory")
    print(
        json.dumps(
            {
                "bench": "export",
                "targets": {**TARGETS, "xlsx": XLSX_TARGET},
                "memory_flat": flat(results),
                "results": [asdict(r) for r in results],
            }
        )
    )
    most = max(given.rows)
    fast = all(
        r.ratio <= {**TARGETS, "xlsx": XLSX_TARGET}[r.format]
        for r in results
        if r.rows == most or r.format == "xlsx"
    )
    return 0 if fast and flat(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
