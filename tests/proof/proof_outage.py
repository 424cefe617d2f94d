"""The outage rehearsal, through the real processes: two hours without Salesforce, then a backfill.

`hubblewave up` and `hubblewave sandbox salesforce` run as they do for a user. Accounts are synced;
then the sandbox does not answer for two hours of its clock while records are edited, created and
deleted in it; afterwards exactly the windows of the outage are back-filled from Dagster, as its
dialog does it (launchPartitionBackfill). Shown: the windows that were read, requests against the
minimum, that the tables are equal and that nothing is doubled.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import httpx

from hubblewave_pipelines.commands.demo import Platform
from tests.proof.pictures import take

_LIMIT = 240.0  # seconds to wait for anything
ACCOUNT = {
    "name": "Account",
    "pluralName": "Accounts",
    "fields": [
        {"name": "salesforceId", "type": "text", "required": True, "unique": True},
        {"name": "name", "type": "text"},
        {"name": "city", "type": "text"},
    ],
}
MAPPING = [
    {"sourceField": "Id", "targetField": "salesforceId"},
    {"sourceField": "Name", "targetField": "name"},
    {"sourceField": "BillingCity", "targetField": "city"},
]
BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
    ... on PartitionKeysNotFoundError { message } ... on UnauthorizedError { message } } }
"""
BACKFILL_STATUS = """
query Status($id: String!) { partitionBackfillOrError(backfillId: $id) {
    __typename ... on PartitionBackfill { status } ... on PythonError { message } } }
"""


def until(what: str, ask: Callable[[], Any]) -> Any:
    """What `ask` answers once that is something."""
    deadline = time.monotonic() + _LIMIT
    while time.monotonic() < deadline:
        found = ask()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {_LIMIT:.0f} s: {what}")


