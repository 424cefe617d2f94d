"""Reading SAP entity sets from the sandbox in a process of its own: rows per second, requests over their minimum, memory.

The sandbox's own time is measured too (the same pages asked for by a bare client that throws them
away), since both share the machine. Prints a table and a JSON line; run it with
`python tests/bench/bench_sap_read.py [--records N]`.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx
import structlog

from hubblewave_pipelines.connectors import sap
from hubblewave_pipelines.core.credentials import Credentials
from hubblewave_pipelines.core.egress import parse_allow
from hubblewave_pipelines.core.stream import Window
from hubblewave_pipelines.outbound.budget import MemoryBudget
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.outbound.vault import MemoryVault

STREAMS = ("API_SALES_ORDER_SRV.A_SalesOrder", "API_SALESORDER.SalesOrder")


@contextmanager
def sandbox(records: int) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "hubblewave_pipelines", "sandbox", "sap", "--json"]
    process = subprocess.Popen(
        [*command, "--records", str(records)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = ""
        for line in process.stdout:
            lines += line
            try:
                yield json.loads(lines)
                break
            except json.JSONDecodeError:
                continue
    finally:
        process.terminate()
        process.wait()


def bare(told: dict[str, Any], path: str) -> float:
    """Seconds that the sandbox itself takes to give the same pages."""
    given = told["credentials"]
    auth = (given["username"], given["password"])
    began = time.perf_counter()
    with httpx.Client(base_url=told["url"], auth=auth, timeout=120) as client:
        link: str | None = f"{path}?$format=json&$orderby=SalesOrder"
        while link is not None:
            body = client.get(link, headers={"Accept": "application/json"}).content
            at = body.rfind(b"$skiptoken=")
            token = body[at + 11 :].split(b'"', 1)[0].decode() if at > 0 else None
            link = f"{path}?$format=json&$orderby=SalesOrder&$skiptoken={token}" if token else None
    return time.perf_counter() - began


def read(told: dict[str, Any], name: str) -> dict[str, Any]:
    given = {key: str(value) for key, value in told["credentials"].items()}
    allow = parse_allow("127.0.0.1/32:*")
    with HttpSession(
        told["url"], MemoryVault(Credentials(given)), MemoryBudget(), allow, manners=sap.MANNERS
    ) as session:
        connector = sap.connect(told["config"], session)
        stream = connector.describe(name)
        plan = connector.plan(stream, [field.name for field in stream.fields], Window())
        before, rows, least = session.requests, 0, 0
        began, cpu = time.perf_counter(), time.process_time()
        for page in connector.read(plan, plan.slices[0], None):
            rows += page.rows
            least += page.min_requests
        seconds = time.perf_counter() - began
        cpu = time.process_time() - cpu
        return {
            "stream": name,
            "rows": rows,
            "seconds": round(seconds, 2),
            "rows_per_second": round(rows / seconds),
            "rows_per_cpu_second": round(rows / cpu),
            "requests": session.requests - before,
            "min_requests": least,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=100_000)
    records = parser.parse_args().records
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    results = []
    with sandbox(records) as told:
        paths = {
            STREAMS[0]: "/sap/opu/odata/sap/API_SALES_ORDER_SRV/A_SalesOrder",
            STREAMS[
                1
            ]: "/sap/opu/odata4/sap/api_salesorder/srvd_a2x/sap/salesorder/0001/SalesOrder",
        }
        for name in STREAMS:
            found = read(told, name)
            found["bare_seconds"] = round(bare(told, paths[name]), 2)
            results.append(found)
    print(f"{'stream':<36}{'rows':>9}{'rows/s':>9}{'rows/cpu s':>12}{'seconds':>9}{'bare':>7}{'requests':>10}{'min':>6}{'MB':>6}")  # fmt: skip
    for one in results:
        print(f"{one['stream']:<36}{one['rows']:>9}{one['rows_per_second']:>9}{one['rows_per_cpu_second']:>12}{one['seconds']:>9}{one['bare_seconds']:>7}{one['requests']:>10}{one['min_requests']:>6}{one['peak_mb']:>6}")  # fmt: skip
    print(json.dumps({"bench": "sap_read", "results": results}))


if __name__ == "__main__":
    main()
