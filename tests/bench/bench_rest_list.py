"""REST list of 100 records x 10 fields against a bare ASGI app that runs the same SQL, and a page
deep in the list (found by cursor) against the first.

The sides take short turns in one run and share one PostgreSQL, so that their ratio means something
on a machine that is busy with other things. Prints a table and a JSON line; run it with
`python tests/bench/bench_rest_list.py [--seconds S] [--rounds N]`.
"""

import argparse
import asyncio
import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import uvicorn
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from api.app import create_app
from hubblewave_pipelines.core.envelope import new_key
from hubblewave_pipelines.core.identity import new_api_key
from hubblewave_pipelines.core.parameters import parse_query
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.compiler import select_page
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.migrate import migrate
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres

ROWS, PAGE, CONNECTIONS = 100_000, 100, 8
DEPTH = 1_000_000  # of the deep page, in a list that is a little longer
TARGET = 0.5  # of the bare app's requests per second
DEEP_TARGET = 1.2  # times the cost of the first page

CUSTOMER = {
    "name": "Customer",
    "pluralName": "customers",
    "fields": [
        {"name": "name", "type": "text", "required": True},
        {"name": "street", "type": "text"},
        {"name": "city", "type": "text"},
        {"name": "tier", "type": "enum", "enum": ["gold", "silver"]},
        {"name": "orders", "type": "integer"},
        {"name": "spent", "type": "decimal"},
        {"name": "score", "type": "number"},
        {"name": "active", "type": "boolean"},
        {"name": "since", "type": "date"},
        {"name": "seenAt", "type": "datetime"},
    ],
}
FILL = """
select 'customer ' || i, i || ' Main Street', 'city ' || i %% 1000,
       case when i %% 9 = 0 then 'gold' else 'silver' end, i %% 50, i * 1.01, i / 3.0, i %% 3 > 0,
       date '2015-01-01' + i %% 4000, timestamptz '2026-01-01' + i * interval '1 second'
from generate_series(1, %s) i
"""


@dataclass(frozen=True)
class Bench:
    """What both sides are started with."""

    url: str
    key: str
    sql: str
    params: list[object]


def prepare(url: str, rows: int = ROWS) -> Bench:
    """A migrated database with one tenant, one entity and its rows."""
    migrate(url)
    owner = Database(url, Role.OWNER)
    key = new_api_key()
    with owner.transaction() as tx:
        tenant = tx.one(tenants.insert_tenant("bench", "Bench", "enterprise"))
        assert tenant is not None
        for step in tenants.create_schema(tenant):
            tx.run(step)
        stored = tenants.insert_key(
            tenant.id,
            key,
            name="bench",
            scopes=["read"],
            plan=None,
            expires_at=None,
            created_by=None,
        )
        tx.run(stored)
    catalog = define(owner, tenant, CUSTOMER)
    entity = catalog.named("Customer")
    assert entity is not None
    columns = ", ".join(field.column for field in entity.fields)
    table = f"{entity.schema}.{entity.table}"
    with owner.connect() as connection:
        connection.execute(f"insert into {table} ({columns}) {FILL}".encode(), (rows,))
        connection.execute(f"vacuum analyze {table}".encode())
    owner.close()
    query = parse_query(entity, [("pageSize", str(PAGE))], secret=b"bench", catalog=catalog)
    page = select_page(query)
    return Bench(url, key.text, page.text, list(page.params))


def serve_ours(bench: Bench, port: int, log: str) -> None:
    sys.stdout = Path(log).open("w")
    # The limit is counted as ever, only never reached.
    settings = Settings(
        database_url=bench.url,
        api_port=port,
        rate_limits={"enterprise": 1_000_000_000},
        secret_key=SecretStr(new_key()),
    )
    uvicorn.run(create_app(settings), port=port, access_log=False, log_level="warning")


def serve_bare(bench: Bench, port: int) -> None:
    """The least that answers: a pool, the statement, the text it returned."""
    pool = AsyncConnectionPool(
        bench.url, min_size=1, max_size=10, open=False, kwargs={"autocommit": True}
    )

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        await pool.open()
        yield
        await pool.close()

    lifetime = opened()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await lifetime.__aenter__()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await lifetime.__aexit__(None, None, None)
            await send({"type": "lifespan.shutdown.complete"})
            return
        async with pool.connection() as connection:
            cursor = await connection.execute(bench.sql.encode(), bench.params)
            row = await cursor.fetchone()
        assert row is not None
        body = row[0].encode()
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(app, port=port, access_log=False, log_level="warning")


