"""GraphQL against REST: the same list of 100 records x 10 fields, and 50 parents x 10 children.

The sides take short turns in one run against one server, so that their ratio means something on a
machine that is busy with other things. Each GraphQL side is measured twice: as one request again
and again, and with variables that never come twice, so that nothing but the parsed document is
remembered. Prints a table and a JSON line; run it with
`python tests/bench/bench_graphql.py [--seconds S] [--rounds N]`.
"""

import argparse
import asyncio
import itertools
import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import psycopg

from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.ddl import Wish, change_definition, define
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from tests.bench.bench_rest_list import (
    CUSTOMER,
    PAGE,
    Bench,
    free_port,
    prepare,
    repeat,
    serve_ours,
    wait_for,
)

PARENTS, CHILDREN = 50, 10
TARGET = 0.8  # of the REST list's requests per second

SALE = {
    "name": "Sale",
    "pluralName": "sales",
    "fields": [{"name": "number", "type": "text"}, {"name": "total", "type": "decimal"}],
    "relationships": [{"name": "customer", "type": "manyToOne", "targetEntity": "Customer"}],
}
SALES = {"name": "sales", "type": "oneToMany", "targetEntity": "Sale", "field": "customerId"}
OWN = ["id", "createdAt", *(field["name"] for field in CUSTOMER["fields"])]
LIST = f"""query ($min: Int) {{ customers(pagination: {{pageSize: {PAGE}}},
  filter: {{version_gte: $min}}) {{
  items {{ {" ".join(OWN)} updatedAt version }} pageInfo {{ hasNextPage }} }} }}"""
NESTED = f"""query ($min: Int) {{ customers(pagination: {{pageSize: {PARENTS}}},
  filter: {{version_gte: $min}}) {{
  items {{ id name tier sales(pagination: {{pageSize: {CHILDREN}}}) {{ id number total }} }} }} }}"""


def add_sales(url: str) -> None:
    """Ten sales or more for each of the first 1,000 customers."""
    owner = Database(url, Role.OWNER)
    with owner.transaction() as tx:
        tenant = tx.one(tenants.tenant_by_slug("bench"))
    assert tenant is not None
    catalog = define(owner, tenant, SALE)
    customer, sale = catalog.named("Customer"), catalog.named("Sale")
    assert customer is not None
    assert sale is not None
    wish = {**CUSTOMER, "relationships": [SALES]}
    change_definition(owner, tenant.id, Wish("Customer", wish), requested_by=None)
    columns = ", ".join([*(field.column for field in sale.fields), sale.relations[0].column])
    with owner.connect() as connection:
        connection.execute(
            f"insert into {sale.schema}.{sale.table} ({columns}) select 'S-' || n, n * 1.5, c.id"
            f" from (select id from {customer.schema}.{customer.table} order by id limit 1000) c,"
            " generate_series(1, 12) n".encode()
        )
        connection.execute(f"vacuum analyze {sale.schema}.{sale.table}".encode())
    owner.close()


def get(path: str, key: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n\r\n".encode()


def post(document: str, key: str, number: int) -> bytes:
    body = json.dumps({"query": document, "variables": {"min": number}}).encode()
    head = f"POST /graphql HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def measure(bench: Bench, seconds: float, rounds: int, log: str) -> dict[str, list[float]]:
    port = free_port()
    server = multiprocessing.get_context("spawn").Process(
        target=serve_ours, args=(bench, port, log), daemon=True
    )

    def page(body: bytes) -> bool:
        return body.count(b'"createdAt"') == PAGE

    def tree(body: bytes) -> bool:
        return body.count(b'"number"') == PARENTS * CHILDREN

    expand = f"sales(pageSize={CHILDREN};fields=id,number,total)"
    paths = {
        "rest": f"/api/v1/customers?pageSize={PAGE}&filter[version][gte]=1",
        "rest nested": f"/api/v1/customers?pageSize={PARENTS}&filter[version][gte]=1"
        f"&fields=id,name,tier&expand={expand}",
    }
    fresh = itertools.count(-(10**6))
    sides: dict[str, tuple[Callable[[], bytes], Callable[[bytes], bool]]] = {
        "rest": (lambda: get(paths["rest"], bench.key), page),
        "graphql": (lambda: post(LIST, bench.key, 1), page),
        "graphql fresh": (lambda: post(LIST, bench.key, next(fresh)), page),
        "rest nested": (lambda: get(paths["rest nested"], bench.key), tree),
        "nested": (lambda: post(NESTED, bench.key, 1), tree),
        "nested fresh": (lambda: post(NESTED, bench.key, next(fresh)), tree),
    }
    rates: dict[str, list[float]] = {side: [] for side in sides}
    try:
        server.start()
        wait_for(port)
        for request, whole in sides.values():
            asyncio.run(repeat(port, request(), 1.0, whole))
        for _ in range(rounds):
            for side, (request, whole) in sides.items():
                made = request if side.endswith("fresh") else request()
                rates[side].append(asyncio.run(repeat(port, made, seconds, whole)))
    finally:
        server.terminate()
        server.join(10)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a round")
    parser.add_argument("--rounds", type=int, default=12)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres")
        postgres.start()
        try:
            with psycopg.connect(
                postgres.url("postgres", user="postgres"), autocommit=True
            ) as admin:
                admin.execute("create database bench owner hubblewave")
            bench = prepare(postgres.url("bench"))
            add_sales(postgres.url("bench"))
            rates = measure(bench, chosen.seconds, chosen.rounds, f"{directory}/log")
        finally:
            postgres.stop()
    medians = {side: statistics.median(found) for side, found in rates.items()}
    print(f"{'side':<16}{'requests/s (median)':>22}{'of REST list':>14}   rounds")
    for side, rate in medians.items():
        shown = " ".join(f"{r:.0f}" for r in rates[side])
        print(f"{side:<16}{rate:>22.0f}{rate / medians['rest']:>14.2f}   {shown}")
    print(f"target: graphql and nested at least {TARGET} of the REST list")
    ratios = {side: round(rate / medians["rest"], 3) for side, rate in medians.items()}
    result = {
        "bench": "graphql",
        "rows": PAGE,
        "parents": PARENTS,
        "children": CHILDREN,
        "rest_per_second": round(medians["rest"], 1),
        "list_ratio": ratios["graphql"],
        "list_fresh_ratio": ratios["graphql fresh"],
        "nested_ratio": ratios["nested"],
        "nested_fresh_ratio": ratios["nested fresh"],
        "nested_of_rest_nested": round(medians["nested"] / medians["rest nested"], 3),
        "target": TARGET,
        "met": min(ratios["graphql"], ratios["nested"]) >= TARGET,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
