"""Our import against dlt and pandas.to_sql on the same file and server, beside psql's `\\copy`.

The peers are installed into an environment of their own. Each loads the file as its documentation
advises for speed: dlt by its `merge` on the unique field from Arrow batches (its quicker
`append`, which detects no duplicates and checks nothing, is shown too), pandas by chunks with
`method="multi"`. Ours validates, detects duplicates and keeps the refused rows aside. Prints a
table and a JSON line; `python -m tests.bench.bench_import_peers [--rows N]`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from hubblewave_pipelines.supervisor.postgres import PORT
from tests.bench.bench_import import COLUMNS, Bench, physical_truncate, server, write_file

PACKAGES = (
    "dlt[postgres]==1.31.0",
    "pandas==3.1.1",
    "pyarrow==26.0.1",
    "sqlalchemy==2.1.9",
    "psycopg[binary]==3.3.9",
)

_DLT = """
import sys, time
import dlt, pyarrow as pa, pyarrow.csv as csv
path, url, disposition, work = sys.argv[1:]

@dlt.resource(name="item", primary_key="code", write_disposition=disposition)
def item():
    with csv.open_csv(path) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])

pipeline = dlt.pipeline("bench", destination=dlt.destinations.postgres(url), dataset_name="dlt_bench",
                        pipelines_dir=work)
started = time.perf_counter()
pipeline.run(item(), loader_file_format="csv")
print(time.perf_counter() - started)
"""
_PANDAS = """
import sys, time
import pandas as pd, sqlalchemy as sa
path, url = sys.argv[1:]
engine = sa.create_engine(url)
started = time.perf_counter()
with engine.begin() as connection:
    for n, frame in enumerate(pd.read_csv(path, chunksize=20_000)):
        frame.to_sql("pandas_item", connection, if_exists="replace" if n == 0 else "append",
                     index=False, method="multi", chunksize=2_000)
print(time.perf_counter() - started)
"""


def environment(directory: Path) -> Path:
    """A Python with the peers installed."""
    venv.create(directory / "peers", with_pip=True)
    python = directory / "peers" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installed = subprocess.run([*install, *PACKAGES], capture_output=True, text=True, check=False)
    if installed.returncode != 0:
        raise SystemExit(f"the peers cannot be installed:\n{installed.stderr[-2000:]}")
    return python


def timed(python: Path, program: str, *arguments: str) -> float:
    """The seconds that a peer says it took."""
    ran = subprocess.run(
        [str(python), "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "HOME": str(python.parents[1]),
            "PATH": "/usr/bin:/bin",
        },
    )
    if ran.returncode != 0:
        raise SystemExit(f"a peer failed:\n{ran.stderr[-2000:]}")
    return float(ran.stdout.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with (
        tempfile.TemporaryDirectory(prefix="hw-bench-") as name,
        server(None, Path(name), listen_addresses="127.0.0.1") as url,
    ):
        directory = Path(name)
        python = environment(directory)
        bench = Bench(url, directory)
        path = directory / "items.csv"
        write_file(path, rows)
        seconds = {"\\copy": bench.copy(path)}
        with bench.owner.transaction() as tx:
            tx.run(physical_truncate(bench.entity.table, bench.entity.schema))
        seconds["HubbleWave import"], _ = bench.load(path)
        tcp = f"postgresql://hubblewave:any@127.0.0.1:{PORT}/bench"  # dlt wants host and password
        seconds["dlt append"] = timed(python, _DLT, str(path), tcp, "append", str(directory / "a"))
        seconds["dlt merge"] = timed(python, _DLT, str(path), tcp, "merge", str(directory / "m"))
        alchemy = tcp.replace("postgresql://", "postgresql+psycopg://")
        seconds["pandas.to_sql"] = timed(python, _PANDAS, str(path), alchemy)
        bench.owner.close()
    ours = seconds["HubbleWave import"]
    print(f"{rows:,} rows x {len(COLUMNS)} columns")
    print(f"{'':22}{'seconds':>9}{'of ours':>9}")
    for name, took in seconds.items():
        print(f"{name:22}{took:>9.2f}{took / ours:>9.2f}")
    print(
        json.dumps(
            {
                "bench": "import_peers",
                "rows": rows,
                "seconds": {k: round(v, 2) for k, v in seconds.items()},
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
