"""Bulk create of 1,000 records over HTTP against the bare set-based INSERT of the same rows.

The bare side sends the rows as one JSON parameter to a table with the same columns, defaults, rules
and indexes, without row security: one statement, committed. The sides take turns in one run and
share one PostgreSQL. Prints a table and a JSON line; run it with
`python -m tests.bench.bench_bulk [--rounds N]`.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.identity import new_api_key
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.migrate import migrate
from hubblewave_pipelines.storage.physical import SQL_TYPES
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from tests.bench.bench_rest_list import CUSTOMER, Bench, free_port, serve_ours, wait_for

ROWS, TARGET = 1000, 3.0
ENTITY: dict[str, Any] = {
    **CUSTOMER,
    "fields": [{"name": "number", "type": "text", "unique": True}, *CUSTOMER["fields"][:9]],
}


def rows(start: int) -> list[dict[str, Any]]:
    return [
        {
            "number": f"c-{start + i}",
            "name": f"customer {i}",
            "street": f"{i} Main Street",
            "city": f"city {i % 1000}",
            "tier": "gold" if i % 9 == 0 else "silver",
            "orders": i % 50,
            "spent": f"{i}.25",
            "score": i / 3,
            "active": i % 3 > 0,
            "since": f"20{10 + i % 15}-0{1 + i % 9}-1{i % 9}",
        }
        for i in range(ROWS)
    ]


def prepare(url: str) -> tuple[Entity, str]:
    """A tenant with the entity, and a table of the same shape for the bare side; the API key."""
    migrate(url)
    owner, key = Database(url, Role.OWNER), new_api_key()
    with owner.transaction() as tx:
        tenant = tx.one(tenants.insert_tenant("bench", "Bench", "enterprise"))
        assert tenant is not None
        for step in tenants.create_schema(tenant):
            tx.run(step)
        named = {"name": "bench", "scopes": ["write"], "plan": None}
        tx.run(tenants.insert_key(tenant.id, key, **named, expires_at=None, created_by=None))
    entity = define(owner, tenant, ENTITY).named("Customer")
    assert entity is not None
    with owner.connect() as connection:
        like = f"{entity.schema}.{entity.table} including all"
        connection.execute(f"create table public.bare (like {like})".encode())
    owner.close()
    return entity, key.text


def bare_side(url: str, entity: Entity) -> Callable[[list[dict[str, Any]]], None]:
    connection = psycopg.connect(url, autocommit=True)
    columns = ", ".join(field.column for field in entity.fields)
    shape = ", ".join(f'"{field.name}" {SQL_TYPES[field.kind]}' for field in entity.fields)
    names = ", ".join(f'"{field.name}"' for field in entity.fields)
    sql = (
        f"insert into public.bare ({columns}) "
        f"select {names} from json_to_recordset(%s::json) as g({shape}) returning id"
    )

    def write(found: list[dict[str, Any]]) -> None:
        cursor = connection.execute(sql.encode(), (json.dumps(found),))
        assert len(cursor.fetchall()) == ROWS

    return write


def our_side(port: int, key: str) -> Callable[[list[dict[str, Any]]], None]:
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": key}, timeout=60
    )

    def write(found: list[dict[str, Any]]) -> None:
        answer = client.post("/api/v1/customers/bulk", json={"items": found})
        assert answer.status_code == 200, answer.text
        assert answer.json()["summary"]["succeeded"] == ROWS

    return write


def measure(url: str, entity: Entity, key: str, rounds: int, log: str) -> dict[str, list[float]]:
    port = free_port()
    bench = Bench(url, key, "", [])
    spawn = multiprocessing.get_context("spawn")
    server = spawn.Process(target=serve_ours, args=(bench, port, log), daemon=True)
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    server.start()
    try:
        wait_for(port)
        sides = {"bare": bare_side(url, entity), "ours": our_side(port, key)}
        for number in range(rounds + 2):
            found = rows(number * ROWS)
            for side, write in sides.items():
                started = time.perf_counter()
                write(found)
                if number >= 2:  # the first rounds warm plans and caches up
                    times[side].append(time.perf_counter() - started)
    finally:
        server.terminate()
        server.join(10)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres")
        postgres.start()
        try:
            with psycopg.connect(
                postgres.url("postgres", user="postgres"), autocommit=True
            ) as admin:
                admin.execute("create database bench owner hubblewave")
            url = postgres.url("bench")
            entity, key = prepare(url)
            times = measure(url, entity, key, chosen.rounds, f"{directory}/log")
        finally:
            postgres.stop()
    bare, ours = (statistics.median(times[side]) * 1000 for side in ("bare", "ours"))
    print(f"{'side':<8}{'ms for 1,000 (median)':>24}   rounds")
    for side, middle in (("bare", bare), ("ours", ours)):
        shown = " ".join(f"{seconds * 1000:.0f}" for seconds in times[side])
        print(f"{side:<8}{middle:>24.1f}   {shown}")
    result = {
        "bench": "bulk_create",
        "rows": ROWS,
        "fields": len(ENTITY["fields"]),
        "ours_ms": round(ours, 1),
        "bare_ms": round(bare, 1),
        "ratio": round(ours / bare, 2),
        "target": TARGET,
        "met": ours / bare <= TARGET,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
