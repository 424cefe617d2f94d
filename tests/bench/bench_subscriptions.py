"""GraphQL subscriptions: what 200 sockets cost in memory, and how soon an event reaches all of them.

One API process, subscribers in another, writers over HTTP. Prints a table and a JSON line; run it
with `python tests/bench/bench_subscriptions.py [--sockets N] [--records N]`.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from hubblewave_pipelines.core.envelope import new_key
from hubblewave_pipelines.core.identity import new_api_key
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.migrate import migrate
from hubblewave_pipelines.supervisor.ports import claim_port
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres

NOTE = {
    "name": "Note",
    "pluralName": "Notes",
    "fields": [{"name": "text", "type": "text"}, {"name": "rank", "type": "integer"}],
}
QUERY = "subscription { noteCreated { id text rank } }"
_PAUSE = 0.02  # seconds between writes of the round that is timed


def make_tenant(url: str) -> str:
    owner, key = Database(url, Role.OWNER), new_api_key()
    with owner.transaction() as tx:
        tenant = tx.one(tenants.insert_tenant("bench", "Bench", "enterprise"))
        assert tenant is not None
        for step in tenants.create_schema(tenant):
            tx.run(step)
        limits: dict[str, Any] = {"plan": None, "expires_at": None, "created_by": None}
        tx.run(tenants.insert_key(tenant.id, key, name="bench", scopes=["admin"], **limits))
    owner.close()
    return key.text


def resident(pid: int) -> float:
    """Megabytes of memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def subscriber(stack: AsyncExitStack, url: str, key: str) -> ClientConnection:
    opened = connect(f"ws{url[4:]}/graphql", subprotocols=["graphql-transport-ws"], max_queue=None)  # type: ignore[list-item]
    socket = await stack.enter_async_context(opened)
    await socket.send(json.dumps({"type": "connection_init", "payload": {"apiKey": key}}))
    await socket.recv()
    await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": QUERY}}))
    await socket.send('{"type":"ping"}')
    await socket.recv()
    return socket


async def hear(socket: ClientConnection, records: int, seen: dict[str, list[float]]) -> None:
    count = 0
    while count < records:
        message = json.loads(await socket.recv())
        if message["type"] == "next":
            text = message["payload"]["data"]["noteCreated"]["text"]
            seen.setdefault(text, []).append(time.perf_counter())
            count += 1


async def measure(url: str, key: str, pid: int, sockets: int, records: int) -> dict[str, float]:
    async with AsyncExitStack() as stack, httpx.AsyncClient(headers={"X-API-Key": key}) as client:
        (await client.post(f"{url}/api/v1/entities", json=NOTE)).raise_for_status()
        path = f"{url}/api/v1/notes"
        (await client.post(path, json={"text": "warm"})).raise_for_status()
        first = await subscriber(stack, url, key)
        (await client.post(path, json={"text": "warm"})).raise_for_status()
        await first.recv()
        before = resident(pid)
        followers = [await subscriber(stack, url, key) for _ in range(sockets)]
        during = resident(pid)
        seen: dict[str, list[float]] = {}
        hearing = [asyncio.create_task(hear(one, records, seen)) for one in followers]
        written = {}
        for n in range(records):
            answer = await client.post(path, json={"text": f"timed {n}", "rank": n})
            answer.raise_for_status()
            written[f"timed {n}"] = time.perf_counter()
            await asyncio.sleep(_PAUSE)
        await asyncio.gather(*hearing)
        first_of = [min(times) - written[text] for text, times in seen.items()]
        last_of = [max(times) - written[text] for text, times in seen.items()]
        hearing = [asyncio.create_task(hear(one, 1_000, {})) for one in followers]
        began = time.perf_counter()
        items = [{"text": f"bulk {n}", "rank": n} for n in range(1_000)]
        (await client.post(f"{path}/bulk", json={"items": items})).raise_for_status()
        await asyncio.gather(*hearing)
        burst = time.perf_counter() - began
        return {
            "sockets": sockets,
            "kB_per_socket": round((during - before) * 1024 / sockets, 1),
            "rss_mb_before": round(before, 1),
            "rss_mb_with_sockets": round(during, 1),
            "rss_mb_after_burst": round(resident(pid), 1),
            "first_ms_p50": round(statistics.median(first_of) * 1000, 1),
            "last_ms_p50": round(statistics.median(last_of) * 1000, 1),
            "last_ms_max": round(max(last_of) * 1000, 1),
            "burst_events_per_s": round(sockets * 1_000 / burst),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=200)
    parser.add_argument("--records", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hw-subscriptions-") as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres")
        postgres.start()
        url = postgres.url("hubblewave")
        migrate(url)
        key = make_tenant(url)
        port = claim_port("127.0.0.1", 0, setting="-", option="-")
        environment = {
            **os.environ,  # noqa: TID251 - a child inherits PATH and the like
            "HUBBLEWAVE_DATABASE_URL": url,
            "HUBBLEWAVE_DATA_DIR": directory,
            "HUBBLEWAVE_LOG_LEVEL": "ERROR",
            "HUBBLEWAVE_SECRET_KEY": new_key(),
        }
        arguments = ["-m", "uvicorn", "api.app:create_app", "--factory", "--port", str(port)]
        api = subprocess.Popen(
            [sys.executable, *arguments, "--no-access-log", "--log-level", "warning"],
            env=environment,
            cwd=Path(__file__).parents[2],
        )
        try:
            address = f"http://127.0.0.1:{port}"
            until = time.monotonic() + 60
            while True:
                try:
                    httpx.get(f"{address}/health")
                    break
                except httpx.TransportError:
                    assert time.monotonic() < until, "the API does not start"
                    time.sleep(0.1)
            found = asyncio.run(measure(address, key, api.pid, given.sockets, given.records))
        finally:
            api.terminate()
            api.wait(30)
            postgres.stop()
    for name, value in found.items():
        print(f"{name:<22}{value:>12}")
    print(json.dumps({"bench": "subscriptions", **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
