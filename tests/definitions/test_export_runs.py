"""Runs of export assets in process, schedules that come due, and a run that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterInstance

from hubblewave_pipelines.core.asset_keys import export_key
from hubblewave_pipelines.core.errors import ExportFailed, Invalid, Unavailable
from hubblewave_pipelines.core.schedule import Schedule
from hubblewave_pipelines.definitions.entities import definitions_of, state_of
from hubblewave_pipelines.definitions.requested import REQUEST_TAG
from hubblewave_pipelines.storage import exports, work
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.defs_states import (
    ScheduleRow,
    graph_mark,
    graph_rows,
    schedule_rows,
)
from hubblewave_pipelines.storage.exports import ExportJob, NewExport
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.storage.work import WorkRequest
from hubblewave_pipelines.transfer.schedules import make_due_exports
from tests.definitions.scripted import GRAPH, Script, ScriptedPlatform
from tests.plugins.stack import eventually

ITEM = {"name": "Item", "pluralName": "Items", "fields": [{"name": "code", "type": "text"}]}
Ask = Callable[..., tuple[ExportJob, WorkRequest]]


def new_export(tenant: Tenant, **more: object) -> NewExport:
    given = {"entity_id": "aaaaaaaa", "entity_name": "Item", "query": {}, "format": "csv"}
    return NewExport(
        tenant_id=tenant.id,
        options={},
        destination=None,
        created_by=None,  # type: ignore[arg-type]
        **{**given, **more},  # type: ignore[arg-type]
    )


@pytest.fixture
def ask(owner_database: Database, tenant: Tenant) -> Ask:
    """Ask for an export, as the API does, some time ago."""

    def _ask(slug: str = "airports") -> tuple[ExportJob, WorkRequest]:
        with owner_database.transaction() as tx:
            job = tx.one(exports.insert_job(new_export(tenant)))
            assert job is not None
            key = export_key("acme", slug)
            request = tx.one(work.insert_request(tenant.id, "export", job.id, key, None))
            assert request is not None
        return job, request

    return _ask


@pytest.fixture
def run(
    ephemeral: DagsterInstance, platform: ScriptedPlatform
) -> Callable[..., dg.ExecuteInProcessResult]:
    definitions = definitions_of(json.loads(state_of(GRAPH)), None)
    loaded = dg.Definitions(
        assets=definitions.assets, jobs=definitions.jobs, resources={"platform": platform}
    )

    def _run(request: WorkRequest | None, job: str = "exports") -> dg.ExecuteInProcessResult:
        key = dg.AssetKey(["export", "acme", "airports"])
        return loaded.resolve_job_def(job).execute_in_process(
            instance=ephemeral,
            tags={REQUEST_TAG: str(request.id)} if request else {},
            asset_selection=[key] if job == "exports" else None,
            raise_on_error=False,
        )

    return _run


def made(instance: DagsterInstance, run_id: str) -> list[dg.AssetMaterialization]:
    events = instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
    return [e.asset_materialization for e in events if e.asset_materialization is not None]


def state_of_request(database: Database, request: WorkRequest) -> WorkRequest:
    with database.transaction() as tx:
        found = tx.one(work.request_by_id(request.id))
    assert found is not None
    return found


def test_an_export_materializes_its_asset_with_the_facts_of_its_file(
    run: Callable[..., dg.ExecuteInProcessResult],
    ask: Ask,
    ephemeral: DagsterInstance,
    owner_database: Database,
) -> None:
    for slug, job_name in (("airports", "exports"), ("brand-new", "export_adhoc")):
        job, request = ask(slug)
        result = run(request, job_name)
        assert result.success
        [shown] = made(ephemeral, result.run_id)
        assert shown.asset_key.path == ["export", "acme", slug]
        facts = {name: entry.value for name, entry in shown.metadata.items()}
        assert (facts["dagster/row_count"], facts["bytes"]) == (10, 100)
        assert facts["path"] == "/spool/exports/file.csv"
        assert str(job.id) in str(facts["export"])
        assert [c.name for c in facts["dagster/column_schema"].columns] == ["code", "home.code"]
        [source] = facts["dagster/column_lineage"].deps_by_column["code"]
        assert source.asset_key.path == ["entity", "acme", slug]
        assert state_of_request(owner_database, request).state == "succeeded"
    nothing = run(None)
    assert not nothing.success
    [event] = nothing.get_step_failure_events()
    assert "POST /api/v1/exports" in str(event.step_failure_data.user_failure_data.description)


def test_how_an_export_ends_is_told_by_its_rows(
    run: Callable[..., dg.ExecuteInProcessResult],
    ask: Ask,
    script: Script,
    owner_database: Database,
) -> None:
    def status(job: ExportJob) -> tuple[str, str | None]:
        with owner_database.transaction() as tx:
            found = tx.one(exports.job_by_id(job.tenant_id, job.id))
        assert found is not None
        return found.status, (found.error or {}).get("code")

    script.error = Unavailable("PostgreSQL cannot be reached.")
    job, request = ask()
    assert not run(request).success
    again = state_of_request(owner_database, request)
    assert (again.state, again.attempt, status(job)) == ("requested", 1, ("pending", None))
    for attempt in range(2, 6):
        run(request)
        assert state_of_request(owner_database, request).attempt == attempt
    assert status(job) == ("failed", "export.gave_up")
    script.error = Invalid("Field x is gone.")
    job, request = ask()
    assert not run(request).success
    assert status(job) == ("failed", "request.invalid")
    script.error = ExportFailed("No room.")
    job, request = ask()
    assert not run(request).success
    assert state_of_request(owner_database, request).state == "failed"
    script.error, script.status = None, "cancelled"
    job, request = ask()
    assert run(request).success
    assert state_of_request(owner_database, request).state == "cancelled"


def test_a_schedule_makes_one_export_when_it_is_due_and_says_when_next(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    entity = define(owner_database, tenant, ITEM).named("Item")
    assert entity is not None
    long_ago = datetime.now(UTC) - timedelta(days=3)
    wanted = new_export(
        tenant,
        entity_id=entity.id,
        schedule="*/5 * * * *",
        timezone="Europe/Berlin",
        next_run_at=long_ago,
    )
    with owner_database.transaction() as tx:
        scheduled = tx.one(exports.insert_job(wanted))
        assert scheduled is not None
        before = tx.one(graph_mark())
    with worker_database.transaction() as tx:
        assert [row.id for row in tx.all(schedule_rows())] == [scheduled.id]

    def due_again() -> None:
        with owner_database.transaction() as tx:
            tx.run(
                statement(
                    "update hubblewave.export_jobs set next_run_at = now()"
                    " where status = 'scheduled'"
                )
            )

    def job(export_id: UUID) -> ExportJob:
        with owner_database.transaction() as tx:
            found = tx.one(exports.job_by_id(tenant.id, export_id))
        assert found is not None
        return found

    assert make_due_exports(worker_database) == 1
    assert make_due_exports(worker_database) == 0
    made_of = job(scheduled.id)
    assert made_of.last_export_id is not None
    assert made_of.next_run_at is not None
    assert timedelta() < made_of.next_run_at - datetime.now(UTC) <= timedelta(minutes=5)
    child = job(made_of.last_export_id)
    assert (child.status, child.schedule_id, child.entity_id) == (
        "pending",
        scheduled.id,
        entity.id,
    )
    with worker_database.transaction() as tx:
        [request] = tx.all(work.requests_of(tenant.id, child.id))
        graph = state_of(tx.all(graph_rows()), tx.all(schedule_rows()))
    loaded = definitions_of(json.loads(graph), None).get_repository_def().asset_graph
    assert dg.AssetKey(request.asset_key) in loaded.executable_asset_keys
    due_again()
    assert make_due_exports(worker_database) == 0  # the last one is not over
    assert job(scheduled.id).next_run_at != long_ago
    with owner_database.transaction() as tx:
        tx.run(
            statement(
                "update hubblewave.export_jobs set status = 'failed' where id = %s", (child.id,)
            )
        )
    due_again()
    assert make_due_exports(worker_database) == 1
    with owner_database.transaction() as tx:
        tx.one(exports.request_cancel(tenant.id, scheduled.id))
        assert tx.one(graph_mark()) != before
    assert make_due_exports(worker_database) == 0


def test_each_schedule_is_an_asset_below_its_entity() -> None:
    row = ScheduleRow("acme", "z" * 8, UUID(int=7), "0 * * * *", "UTC", "parquet")
    graph = definitions_of(json.loads(state_of(GRAPH[:1], [row])), None)
    assets = graph.get_repository_def().asset_graph
    node = assets.get(dg.AssetKey(["export", "acme", "airports", "000000000007"]))
    assert node.parent_keys == {dg.AssetKey(["entity", "acme", "airports"])}
    assert node.kinds == {"parquet", "postgres"}
    assert node.metadata["cron"] == "0 * * * *"


def test_F7_schedules_keep_to_the_wall_clock() -> None:
    daily = Schedule("30 2 * * *", "Europe/Berlin")
    spring = daily.next_after(datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert spring == datetime(2026, 3, 29, 1, tzinfo=UTC)  # 02:30 is skipped that night
    autumn = daily.next_after(datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert autumn == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert daily.next_after(autumn) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


KILLED = """
import sys, time
from uuid import UUID
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.transfer import exports
url, folder, tenant, export, run = sys.argv[1:]
look = exports._Export._look
def slow(self, expected):
    look(self, expected)
    print("wrote", self.rows, flush=True)
    time.sleep(60)