class Rehearsal:
    def __init__(self, client: httpx.Client, dagster: str, sandbox: httpx.Client) -> None:
        self.client = client
        self.dagster = dagster
        self.sandbox = sandbox
        self.job: dict[str, Any] = {}

    def post(self, path: str, body: Any) -> dict[str, Any]:
        answer = self.client.post(f"/api/v1{path}", json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def control(self, name: str, **body: Any) -> dict[str, Any]:
        answer = self.sandbox.post(f"/__sandbox/{name}", json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def make(self, connector: dict[str, Any]) -> None:
        self.post("/entities", ACCOUNT)
        made = self.post("/connectors", {"name": "Salesforce", **connector})
        self.job = self.post(
            "/sync-jobs",
            {
                "name": "Accounts",
                "connector": made["id"],
                "sourceEntity": "Account",
                "targetEntity": "Account",
                "fieldMapping": MAPPING,
            },
        )

    @property
    def path(self) -> str:
        return f"/api/v1/sync-jobs/{self.job['id']}"

    def run(self) -> dict[str, Any]:
        asked = self.post(f"/sync-jobs/{self.job['id']}/run", {})
        return self.ended(asked["id"])

    def ended(self, run_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = dict(self.client.get(f"{self.path}/runs/{run_id}").json())
            return None if found["status"] in ("pending", "running") else found

        return dict(until(f"run {run_id} ends", look))

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        body = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.dagster}/graphql", json=body, timeout=30)
        return dict(next(iter(answer.json()["data"].values())))

    def asset(self) -> list[str]:
        return ["sync", "default", f"Account_{self.job['id'].replace('-', '')[-8:]}"]

    def backfill(self, hours: list[str]) -> str:
        """As the dialog does: the asset, and the partitions chosen in it."""
        params = {"assetSelection": [{"path": self.asset()}], "partitionNames": hours}
        made = until("the asset is in the graph", lambda: self._launched(params))
        return str(made["backfillId"])

    def _launched(self, params: dict[str, Any]) -> dict[str, Any] | None:
        found = self.graphql(BACKFILL, params=params)
        return found if found["__typename"] == "LaunchBackfillSuccess" else None

    def backfilled(self, backfill: str) -> None:
        def done() -> bool:
            status = self.graphql(BACKFILL_STATUS, id=backfill).get("status")
            assert status not in ("COMPLETED_FAILED", "FAILED", "CANCELED"), status
            return status in ("COMPLETED", "COMPLETED_SUCCESS")

        until(f"backfill {backfill} ends", done)

    def local(self) -> list[tuple[str, str | None]]:
        found: list[tuple[str, str | None]] = []
        after = None
        while True:
            params = {"pageSize": "1000", "fields": "salesforceId,name"}
            if after:
                params["after"] = after
            page = self.client.get("/api/v1/accounts", params=params).json()
            found += [(one["salesforceId"], one["name"]) for one in page["items"]]
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = page["pageInfo"]["endCursor"]


def pages(rehearsal: Rehearsal) -> dict[str, str]:
    """What a data engineer looks at: the asset's partitions, its lineage, the backfill's run."""
    asset = "/".join(rehearsal.asset())
    runs = rehearsal.client.get(f"{rehearsal.path}/runs").json()["items"]
    window = next(run for run in runs if run["kind"] == "window")
    shown = {
        "outage-partitions": f"/assets/{asset}?view=partitions",
        "outage-asset": f"/assets/{asset}?view=overview",
        "outage-lineage": f"/assets/{asset}?view=lineage&lineageScope=neighbors",
        "outage-backfills": "/runs?view=backfills",
    }
    if window.get("runUrl"):
        shown["outage-run"] = httpx.URL(window["runUrl"]).path
    return shown


def remote(rehearsal: Rehearsal, token: str) -> dict[str, str | None]:
    """Every account as Salesforce shows it, by its own paging."""
    found: dict[str, str | None] = {}
    path, params = "/services/data/v62.0/query", {"q": "select Id, Name from Account"}
    while path:
        answer = rehearsal.sandbox.get(
            path, params=params, headers={"Authorization": f"Bearer {token}"}
        ).json()
        found |= {row["Id"]: row["Name"] for row in answer["records"]}
        path, params = answer.get("nextRecordsUrl", ""), {}
    return found


def rehearse(rehearsal: Rehearsal, started: datetime, token: Callable[[], str]) -> dict[str, Any]:
    print(f"1. first sync at {started:%Y-%m-%d %H:%M} of the system's clock")
    rehearsal.control("clock", advance=1200)
    first = rehearsal.run()
    print(f"   {first['status']}: {first['created']} created, {first['requests']} requests")
    assert first["status"] == "success"
    keys = sorted(dict(rehearsal.local()))
    begin, end = started + timedelta(hours=1), started + timedelta(hours=3)
    rehearsal.control("clock", now=(begin - timedelta(minutes=5)).isoformat())
    rehearsal.control("outage", **{"from": begin.isoformat(), "to": end.isoformat()})
    rehearsal.run()
    print(f"2. outage {begin:%H:%M} to {end:%H:%M}: edits, new records and deletes meanwhile")
    rehearsal.control("clock", now=(begin + timedelta(minutes=10)).isoformat())
    asked = rehearsal.post(f"/sync-jobs/{rehearsal.job['id']}/run", {})
    for minute in range(10, 110, 5):
        at = (begin + timedelta(minutes=minute)).isoformat()
        number = minute // 5
        rehearsal.control(
            "edits", table="Account", key=keys[number], values={"Name": f"Edited {minute}"}, at=at
        )
        rehearsal.control("creates", table="Account", values={"Name": f"New {minute}"}, at=at)
        rehearsal.control("deletes", table="Account", keys=[keys[-number]], at=at)
    time.sleep(5)  # the run meets the outage
    cancelled = rehearsal.client.post(f"{rehearsal.path}/runs/{asked['id']}/cancel")
    failed = rehearsal.ended(asked["id"])
    print(f"   the run of that time: {failed['status']} ({cancelled.status_code})")
    rehearsal.control("clock", now=(end + timedelta(minutes=30)).isoformat())
    stale = dict(rehearsal.local())
    apart = {k for k, v in remote(rehearsal, token()).items() if stale.get(k) != v}
    print(f"   afterwards {len(apart)} records differ or are missing here")
    assert apart
    hours = [f"{begin:%Y-%m-%d-%H:%M}", f"{begin + timedelta(hours=1):%Y-%m-%d-%H:%M}"]
    print(f"3. backfill of {hours} from Dagster")
    mark = rehearsal.client.get(rehearsal.path).json()["mark"]
    rehearsal.backfilled(rehearsal.backfill(hours))
    runs = rehearsal.client.get(f"{rehearsal.path}/runs").json()["items"]
    windows = [run for run in runs if run["kind"] == "window"]
    read = sorted((run["from"], run["to"]) for run in windows)
    print(f"   read {read}; {[run['status'] for run in windows]}")
    assert {low for low, _ in read} >= {min(low for low, _ in read)}
    assert datetime.fromisoformat(read[0][0]) == begin
    assert datetime.fromisoformat(read[-1][1]) == end
    assert rehearsal.client.get(rehearsal.path).json()["mark"] == mark
    local = rehearsal.local()
    there = remote(rehearsal, token())
    doubled = len(local) - len(dict(local))
    print(
        f"   here {len(local)} records, there {len(there)}; equal: {dict(local) == there}; doubled: {doubled}"
    )
    assert dict(local) == there
    assert doubled == 0
    rest = rehearsal.run()
    assert (rest["created"], rest["updated"], rest["deleted"]) == (0, 0, 0), rest
    coverage = rehearsal.client.get(f"{rehearsal.path}/coverage").json()
    assert coverage["gaps"] == []
    requests = sum(run["requests"] for run in windows)
    least = sum(run["minRequests"] for run in windows)
    print(
        f"4. live again: nothing was left to do; the backfill made {requests} requests (least {least})"
    )
    return {"records": len(local), "apart": len(apart), "requests": requests, "least": least}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=2_000)
    parser.add_argument(
        "--pictures", type=Path, help="take pictures of Dagster into this directory"
    )
    asked = parser.parse_args()
    os.environ["HUBBLEWAVE_EGRESS_ALLOW"] = "127.0.0.1/32:*"  # noqa: TID251 - for `up`
    started = (datetime.now(UTC) - timedelta(hours=8)).replace(minute=0, second=0, microsecond=0)
    command = [sys.executable, "-m", "hubblewave_pipelines", "sandbox", "salesforce", "--json"]
    command += ["--records", str(asked.records), "--clock", started.isoformat()]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hw-proof-") as directory:
        platform = Platform(Path(directory), api_port=0, dagster_port=0)
        sandbox = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert sandbox.stdout is not None
            told = _announced(sandbox.stdout)
            platform.wait()
            headers = {"X-API-Key": platform.key()}
            url = platform.ready["api_url"]
            with (
                httpx.Client(base_url=url, headers=headers, timeout=60) as client,
                httpx.Client(base_url=told["url"], timeout=60) as control,
            ):
                rehearsal = Rehearsal(client, platform.ready["dagster_url"], control)
                rehearsal.make({name: told[name] for name in ("type", "config", "credentials")})
                given = told["credentials"]
                shown = rehearse(rehearsal, started, lambda: _token(control, given))
                if asked.pictures is not None:
                    take(platform.ready["dagster_url"], pages(rehearsal), asked.pictures)
        finally:
            platform.stop()
            sandbox.send_signal(signal.SIGINT)
            sandbox.wait(30)
    print(json.dumps({"proof": "outage", "seconds": round(time.monotonic() - began), **shown}))


def _announced(lines: IO[str]) -> dict[str, Any]:
    """What the sandbox says of itself: one JSON document of several lines."""
    text = ""
    for line in lines:
        text += line
        if line.rstrip() == "}":
            return dict(json.loads(text))
    raise AssertionError(f"the sandbox did not start: {text}")


def _token(sandbox: httpx.Client, given: dict[str, str]) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": given["clientId"],
        "client_secret": given["clientSecret"],
    }
    answer = sandbox.post("/services/oauth2/token", data=form)
    assert answer.is_success, answer.text
    return str(answer.json()["access_token"])


if __name__ == "__main__":
    main()
