"""What reading a vendor's sandbox costs: requests against the least there could be, records a second, memory.

The sandbox is a process of its own (`hubblewave sandbox`) and needs more of the time than the
connector: rows per second of the connector's own CPU time say what it can do. Nothing is stored. Prints a table and a JSON line; run
it with `python -m tests.bench.bench_connectors [--records N] [VENDOR ...]`.
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hubblewave_pipelines.connectors.registry import module
from hubblewave_pipelines.core.stream import Window
from hubblewave_pipelines.outbound.client import HttpSession
from tests.plugins.sessions import plain_session

TARGET = 1.1
CASES: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "jira": (
        "jira",
        "issues",
        ("index_delay=0",),
        ("key", "summary", "status", "assignee", "created"),
    ),
    "jira-datacenter": (
        "jira",
        "issues",
        ("deployment=datacenter", "index_delay=0"),
        ("key", "summary", "status", "assignee", "created"),
    ),
    "servicenow": (
        "servicenow",
        "incident",
        (),
        ("number", "short_description", "state", "caller_id", "opened_at"),
    ),
}


@contextmanager
def sandbox(vendor: str, records: int, switches: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    sets = [part for switch in switches for part in ("--set", switch)]
    command = [sys.executable, "-m", "hubblewave_pipelines", "sandbox", vendor, "--json"]
    process = subprocess.Popen(
        [*command, "--records", str(records), *sets], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.rstrip() == "}":
                break
        told: dict[str, Any] = json.loads("".join(lines))
        yield told
    finally:
        process.terminate()
        process.wait()


def read(name: str, records: int) -> dict[str, Any]:
    vendor, stream_name, switches, fields = CASES[name]
    with (
        sandbox(vendor, records, switches) as told,
        plain_session(told["config"]["baseUrl"], told["credentials"]) as session,
    ):
        return measured(name, vendor, told["config"], session, stream_name, fields, records)


def measured(
    name: str,
    vendor: str,
    config: dict[str, Any],
    session: HttpSession,
    stream_name: str,
    fields: tuple[str, ...],
    records: int,
) -> dict[str, Any]:
    connector = module(vendor).connect(config, session)
    stream = connector.describe(stream_name)
    mark = connector.safe_mark(stream)
    window = Window(None, mark.at)
    plan = connector.plan(stream, fields, window)
    least, keys, first_peak = 0, set(), 0
    before, started, used = session.requests, time.perf_counter(), time.process_time()
    for part in plan.slices:
        for number, page in enumerate(connector.read(plan, part, None)):
            least += page.min_requests
            keys.update(page.columns[stream.key])
            if number == 1:
                first_peak = resident()
    seconds, used = time.perf_counter() - started, time.process_time() - used
    peak = resident()
    pages = session.requests - before
    counted = connector.count(stream, window)
    assert counted == len(keys) == records, (counted, len(keys), records)
    perfect = -(
        -records // int(config.get("pageSize") or {"jira": 100, "servicenow": 5_000}[vendor])
    )
    if name == "jira-datacenter":
        perfect = -(-records // 1_000)
    overhead = 3  # describe, mark, count: one each for a perfect client
    return {
        "case": name,
        "records": records,
        "requests": session.requests,
        "minimum": perfect + overhead,
        "ratio": round(session.requests / (perfect + overhead), 3),
        "pages": pages,
        "retries": session.retries,
        "rows_per_second": round(records / seconds),
        "rows_per_cpu_second": round(records / used),
        "peak_mb": peak,
        "peak_mb_after_two_pages": first_peak,
    }


def resident() -> int:
    """The most memory that this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--records", type=int, default=100_000)
    asked = parser.parse_args()
    logging.disable(logging.INFO)
    found = [read(name, asked.records) for name in asked.cases]
    heads = (
        "records",
        "requests",
        "minimum",
        "ratio",
        "rows/s",
        "rows/CPU s",
        "MB at 2",
        "MB at end",
    )
    print(f"{'case':<16}" + "".join(f"{head:>11}" for head in heads))
    for one in found:
        shown = (
            "records",
            "requests",
            "minimum",
            "ratio",
            "rows_per_second",
            "rows_per_cpu_second",
        )
        memory = ("peak_mb_after_two_pages", "peak_mb")
        print(f"{one['case']:<16}" + "".join(f"{one[name]:>11}" for name in (*shown, *memory)))
    print(json.dumps({"bench": "connectors", "target": TARGET, "cases": found}))


if __name__ == "__main__":
    main()
