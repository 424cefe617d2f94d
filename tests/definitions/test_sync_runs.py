"""Syncs in Dagster: the asset, its windows, its checks, and the requests that a run makes for itself."""

import json
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance

from hubblewave_pipelines.definitions.entities import definitions_of, read_state_of_graph
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.definitions.sensors import dispatch
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import sync_runs, work
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.defs_states import graph_mark
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import SyncRun
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.sync.inbound import run_sync
from hubblewave_pipelines.sync.schedules import ask, make_due_syncs
from tests.sync.conftest import DEAL, Syncing
from tests.sync.fake_vendor import START, FakeVendor, opened

VENDORS: dict[str, FakeVendor] = {}  # by database URL: Dagster copies a resource before each run


class SyncPlatform(Platform):
    """The real database and engine, with an external system in memory."""

    url: str

    @property
    def settings(self) -> Settings:  # type: ignore[override]
        return Settings(database_url=self.url)

    def run_sync(
        self,
        tenant_id: uuid.UUID,
        sync_run_id: uuid.UUID,
        *,
        run_id: str,
        still_held: Callable[[], None],
        progress: Callable[[Any], None],
    ) -> SyncRun:
        return run_sync(
            self.database,
            partial(opened, VENDORS[self.url]),
            tenant_id,
            sync_run_id,
            dagster_run_id=run_id,
            still_held=still_held,
            progress=progress,
        )


class Graph:
    def __init__(self, syncing: Syncing, instance: DagsterInstance, url: str) -> None:
        VENDORS[url] = syncing.vendor
        self.syncing = syncing
        self.instance = instance
        self.platform = SyncPlatform(url=url)

    def definitions(self) -> dg.Definitions:
        state = json.loads(read_state_of_graph(self.syncing.worker))
        made = definitions_of(state, "1")
        return dg.Definitions.merge(
            dg.Definitions(
                assets=made.assets,
                asset_checks=made.asset_checks,
                jobs=made.jobs,
                executor=made.executor,
                resources={"platform": self.platform},
            )
        )

    def key(self, job: SyncJob) -> dg.AssetKey:
        return dg.AssetKey(["sync", "default", f"Deal_{job.id.hex[-8:]}"])

    def run(self, job: SyncJob, **tags: str) -> dg.ExecuteInProcessResult:
        found = self.definitions().resolve_job_def(f"syncs_{job.window_size}")
        return found.execute_in_process(
            instance=self.instance,
            asset_selection=[self.key(job)],
            tags=tags,
            raise_on_error=False,
        )

    def runs(self, job: SyncJob) -> list[SyncRun]:
        with self.syncing.worker.transaction(self.syncing.tenant.id) as tx:
            return tx.all(sync_runs.runs_of(self.syncing.tenant.id, job.id, limit=99, offset=0))


@pytest.fixture
def graph(
    owner_database: Database,
    worker_database: Database,
    tenant: Tenant,
    ephemeral: DagsterInstance,
    database_url: str,
) -> Iterator[Graph]:
    catalog = define(owner_database, tenant, DEAL)
    syncing = Syncing(owner_database, worker_database, tenant, catalog)
    for number in range(10):
        syncing.vendor.put(f"k{number:03}", Name=f"deal {number}")
        syncing.vendor.tick()
    made = Graph(syncing, ephemeral, database_url)
    yield made
    made.platform.database.close()


def _made(result: dg.ExecuteInProcessResult) -> list[tuple[str, str | None]]:
    return [
        (event.asset_key.to_user_string(), event.partition)
        for event in result.all_events
        if event.is_step_materialization and event.asset_key
    ]


def test_a_job_is_an_asset_between_the_system_and_the_table(graph: Graph) -> None:
    with graph.syncing.worker.transaction() as tx:
        before = tx.one(graph_mark())
    hourly, daily = graph.syncing.job(), graph.syncing.job(window_size="daily")
    with graph.syncing.worker.transaction() as tx:
        assert tx.one(graph_mark()) != before
    repository = graph.definitions().get_repository_def()
    repository.load_all_definitions()
    assets = repository.asset_graph
    node = assets.get(graph.key(hourly))
    [external] = node.parent_keys
    assert external.path[:2] == ["external", "default"]
    assert external.path[2].startswith("custom_")
    assert graph.key(hourly) in assets.get(dg.AssetKey(["entity", "default", "deals"])).parent_keys
    assert isinstance(node.partitions_def, dg.HourlyPartitionsDefinition)
    assert isinstance(assets.get(graph.key(daily)).partitions_def, dg.DailyPartitionsDefinition)
    assert node.pools == {f"connector_{hourly.connector_id.hex[-8:]}"}
    checks = {c.name for c in assets.asset_check_keys if c.asset_key == graph.key(hourly)}
    assert checks == {"coverage", "count_audit", "dead_letters"}