async def load(port: int, path: str, key: str, seconds: float) -> float:
    """Requests per second for a list; each answer is checked to be a full page."""
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n\r\n".encode()
    return await repeat(port, request, seconds, lambda body: body.count(b'"createdAt"') == PAGE)


async def repeat(
    port: int,
    request: bytes | Callable[[], bytes],
    seconds: float,
    whole: Callable[[bytes], bool],
) -> float:
    """Requests per second over keep-alive connections; each answer is checked by `whole`. The
    request is the same each time, or made anew."""
    until = time.perf_counter() + seconds
    done = 0

    async def one() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        while time.perf_counter() < until:
            writer.write(request if isinstance(request, bytes) else request())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            assert whole(body), body[:500]
            done += 1
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return done / (time.perf_counter() - started)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"nothing listens on port {port}")


def deep_cursor(port: int, first: str, key: str) -> str:
    """The cursor of the record at DEPTH."""
    page = DEPTH // PAGE
    answer = httpx.get(f"http://127.0.0.1:{port}{first}&page={page}", headers={"X-API-Key": key})
    return str(answer.raise_for_status().json()["pageInfo"]["endCursor"])


def measure(bench: Bench, seconds: float, rounds: int, log: str) -> dict[str, list[float]]:
    spawn = multiprocessing.get_context("spawn")
    ports = {"ours": free_port(), "bare": free_port()}
    servers = [
        spawn.Process(target=serve_ours, args=(bench, ports["ours"], log), daemon=True),
        spawn.Process(target=serve_bare, args=(bench, ports["bare"]), daemon=True),
    ]
    first = f"/api/v1/customers?pageSize={PAGE}"
    sides = {"bare": ("bare", "/"), "ours": ("ours", first)}
    rates: dict[str, list[float]] = {"bare": [], "ours": [], "deep": []}
    try:
        for process in servers:
            process.start()
        for port in ports.values():
            wait_for(port)
        sides["deep"] = ("ours", f"{first}&after={deep_cursor(ports['ours'], first, bench.key)}")
        for server, path in sides.values():
            asyncio.run(load(ports[server], path, bench.key, 1.0))  # plans and caches warm up
        for _ in range(rounds):
            for side, (server, path) in sides.items():
                rates[side].append(asyncio.run(load(ports[server], path, bench.key, seconds)))
    finally:
        for process in servers:
            process.terminate()
            process.join(10)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a round")
    parser.add_argument("--rounds", type=int, default=16)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres")
        postgres.start()
        try:
            with psycopg.connect(
                postgres.url("postgres", user="postgres"), autocommit=True
            ) as admin:
                admin.execute("create database bench owner hubblewave")
            bench = prepare(postgres.url("bench"), DEPTH + 10 * PAGE)
            rates = measure(bench, chosen.seconds, chosen.rounds, f"{directory}/log")
        finally:
            postgres.stop()
    bare, ours, deep = (statistics.median(rates[side]) for side in ("bare", "ours", "deep"))
    print(f"{'side':<8}{'requests/s (median)':>22}   rounds")
    for side, rate in (("bare", bare), ("ours", ours), ("deep", deep)):
        shown = " ".join(f"{r:.0f}" for r in rates[side])
        print(f"{side:<8}{rate:>22.0f}   {shown}")
    for what, found, target in (
        ("throughput, of the bare app", ours / bare, f"at least {TARGET}"),
        ("a page a million records deep, of page 1", ours / deep, f"at most {DEEP_TARGET}"),
    ):
        print(f"{what:<44}{found:>6.2f}   target: {target}")
    result = {
        "bench": "rest_list",
        "rows": PAGE,
        "fields": len(CUSTOMER["fields"]),
        "connections": CONNECTIONS,
        "ours_per_second": round(ours, 1),
        "bare_per_second": round(bare, 1),
        "ratio": round(ours / bare, 3),
        "target": TARGET,
        "deep_page_cost": round(ours / deep, 3),
        "deep_target": DEEP_TARGET,
        "met": ours / bare >= TARGET and ours / deep <= DEEP_TARGET,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
