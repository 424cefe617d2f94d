"""What a session with an external system costs beside bare httpx, alone and with the pace of all processes.

The same GETs to one local server in turns: bare httpx, our session with its budget in memory, and our
session with its budget and credentials in PostgreSQL. Prints a table and a JSON line; run it with
`python -m tests.bench.bench_outbound [--requests N]`.
"""

import argparse
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx

from hubblewave_pipelines.core.bucket import Pace
from hubblewave_pipelines.core.credentials import Credentials
from hubblewave_pipelines.core.envelope import Envelope, new_key, read_key
from hubblewave_pipelines.storage import connector_vault, connectors, tenants
from hubblewave_pipelines.storage.connector_budget import DatabaseBudget
from hubblewave_pipelines.storage.connector_vault import DatabaseVault
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from hubblewave_pipelines.sync.installing import install
from tests.plugins.receiver import receiving, reply
from tests.plugins.sessions import plain_session

ROUNDS = 5
GIVEN = {"kind": "bearer", "token": "token-of-the-bench"}
FAST = Pace(rate=1000, burst=1000)


def _stored(database: Database, key: str) -> tuple[uuid.UUID, uuid.UUID]:
    connector_id = uuid.uuid4()
    with database.transaction() as tx:
        tenant = tx.one(tenants.insert_tenant("bench", "Bench", "enterprise"))
        assert tenant is not None
        tx.act_for(tenant.id)
        values = {"name": "Bench", "config": {"baseUrl": "http://127.0.0.1"}}
        tx.run(connectors.insert_connector(connector_id, tenant.id, "custom", uuid.uuid4(), values))
        credentials = Credentials(GIVEN)
        envelope = Envelope(read_key(key))
        sealed = connector_vault.sealed_credentials(envelope, tenant.id, connector_id, credentials)
        tx.run(connector_vault.put_credentials(tenant.id, connector_id, credentials, sealed))
    return tenant.id, connector_id


def _timed(ask: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        ask()
    return (time.perf_counter() - started) / count * 1e6


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--requests", type=int, default=300)
    count = arguments.parse_args().requests
    body = json.dumps({"items": [{"id": n, "name": "x" * 50} for n in range(200)]}).encode()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        postgres = EmbeddedPostgres(Path(folder) / "postgres")
        postgres.start()
        url = postgres.url("hubblewave")
        install(url)
        owner, worker, key = Database(url, Role.OWNER), Database(url, Role.WORKER), new_key()
        ids = _stored(owner, key)
        with receiving(reply(body=body, Content_Type="application/json")) as system:
            base = system.url.removesuffix("/hook")
            bare = httpx.Client(base_url=base)
            alone = plain_session(base, GIVEN)
            shared = plain_session(
                base,
                vault=DatabaseVault(worker, Envelope(read_key(key)), *ids),
                budget=DatabaseBudget(worker, *ids, FAST),
            )
            sides: dict[str, Callable[[], object]] = {
                "httpx": lambda: bare.get("/x").json(),
                "session, in memory": lambda: alone.request("GET", "/x").json(),
                "session, in PostgreSQL": lambda: shared.request("GET", "/x").json(),
            }
            taken: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(ROUNDS):
                for name, ask in sides.items():
                    taken[name].append(_timed(ask, count))
            for client in (bare, alone, shared):
                client.close()
        owner.close()
        worker.close()
        postgres.stop()
    floor = statistics.median(taken["httpx"])
    print(f"{'side':<26}{'µs/request':>12}{'ratio':>8}")
    found = {}
    for name, each in taken.items():
        median = statistics.median(each)
        found[name] = round(median)
        print(f"{name:<26}{median:>12.0f}{median / floor:>8.2f}")
    print(json.dumps({"bench": "outbound", "requests": count * ROUNDS, "microseconds": found}))


if __name__ == "__main__":
    main()
