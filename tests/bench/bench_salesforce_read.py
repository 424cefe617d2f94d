"""Reading 100,000 Salesforce accounts: REST, Bulk API 2.0 and simple-salesforce, in rows a second and requests.

The sandbox runs in a process of its own and makes the records' text anew for each answer, so that
figures are bounds from below: part of each second is the sandbox's.
"""

import argparse
import csv
import io
import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import requests
from rich.console import Console
from rich.table import Table
from simple_salesforce import Salesforce

from hubblewave_pipelines.commands.salesforce_demo import Beside
from hubblewave_pipelines.connectors.registry import manners
from hubblewave_pipelines.connectors.salesforce import connect
from hubblewave_pipelines.core.stream import Window
from tests.plugins.salesforce_client import PlainHttp
from tests.plugins.sessions import plain_session

FIELDS = (
    "Name", "Type", "Industry", "BillingCity", "BillingCountry", "Phone", "Website",
    "AnnualRevenue", "NumberOfEmployees", "Active__c", "Founded__c", "LastAudit__c",
)  # fmt: skip


@contextmanager
def sandbox(records: int) -> Iterator[dict[str, Any]]:
    beside = Beside(records)
    try:
        yield beside.told
    finally:
        beside.stop()


def ours(told: dict[str, Any], bulk_above: int) -> dict[str, Any]:
    with plain_session(told["url"], told["credentials"], manners=manners("salesforce")) as session:
        connector = connect({"baseUrl": told["url"], "bulkAbove": bulk_above}, session)
        stream = connector.describe("Account")
        connector.safe_mark(stream)
        plan = connector.plan(stream, FIELDS, Window())
        before, started, cpu = session.requests, time.perf_counter(), time.process_time()
        rows = least = 0
        for page in connector.read(plan, plan.slices[0], None):
            rows += page.rows
            least += page.min_requests
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return {
            "rows": rows,
            "seconds": seconds,
            "cpu": cpu,
            "requests": session.requests - before,
            "minimum": least,
        }


def theirs(told: dict[str, Any]) -> dict[str, Any]:
    """simple-salesforce's bulk2 and the csv module: what a script would do."""
    form = {
        name: told["credentials"][key]
        for name, key in (("client_id", "clientId"), ("client_secret", "clientSecret"))
    }
    token = httpx.post(
        f"{told['url']}/services/oauth2/token", data={"grant_type": "client_credentials", **form}
    ).json()
    session = requests.Session()
    session.mount("https://", PlainHttp())
    client = Salesforce(
        instance_url=token["instance_url"], session_id=token["access_token"], session=session
    )
    asked = _asked(told)
    started, cpu = time.perf_counter(), time.process_time()
    query = " ".join(("SELECT", ", ".join(("Id", "SystemModstamp", *FIELDS)), "FROM", "Account"))
    rows = 0
    for page in client.bulk2.Account.query(query):
        rows += sum(1 for _ in csv.reader(io.StringIO(page, newline=""))) - 1
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "rows": rows,
        "seconds": seconds,
        "cpu": cpu,
        "requests": _asked(told) - asked,
        "minimum": 3,
    }


def _asked(told: dict[str, Any]) -> int:
    return int(httpx.get(f"{told['url']}/__sandbox").json()["requests"]["total"])


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--records", type=int, default=100_000)
    records = arguments.parse_args().records
    table = Table(
        "", "rows", "s", "rows/s", "rows per CPU-s", "requests", "minimum", "requests/minimum"
    )
    figures: dict[str, Any] = {}
    with sandbox(records) as told:
        for name, measure in (
            ("ours, Bulk API 2.0 past the first page", lambda: ours(told, 10_000)),
            ("ours, REST only", lambda: ours(told, 10**9)),
            ("simple-salesforce bulk2 + csv", lambda: theirs(told)),
        ):
            found = measure()
            assert found["rows"] == records, found
            figures[name] = found
            table.add_row(
                name,
                f"{found['rows']:,}",
                f"{found['seconds']:.2f}",
                f"{found['rows'] / found['seconds']:,.0f}",
                f"{found['rows'] / found['cpu']:,.0f}",
                str(found["requests"]),
                str(found["minimum"]),
                f"{found['requests'] / found['minimum']:.2f}",
            )
    Console().print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"bench": "salesforce_read", "peakMb": peak, **figures}))


if __name__ == "__main__":
    main()
