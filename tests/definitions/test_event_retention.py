"""Retention on a real Dagster storage: old run events go, asset history stays."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from hubblewave_pipelines.definitions.maintenance import drop_run_events
from tests.definitions.conftest import Home

CHECK = dg.AssetCheckSpec("fine", asset="made")


@dg.asset(key="made", check_specs=[CHECK])
def made() -> dg.MaterializeResult:  # type: ignore[type-arg]
    return dg.MaterializeResult(
        metadata={"dagster/row_count": 7},
        check_results=[dg.AssetCheckResult(check_name="fine", passed=True)],
    )


def storage_of(instance: DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    return storage


def kinds(instance: DagsterInstance, run_id: str) -> set[str]:
    return {
        entry.dagster_event.event_type_value if entry.dagster_event else "log"
        for entry in instance.all_logs(run_id)
    }


def test_old_events_go_and_the_assets_history_stays(home: Home) -> None:
    with home.instance() as instance:
        run_id = dg.materialize([made], instance=instance).run_id
        assert "STEP_START" in kinds(instance, run_id)
        dropped = drop_run_events(storage_of(instance), datetime.now(UTC) + timedelta(hours=1))
        assert dropped > 0
        assert kinds(instance, run_id) == {
            "ASSET_MATERIALIZATION_PLANNED",
            "ASSET_MATERIALIZATION",
            "ASSET_CHECK_EVALUATION_PLANNED",
            "ASSET_CHECK_EVALUATION",
        }
        event = instance.get_latest_materialization_event(dg.AssetKey("made"))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["dagster/row_count"].value == 7
        assert instance.get_run_by_id(run_id) is not None
        again = drop_run_events(storage_of(instance), datetime.now(UTC) + timedelta(hours=1))
        assert again == 0


def test_young_events_and_runs_in_work_are_left_alone(home: Home) -> None:
    with home.instance() as instance:
        run_id = dg.materialize([made], instance=instance).run_id
        assert drop_run_events(storage_of(instance), datetime.now(UTC) - timedelta(days=1)) == 0
        run = instance.create_run_for_job(
            dg.Definitions(assets=[made]).resolve_implicit_global_asset_job_def(),
            status=dg.DagsterRunStatus.STARTED,
        )
        instance.report_engine_event("working", run)
        before = len(instance.all_logs(run.run_id))
        drop_run_events(storage_of(instance), datetime.now(UTC) + timedelta(hours=1))
        assert len(instance.all_logs(run.run_id)) == before
        assert DagsterEventType.STEP_START.value not in kinds(instance, run_id)
