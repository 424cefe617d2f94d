"""Many small files queued together: seconds and Dagster runs for 100 imports of 10 rows.

Through the real platform, all uploaded at once by eight clients. Prints a table and a JSON line.
"""

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg

from tests.plugins.stack import Up

FILES, ROWS, CLIENTS = 100, 10, 8
ENTITY = {
    "name": "Part",
    "pluralName": "Parts",
    "fields": [{"name": "code", "type": "text", "required": True, "unique": True}],
}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="hw-bench-") as name:
        up = Up(Path(name) / "data", {"HUBBLEWAVE_RATE_LIMITS": '{"enterprise": 10000000}'})
        try:
            up.start()
            ready = up.wait_ready()
            client = httpx.Client(
                base_url=ready["api_url"], headers={"X-API-Key": up.api_key}, timeout=60
            )
            client.post("/api/v1/entities", json=ENTITY).raise_for_status()

            def send(number: int) -> None:
                rows = "".join(f"p{number}-{row}\n" for row in range(ROWS))
                client.post(
                    "/api/v1/imports",
                    data={"entity": "Part"},
                    files={"file": (f"{number}.csv", f"code\n{rows}".encode())},
                ).raise_for_status()

            send(-1)  # so that the graph knows the entity and the runner is warm
            time.sleep(5)
            started = time.monotonic()
            with ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(send, range(FILES)))
            uploaded = time.monotonic() - started
            while True:
                page = client.get("/api/v1/imports?pageSize=1000").json()["items"]
                if all(job["status"] == "completed" for job in page):
                    break
                assert time.monotonic() - started < 300, [job["status"] for job in page]
                time.sleep(0.2)
            seconds = time.monotonic() - started
            count = client.get("/api/v1/parts?pageSize=1&count=exact").json()["pageInfo"]
            assert count["totalItems"] == (FILES + 1) * ROWS
            with psycopg.connect(ready["database_url"]) as connection:
                row = connection.execute(
                    "select count(distinct run_id) from hubblewave.work_requests"
                ).fetchone()
                assert row is not None
                runs = row[0] - 1
        finally:
            up.stop()
    print(f"{'files':>8}{'runs':>8}{'uploaded s':>12}{'all done s':>12}{'files/s':>9}")
    print(f"{FILES:>8}{runs:>8}{uploaded:>12.1f}{seconds:>12.1f}{FILES / seconds:>9.1f}")
    summary = {"bench": "small_imports", "files": FILES, "runs": runs, "seconds": round(seconds, 1)}
    print(json.dumps(summary))
    return 0 if runs <= FILES // 4 else 1


if __name__ == "__main__":
    sys.exit(main())
