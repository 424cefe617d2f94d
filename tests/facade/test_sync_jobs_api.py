"""Sync jobs over HTTP: every fault with its pointer, and a job from its making to its dead letters and back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import SyncRun
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.sync.asking import run_ask
from hubblewave_pipelines.sync.connecting import Connected, connected
from hubblewave_pipelines.sync.inbound import run_sync
from tests.connectors.test_custom import Api, config
from tests.facade.conftest import settings_for
from tests.plugins.receiver import Receiver, receiving

PATH = "/api/v1/sync-jobs"
THING = {
    "name": "Thing",
    "pluralName": "things",
    "fields": [
        {"name": "key", "type": "text", "unique": True},
        {"name": "n", "type": "integer", "max": 44},
        {"name": "city", "type": "text"},
        {"name": "gone", "type": "boolean"},
    ],
}
MAPPING = [
    {"sourceField": "id", "targetField": "key"},
    {"sourceField": "n", "targetField": "n"},
    {"sourceField": "city", "targetField": "city", "transform": "upper"},
]


@pytest.fixture
def api_settings(database_url: str, data_dir: Path) -> Settings:
    return settings_for(database_url, data_dir, egress_allow="127.0.0.1/32:*")


@dataclass(frozen=True)
class _Opened:
    found: Connected

    @property
    def connector(self) -> Any:
        return self.found.connector

    @property
    def requests(self) -> int:
        return self.found.session.requests


@pytest.fixture
def work_off_sync(
    worker_database: Database, api_settings: Settings, tenant: Tenant
) -> Callable[[dict[str, Any]], SyncRun]:
    """Does what the Dagster run does for one run of a sync."""

    @contextmanager
    def connect(job: SyncJob) -> Iterator[_Opened]:
        with connected(worker_database, api_settings, tenant.id, job.connector_id) as found:
            yield _Opened(found)

    def work(run: dict[str, Any]) -> SyncRun:
        return run_sync(
            worker_database,
            connect,
            tenant.id,
            UUID(run["id"]),
            dagster_run_id="run-1",
            still_held=lambda: None,
            progress=lambda _: None,
        )

    return work


def prepared(admin: httpx.Client, system: Receiver) -> str:
    """An entity and a connector; the connector's id."""
    assert admin.post("/api/v1/entities", json=THING).status_code == 201
    body = {"name": "Shop", "type": "custom", "config": config(system, "cursor")}
    made = admin.post("/api/v1/connectors", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def wish(**more: Any) -> dict[str, Any]:
    return {
        "name": "Things",
        "connector": "Shop",
        "sourceEntity": "things",
        "targetEntity": "Thing",
        "fieldMapping": MAPPING,
        **more,
    }


def test_a_job_runs_tells_what_it_left_out_and_takes_it_when_it_can(
    admin: httpx.Client, work_off_sync: Callable[[dict[str, Any]], SyncRun]
) -> None:
    with receiving(Api(47)) as system:
        prepared(admin, system)
        made = admin.post(PATH, json=wish(matchField="key"))
        assert made.status_code == 201, made.text
        path, job = made.headers["location"], made.json()
        assert (job["status"], job["mark"], job["direction"]) == ("active", None, "inbound")

        asked = admin.post(f"{path}/run", json={})
        assert asked.status_code == 202, asked.text
        assert asked.headers["location"] == asked.json()["url"]
        assert admin.post(f"{path}/run").status_code == 409, "asked for twice at once"
        work_off_sync(asked.json())
        run = admin.get(asked.json()["url"]).json()
        assert (run["status"], run["processed"], run["success"]) == ("partial", 47, 45)
        assert (run["created"], run["failed"]) == (45, 2)
        assert run["windows"][0]["rows"] == 47
        assert admin.get(path).json()["mark"] == run["mark"] is not None
        found = admin.get("/api/v1/things?filter[key]=k0001").json()["items"]
        assert found[0]["city"] == "ZÜRICH 1"

        letters = admin.get("/api/v1/dead-letters", params={"syncJobId": job["id"]}).json()
        assert [each["key"] for each in letters["items"]] == ["k0046", "k0045"]
        assert letters["items"][0]["errors"][0]["field"] == "n"
        changed = admin.get("/api/v1/entities/Thing").json()
        changed["fields"][1].pop("max", None)
        answer = admin.put("/api/v1/entities/Thing", json={**THING, "fields": changed["fields"]})
        assert answer.status_code == 200, answer.text

        api_config = config(system, "cursor", itemPath="/one/{key}")
        connector = f"/api/v1/connectors/{job['connector']}"
        assert admin.patch(connector, json={"config": api_config}).status_code == 200
        replay = admin.post("/api/v1/dead-letters/replay", json={"syncJobId": job["id"]})
        assert replay.status_code == 202, replay.text
        assert replay.json()["kind"] == "replay"
        work_off_sync(replay.json())
        assert admin.get("/api/v1/dead-letters?status=open").json()["items"] == []
        assert admin.get("/api/v1/things?count=exact").json()["pageInfo"]["totalItems"] == 47
        again = admin.post("/api/v1/dead-letters/replay", json={"syncJobId": job["id"]})
        assert again.status_code == 409

        window = {"from": "2026-01-01T00:05:00Z", "to": "2026-01-01T00:10:00Z"}
        asked = admin.post(f"{path}/run", json=window).json()
        work_off_sync(asked)
        run = admin.get(asked["url"]).json()
        assert (run["kind"], run["status"], run["processed"]) == ("window", "success", 5)
        assert (run["unchanged"], run["created"], run["updated"]) == (5, 0, 0)
        coverage = admin.get(f"{path}/coverage").json()
        assert coverage["gaps"] == []
        assert coverage["covered"]

        cleared = admin.post(f"{path}/reset", json={"state": True}).json()
        assert (cleared["mark"], cleared["status"]) == (None, "active")
        assert admin.get(f"{path}/coverage").json()["covered"] == []
        assert len(admin.get(f"{path}/runs").json()["items"]) == 3
        assert admin.get(f"{path}/runs?status=partial").json()["pageInfo"]["totalItems"] == 1
        connector_now = admin.get(connector).json()
        assert connector_now["lastSyncAt"] is not None
        assert admin.delete(connector).status_code == 409
        assert admin.delete(path).status_code == 204
        assert admin.get("/api/v1/things?count=exact").json()["pageInfo"]["totalItems"] == 47


def test_a_mapping_is_suggested_and_held_to_what_was_discovered(
    admin: httpx.Client, worker_database: Database, api_settings: Settings, tenant: Tenant
) -> None:
    with receiving(Api(3)) as system:
        connector = prepared(admin, system)
        unknown = admin.post(PATH, json=wish(fieldMapping=None))
        assert [f["pointer"] for f in unknown.json()["errors"]] == ["#/fieldMapping"]
        ask = admin.get(
            f"/api/v1/connectors/{connector}/discover?stream=things", headers={"Prefer": "wait=0"}
        ).json()
        run_ask(
            worker_database,
            api_settings,
            tenant.id,
            UUID(ask["id"]),
            run_id="r",
            still_held=lambda: None,
        )
        suggested = admin.post(PATH, json=wish(fieldMapping=None, connector=connector))
        assert suggested.status_code == 201, suggested.text
        mapped = {m["sourceField"]: m["targetField"] for m in suggested.json()["fieldMapping"]}
        assert mapped == {"n": "n", "city": "city"}
        wrong = [{"sourceField": "cty", "targetField": "city"}, MAPPING[0]]
        refused = admin.post(PATH, json=wish(name="other", fieldMapping=wrong))
        assert [f["pointer"] for f in refused.json()["errors"]] == ["#/fieldMapping/0/sourceField"]


def test_schedules_pause_and_changes(admin: httpx.Client) -> None:
    with receiving(Api(3)) as system:
        prepared(admin, system)
        body = wish(schedule="0 3 * * *", timezone="Europe/Berlin", startDate="2025-01-01")
        path = admin.post(PATH, json=body).headers["location"]
        job = admin.get(path).json()
        due = datetime.fromisoformat(job["nextRunAt"])
        assert due.minute == 0
        assert due.hour in (1, 2)
        assert job["startDate"] == "2025-01-01T00:00:00Z"
        paused = admin.post(f"{path}/pause").json()
        assert (paused["status"], paused["nextRunAt"]) == ("paused", None)
        assert admin.patch(path, json={"schedule": "0 4 * * *"}).json()["nextRunAt"] is None
        resumed = admin.post(f"{path}/resume").json()
        assert resumed["status"] == "active"
        assert datetime.fromisoformat(resumed["nextRunAt"]).hour in (2, 3)
        assert (
            admin.patch(path, json={"schedule": None, "timezone": None}).json()["nextRunAt"] is None
        )
        assert admin.get(f"{PATH}?status=active").json()["pageInfo"]["totalItems"] == 1
        assert admin.get(f"{PATH}?status=paused").json()["items"] == []
        asked = admin.post(f"{path}/run").json()
        cancelled = admin.post(f"{asked['url']}/cancel")
        assert cancelled.json()["status"] == "cancelled"
        assert admin.post(f"{asked['url']}/cancel").status_code == 409
        assert admin.post(PATH, json=wish(name="THINGS")).status_code == 409


FAULTS: list[tuple[Any, list[str]]] = [
    ([], ["#", "#/connector"]),
    ({}, ["#/connector", "#/name", "#/sourceEntity", "#/targetEntity"]),
    (wish(connector="Shopp"), ["#/connector"]),
    (wish(targetEntity="Thng"), ["#/targetEntity"]),
    (
        wish(direction="both", window="weekly", emitEvents=1),
        ["#/direction", "#/emitEvents", "#/window"],
    ),
    (wish(schedule="daily", timezone="Mars"), ["#/schedule", "#/timezone"]),
    (wish(startDate="yesterday", snapshotHours=0), ["#/snapshotHours", "#/startDate"]),
    (
        wish(brake={"rows": -1, "percent": 101, "x": 1}),
        ["#/brake/percent", "#/brake/rows", "#/brake/x"],
    ),
    (wish(deletePolicy="mark"), ["#/deleteField"]),
    (wish(deletePolicy="mark", deleteField="city"), ["#/deleteField"]),
    (wish(matchField="city"), ["#/matchField"]),
    (
        wish(fieldMapping=[{"sourceField": "a", "targetField": "b"}]),
        ["#/fieldMapping/0/targetField"],
    ),
    (wish(nmae="x"), ["#/nmae"]),
]


def test_every_fault_is_told_with_its_pointer(admin: httpx.Client) -> None:
    with receiving(Api(1)) as system:
        prepared(admin, system)
        for body, pointers in FAULTS:
            answer = admin.post(PATH, json=body)
            assert answer.status_code == 422, answer.text
            assert sorted(fault["pointer"] for fault in answer.json()["errors"]) == pointers, body
        assert admin.get(PATH).json()["items"] == []
        path = admin.post(PATH, json=wish()).headers["location"]
        for body, pointers in (
            ({"from": "2026-01-01T00:00:00Z"}, ["#/to"]),
            ({"from": "x", "until": 1}, ["#/from", "#/until"]),
            ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, ["#/to"]),
            ([], ["#"]),
        ):
            answer = admin.post(f"{path}/run", json=body)
            assert sorted(fault["pointer"] for fault in answer.json()["errors"]) == pointers
        assert admin.post(f"{path}/reset", json={}).json()["errors"][0]["pointer"] == "#/state"
        fixed = admin.patch(path, json={"targetEntity": "Other", "connector": "x"}).json()
        assert {f["pointer"] for f in fixed["errors"]} == {"#/connector", "#/targetEntity"}
        assert admin.get("/api/v1/dead-letters?status=closed").status_code == 400
        replay = admin.post("/api/v1/dead-letters/replay", json={"syncJobId": "x"})
        assert replay.json()["errors"][0]["pointer"] == "#/syncJobId"
