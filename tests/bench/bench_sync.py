"""How fast a sync merges, how flat its memory is, what an identical run writes, and requests made.

    python -m tests.bench.bench_sync [--records 100000]

Accounts of the Salesforce sandbox (a process of its own) through the connector and the engine into
PostgreSQL. `merged` is the engine's own speed: the same pages from memory, without the vendor.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from hubblewave_pipelines.connectors import registry
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.stream import DeleteStrategy, Page, ReadPlan, Slice, Window
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.migrate import migrate
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from tests.plugins.sessions import plain_session
from tests.sync.conftest import DEAL, Syncing
from tests.sync.fake_vendor import START, FakeConnector, FakeOpened, FakeVendor, Remote, opened
from tests.sync.vendors import Opened

MAPPING = [
    {"sourceField": "Id", "targetField": "code"},
    {"sourceField": "Name", "targetField": "title"},
]

_TARGETS = {
    "merged_rows_per_s": "at least 20000",
    "identical_rows_per_s": "at least 29000",
    "identical_writes": "0",
    "salesforce_rows_per_s": "bounded by the sandbox, which shares the cores",
    "requests_per_minimum": "at most 1.1",
    "memory_mb_end": "as after the first tenth",
    "others_median_one_hanging_s": "as without",
}


def _announced(lines: IO[str]) -> dict[str, Any]:
    text = ""
    for line in lines:
        text += line
        if line.rstrip() == "}":
            return dict(json.loads(text))
    raise AssertionError(f"the sandbox did not start: {text}")


@contextmanager
def _connect(told: dict[str, Any], _job: SyncJob) -> Iterator[Opened]:
    session = plain_session(
        told["url"], told["credentials"], manners=registry.manners(told["type"])
    )
    with session:
        yield Opened(registry.module(told["type"]).connect(told["config"], session), session)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _from_memory(syncing: Syncing, records: int, page_size: int = 2_000) -> dict[str, Any]:
    """The engine alone: pages that are in memory already."""
    vendor = syncing.vendor = FakeVendor(page_size=page_size, deletes=DeleteStrategy.NONE)
    for number in range(records):
        key = f"m{page_size:05}-{number:07}"
        vendor.put(key, Name=f"deal {number}", Amount=f"{number}.25")
    vendor.tick(60)
    pages = _Ready(vendor)
    job = syncing.job()
    began = time.monotonic()
    run = syncing.execute(syncing.ask(job), connect=pages.opened)
    first = time.monotonic() - began
    assert run.created == records, run
    written = syncing.written()
    began = time.monotonic()
    again = syncing.execute(
        syncing.ask(job, (START.replace(year=2020), vendor.now)), connect=pages.opened
    )
    second = time.monotonic() - began
    assert (again.created, again.updated, again.unchanged) == (0, 0, records)
    assert syncing.written() == written
    return {
        "merged_rows_per_s": round(records / first),
        "identical_rows_per_s": round(records / second),
        "identical_writes": syncing.written() - written,
    }


class _Ready(FakeConnector):
    """The pages of the first reading again and again, so that the vendor costs nothing."""

    def __init__(self, vendor: FakeVendor) -> None:
        super().__init__(vendor)
        stream = self.describe("Deal")
        plan = self.plan(stream, [field.name for field in stream.fields], Window())
        records = sorted(vendor.seen().items())
        keys = [key for key, _ in records]

        def behind(after: str, window: Window) -> list[tuple[str, Remote]]:
            first = bisect_right(keys, after)
            return records[first : first + vendor.page_size + 1]

        vendor.behind = behind  # type: ignore[method-assign]
        self._pages = list(super().read(plan, plan.slices[0], None))

    def read(self, plan: ReadPlan, part: Slice, position: Json | None) -> Iterator[Page]:
        assert position is None
        yield from self._pages

    @contextmanager
    def opened(self, _job: SyncJob) -> Iterator[FakeOpened]:
        yield FakeOpened(self, self.vendor, self.vendor.requests)


def _salesforce(syncing: Syncing, records: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "hubblewave_pipelines", "sandbox", "salesforce", "--json"]
    command += ["--records", str(records)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        told = _announced(process.stdout)
        job = syncing.job(stream="Account", mapping=MAPPING)
        before = _resident_mb()
        peaks: list[float] = []
        began = time.monotonic()
        run = syncing.execute(
            syncing.ask(job),
            connect=partial(_connect, told),
            progress=lambda _: peaks.append(_resident_mb()),
        )
        seconds = time.monotonic() - began
        return {
            "salesforce_records": run.created,
            "salesforce_rows_per_s": round(run.created / seconds),
            "requests": run.requests,
            # The engine's minimum knows nothing of the token that a process asks for first.
            "requests_per_minimum": round(run.requests / (run.min_requests + 1), 3),
            "memory_mb_before": round(before),
            "memory_mb_first_tenth": round(peaks[len(peaks) // 10]),
            "memory_mb_end": round(peaks[-1]),
        }
    finally:
        process.terminate()
        process.wait(30)


def _hanging(syncing: Syncing) -> dict[str, Any]:
    """20 connections, one of which never answers: how long the others' runs take, with and without."""

    def freshness(hang: bool) -> float:
        stop = threading.Event()
        jobs = [(syncing.job(), FakeVendor(page_size=50)) for _ in range(20)]
        for number, (_, vendor) in enumerate(jobs):
            for key in range(50):
                vendor.put(f"{time.monotonic_ns()}-{number}-{key}", Name="x")
            vendor.tick(60)
        if hang:
            jobs[0][1].before = lambda _: stop.wait(60) and None
        took: list[float] = []

        def one(job: SyncJob, vendor: FakeVendor) -> None:
            began = time.monotonic()
            syncing.execute(syncing.ask(job), connect=partial(opened, vendor))
            took.append(time.monotonic() - began)

        threads = [threading.Thread(target=one, args=pair) for pair in jobs]
        for thread in threads:
            thread.start()
        for thread in threads[1:]:
            thread.join()
        others = sorted(took)[len(took) // 2]
        stop.set()
        threads[0].join()
        return others

    return {
        "others_median_s": round(freshness(False), 2),
        "others_median_one_hanging_s": round(freshness(True), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres")
        postgres.start()
        try:
            url = postgres.url("hubblewave")
            migrate(url)
            owner, worker = Database(url, Role.OWNER), Database(url, Role.WORKER, size=24)
            with owner.transaction() as tx:
                tenant = tx.one(tenants.insert_tenant("bench", "Bench", "enterprise"))
                assert tenant is not None
                for step in tenants.create_schema(tenant):
                    tx.run(step)
            syncing = Syncing(owner, worker, tenant, define(owner, tenant, DEAL))
            found = {
                **_from_memory(syncing, asked.records),
                "merged_rows_per_s_pages_of_100": _from_memory(
                    syncing, min(asked.records, 10_000), page_size=100
                )["merged_rows_per_s"],
                **_salesforce(syncing, asked.records),
                **_hanging(syncing),
            }
            owner.close()
            worker.close()
        finally:
            postgres.stop()
    for name, value in found.items():
        print(f"{name:<32} {value:>12}   {_TARGETS.get(name, '')}")
    print(json.dumps({"bench": "sync", "records": asked.records, **found}))


if __name__ == "__main__":
    main()
