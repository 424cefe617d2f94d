"""Every format of the same rows: read alone, and imported against `\\copy` of the CSV file.

Each file is read to its end in chunks as an import reads it, without the database: rows per second,
and peak memory of the reading process. Then it is imported into the fresh entity, with a unique field and
duplicate detection, against psql's `\\copy` of as many rows into a twin of the table. Prints a table and a
JSON line; run it with `python -m tests.bench.bench_formats [--rows N]`.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path

from hubblewave_pipelines.core.import_options import parse_options
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.transfer.apart import Limits, inspect
from hubblewave_pipelines.transfer.opening import open_reader
from tests.bench.bench_import import Bench, physical_truncate, server
from tests.transfer import files

XLS_ROWS = 65_535


def rows_of(count: int) -> list[dict[str, object]]:
    return [
        {
            "code": f"K{n:09d}",
            "name": f"Name number {n}",
            "email": f"user{n}@example.com",
            "city": f"City {n % 977}",
            "quantity": n % 100_000,
            "price": Decimal(n * 7919 % 10**7) / 100,
            "weight": n * 7919 % 10**6 / 64,
            "active": bool(n % 2),
            "day": date(2000 + n % 25, 1 + n % 12, 1 + n % 28),
            "seen": datetime(2020 + n % 5, 1, 1 + n % 28, n % 24, n % 60, n % 60, tzinfo=UTC),
            "status": ("new", "open", "closed", "void")[n % 4],
            "note": f"some longer note text about row {n}",
        }
        for n in range(count)
    ]


def read(path: Path, answer: Connection) -> None:
    limits = Limits(memory=4 << 30)
    began = time.perf_counter()
    source = inspect(path, path.name, parse_options({}, Reading()), limits)
    looked = time.perf_counter() - began
    began = time.perf_counter()
    reader = open_reader(path, source, limits, columns=source.columns)
    rows = sum(chunk.rows for chunk in reader.chunks(chunk_rows=50_000))
    seconds = time.perf_counter() - began
    peaks = [
        resource.getrusage(who).ru_maxrss // 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    answer.send((rows, looked, seconds, *peaks))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    count = parser.parse_args().rows
    found = []
    print(f"{'format':8} {'rows':>9} {'MB':>6} {'look s':>7} {'read s':>7} {'rows/s':>9} {'peak MB':>8} {'reader MB':>9} {'import s':>8} {'x copy':>6}")  # fmt: skip
    with tempfile.TemporaryDirectory() as directory, server(None, Path(directory)) as url:
        bench = Bench(url, Path(directory))
        plain = Path(directory) / "floor.csv"
        plain.write_bytes(files.FORMATS["csv"](rows_of(count)))
        floor = bench.copy(plain) / count  # seconds per row
        for kind, write in files.FORMATS.items():
            given = rows_of(min(count, XLS_ROWS) if kind == "xls" else count)
            path = Path(directory) / f"rows.{kind}"
            path.write_bytes(write(given))
            context = multiprocessing.get_context("spawn")
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=read, args=(path, sender))
            process.start()
            rows, looked, seconds, own, other = receiver.recv()
            process.join()
            size = path.stat().st_size / 1e6
            assert rows == len(given)
            with bench.owner.transaction() as tx:
                tx.run(physical_truncate(bench.entity.table, bench.entity.schema))
            imported, _ = bench.load(path)
            ratio = imported / rows / floor
            print(f"{kind:8} {rows:9} {size:6.1f} {looked:7.2f} {seconds:7.2f} {rows / seconds:9.0f} {own:8} {other:9} {imported:8.2f} {ratio:6.1f}")  # fmt: skip
            found.append({"format": kind, "rows": rows, "mb": round(size, 1), "look_seconds": round(looked, 2), "read_seconds": round(seconds, 2), "peak_mb": own, "reader_mb": other, "import_seconds": round(imported, 2), "copy_ratio": round(ratio, 2)})  # fmt: skip
        bench.owner.close()
    print(json.dumps({"bench": "formats", "results": found}))


if __name__ == "__main__":
    main()