def test_a_live_run_tells_of_the_asset_its_windows_and_the_table(graph: Graph) -> None:
    job = graph.syncing.job()
    result = graph.run(job)
    assert result.success
    key = graph.key(job).to_user_string()
    assert _made(result) == [
        ("entity/default/deals", None),
        (key, "2026-03-01-00:00"),
        (key, None),
    ]
    made = next(
        event
        for event in result.all_events
        if event.is_step_materialization
        and event.asset_key == graph.key(job)
        and not event.partition
    ).materialization.metadata
    assert made["created"].value == 10
    assert made["requests_per_minimum"].value == 1.0
    assert "| since ever |" in made["windows"].value
    assert all(check.passed for check in result.get_asset_check_evaluations())
    assert graph.syncing.state() == graph.syncing.vendor.state()


def test_windows_chosen_in_dagsters_dialog_are_exactly_what_is_read(graph: Graph) -> None:
    job = graph.syncing.job()
    vendor = graph.syncing.vendor
    vendor.tick(3600)
    vendor.put("later", Name="not in the window")
    vendor.tick(3600 * 4)
    result = graph.run(
        job,
        **{
            "dagster/asset_partition_range_start": "2026-03-01-02:00",
            "dagster/asset_partition_range_end": "2026-03-01-03:00",
        },
    )
    assert result.success
    [run] = graph.runs(job)
    assert run.kind == "window"
    assert (run.window_start, run.window_end) == (
        START.replace(hour=2),
        START.replace(hour=4),
    )
    assert graph.syncing.state() == {}
    key = graph.key(job).to_user_string()
    assert [made for made in _made(result) if made[0] == key] == [
        (key, "2026-03-01-02:00"),
        (key, "2026-03-01-03:00"),
    ]
    graph.run(job, **{"dagster/partition": "2026-03-01-00:00"})
    assert len(graph.syncing.state()) == 10
    assert graph.syncing.again(job).mark is None


def test_what_was_set_aside_warns_and_what_fails_says_why(graph: Graph) -> None:
    job = graph.syncing.job()
    graph.syncing.vendor.put("bad", Name="much too long for this field")
    graph.syncing.vendor.tick()
    passed = {c.check_name: c.passed for c in graph.run(job).get_asset_check_evaluations()}
    assert passed == {"coverage": True, "count_audit": True, "dead_letters": False}
    graph.syncing.vendor.fields = ("Id", "Name", "Modified")
    graph.syncing.vendor.tick()
    result = graph.run(job)
    assert not result.success
    assert graph.runs(job)[0].status == "failed"
    assert graph.runs(job)[0].error["detail"].startswith("Deal has no Amount any more")  # type: ignore[index, call-overload, union-attr]


def test_due_jobs_are_asked_for_once_and_launched_with_their_asset(
    graph: Graph, worker_database: Database, tenant: Tenant
) -> None:
    job = graph.syncing.job(schedule="*/5 * * * *", next_run_at=START)
    assert make_due_syncs(worker_database) == 1
    assert make_due_syncs(worker_database) == 0
    next_run = graph.syncing.again(job).next_run_at
    assert next_run is not None
    assert next_run.minute % 5 == 0
    with graph.syncing.owner.transaction() as tx:
        tx.run(statement("update hubblewave.work_requests set created_at = now() - interval '1 h'"))
        tx.run(statement("update hubblewave.sync_jobs set next_run_at = now() - interval '1 s'"))
    assert make_due_syncs(worker_database) == 0  # its last run is not over
    definitions = graph.definitions()
    context = dg.build_sensor_context(
        instance=graph.instance,
        repository_def=definitions.get_repository_def(),
        resources={"platform": graph.platform},
    )
    [request] = list(dispatch(context))
    assert request.job_name == "syncs_hourly"
    assert request.asset_selection == [graph.key(job)]
    result = graph.run(job, **request.tags)
    assert result.success
    assert [run.status for run in graph.runs(job)] == ["success"]
    with worker_database.transaction() as tx:
        assert tx.all(work.due(10, 10)) == []


def test_a_job_that_the_graph_does_not_know_runs_adhoc(
    graph: Graph, worker_database: Database, tenant: Tenant
) -> None:
    job = graph.syncing.job()
    with worker_database.transaction(tenant.id) as tx:
        request = ask(tx, job)
    found = graph.definitions().resolve_job_def("sync_adhoc")
    result = found.execute_in_process(
        instance=graph.instance, tags={"hubblewave/request_id": str(request.id)}
    )
    assert result.success
    assert (graph.key(job).to_user_string(), None) in _made(result)
    assert len(graph.syncing.state()) == 10


def test_a_request_that_is_given_up_ends_its_run(
    graph: Graph, worker_database: Database, tenant: Tenant
) -> None:
    job = graph.syncing.job()
    with worker_database.transaction(tenant.id) as tx:
        request = ask(tx, job)
    with worker_database.transaction(tenant.id) as tx:
        tx.one(work.end(request, "failed", "The run died.", code="sync.gave_up"))
    [run] = graph.runs(job)
    assert (run.status, run.error) == (
        "failed",
        {"code": "sync.gave_up", "detail": "The run died."},
    )