exports._Export._look = slow
exports.run_export(Database(url, Role.WORKER), Settings(data_dir=folder), UUID(tenant), UUID(export),
                   run_id=run, still_held=lambda: None, progress=lambda _: None)
"""


def test_a_killed_run_leaves_no_file_and_the_next_one_writes_it_whole(
    owner_database: Database,
    worker_database: Database,
    database_url: str,
    tenant: Tenant,
    tmp_path: Path,
) -> None:
    from hubblewave_pipelines.settings import Settings
    from hubblewave_pipelines.storage.physical import qualified
    from hubblewave_pipelines.transfer.exports import run_export

    entity = define(owner_database, tenant, ITEM).named("Item")
    assert entity is not None
    with owner_database.transaction() as tx:
        tx.run(
            statement(
                f"insert into {qualified(entity)} ({entity.columns['code']})"
                " select repeat('x', 100) || i from generate_series(1, 50000) i"
            )
        )
        job = tx.one(exports.insert_job(new_export(tenant, entity_id=entity.id)))
    assert job is not None
    command = [sys.executable, "-c", KILLED, database_url, str(tmp_path)]
    with subprocess.Popen(
        [*command, str(tenant.id), str(job.id), "first"],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("wrote ")
        folder = tmp_path / "spool" / "exports"
        assert [path.suffix for path in folder.iterdir()] == [".tmp"]
        os.kill(process.pid, signal.SIGKILL)
    assert [path.suffix for path in folder.iterdir()] == [".tmp"]  # nothing that anybody can fetch
    eventually(lambda: idle(owner_database), "the snapshot of the dead run is gone")
    settings = Settings.model_validate({"data_dir": tmp_path})
    outcome = run_export(
        worker_database,
        settings,
        tenant.id,
        job.id,
        run_id="second",
        still_held=lambda: None,
        progress=lambda _: None,
    )
    assert (outcome.status, outcome.rows) == ("completed", 50_000)
    assert len(Path(outcome.path).read_text().splitlines()) == 50_001
    assert time.time() - Path(outcome.path).stat().st_mtime < 60


def idle(owner: Database) -> bool:
    with owner.transaction() as tx:
        row = tx.one(
            statement(
                "select count(*) from pg_stat_activity where datname = current_database()"
                " and application_name = 'hubblewave worker' and state = 'active'"
            )
        )
    return row is not None and row[0] == 0
