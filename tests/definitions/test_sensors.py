"""The sensors: what they launch, what they ask for again, and what they leave alone."""

import json
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.definitions.sensor_definition import SensorExecutionData

from hubblewave_pipelines.definitions.entities import definitions_of, state_of
from hubblewave_pipelines.definitions.requested import run_tags
from hubblewave_pipelines.definitions.sensors import settle, why_dead
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.lease import Lease
from hubblewave_pipelines.storage.work import OpenRequest, WorkRequest
from tests.definitions.scripted import GRAPH, ScriptedPlatform

Ask = Callable[..., WorkRequest]
Read = Callable[[WorkRequest], WorkRequest]
REPOSITORY = definitions_of(json.loads(state_of(GRAPH)), None).get_repository_def()


def tick(name: str, instance: DagsterInstance, platform: ScriptedPlatform) -> SensorExecutionData:
    sensor = REPOSITORY.get_sensor_def(name)
    with dg.build_sensor_context(
        instance=instance, repository_def=REPOSITORY, resources={"platform": platform}
    ) as context:
        return sensor.evaluate_tick(context)


def run_of(instance: DagsterInstance, request: WorkRequest, status: DagsterRunStatus) -> str:
    """A run that exists for the request's present attempt."""
    run = instance.create_run_for_job(
        REPOSITORY.get_job("import_adhoc"), tags=run_tags(request), status=status
    )
    return run.run_id


def test_what_nobody_launched_is_launched_on_its_asset(
    ephemeral: DagsterInstance, platform: ScriptedPlatform, ask: Ask
) -> None:
    request = ask()
    [launched] = tick("dispatch", ephemeral, platform).run_requests or []
    assert launched.run_key == f"{request.id}:0"
    assert launched.job_name == "imports"
    assert launched.asset_selection == [dg.AssetKey(["import", "acme", "airports"])]
    assert launched.tags["hubblewave/request_id"] == str(request.id)


def test_a_request_outside_the_graph_does_not_spoil_the_tick(
    ephemeral: DagsterInstance, platform: ScriptedPlatform, ask: Ask
) -> None:
    ask("brand-new")
    ask("flights")
    launched = tick("dispatch", ephemeral, platform).run_requests or []
    assert [one.job_name for one in launched] == ["import_adhoc", "imports"]


def test_nothing_due_launches_nothing(
    ephemeral: DagsterInstance, platform: ScriptedPlatform, owner_database: Database, ask: Ask
) -> None:
    ask()
    with owner_database.transaction() as tx:
        tx.run(statement("update hubblewave.work_requests set not_before = now() + '1 h'"))
    assert not tick("dispatch", ephemeral, platform).run_requests


def test_a_launch_that_was_not_noted_is_noted_and_not_repeated(
    ephemeral: DagsterInstance, platform: ScriptedPlatform, ask: Ask, state_of_request: Read
) -> None:
    """The API died between its launch and its note of it."""
    request = ask()
    run_id = run_of(ephemeral, request, DagsterRunStatus.STARTING)
    assert not tick("dispatch", ephemeral, platform).run_requests
    found = state_of_request(request)
    assert (found.state, found.run_id) == ("submitted", run_id)


def test_a_retry_is_launched_under_a_key_of_its_own(
    ephemeral: DagsterInstance,
    platform: ScriptedPlatform,
    ask: Ask,
    worker_database: Database,
) -> None:
    request = ask()
    with worker_database.transaction(request.tenant_id) as tx:
        tx.one(work.give_back(request, None, "x", delay=timedelta()))
    run_of(ephemeral, request, DagsterRunStatus.FAILURE)
    [launched] = tick("dispatch", ephemeral, platform).run_requests or []
    assert launched.run_key == f"{request.id}:1"


@pytest.mark.parametrize(
    ("status", "state", "attempt"),
    [
        (DagsterRunStatus.FAILURE, "requested", 1),
        (DagsterRunStatus.SUCCESS, "requested", 1),
        (DagsterRunStatus.CANCELED, "cancelled", 0),
        (DagsterRunStatus.STARTING, "submitted", 0),
        (DagsterRunStatus.STARTED, "submitted", 0),
    ],
)
def test_a_submitted_request_follows_its_run(
    ephemeral: DagsterInstance,
    platform: ScriptedPlatform,
    worker_database: Database,
    ask: Ask,
    state_of_request: Read,
    status: DagsterRunStatus,
    state: str,
    attempt: int,
) -> None:
    request = ask()
    run_id = run_of(ephemeral, request, status)
    with worker_database.transaction() as tx:
        tx.run(work.submitted(request.id, run_id))
    tick("reconcile", ephemeral, platform)
    found = state_of_request(request)
    assert (found.state, found.attempt) == (state, attempt)


def test_a_living_run_is_left_alone_whatever_dagster_believes(
    ephemeral: DagsterInstance,
    platform: ScriptedPlatform,
    worker_database: Database,
    ask: Ask,
    state_of_request: Read,
) -> None:
    request = ask()
    run_id = run_of(ephemeral, request, DagsterRunStatus.FAILURE)
    with Lease(worker_database, run_id):
        with worker_database.transaction() as tx:
            tx.one(work.claim(request.id, run_id))
        tick("reconcile", ephemeral, platform)
        assert state_of_request(request).state == "running"
    tick("reconcile", ephemeral, platform)
    assert state_of_request(request).state == "requested"


def test_a_dead_process_is_noticed_even_when_dagster_does_not(
    ephemeral: DagsterInstance,
    platform: ScriptedPlatform,
    worker_database: Database,
    owner_database: Database,
    ask: Ask,
    state_of_request: Read,
) -> None:
    request = ask()
    run_id = run_of(ephemeral, request, DagsterRunStatus.STARTED)
    with worker_database.transaction() as tx:
        tx.one(work.claim(request.id, run_id))
    tick("reconcile", ephemeral, platform)
    assert state_of_request(request).state == "running", "within the grace"
    with owner_database.transaction() as tx:
        tx.run(
            statement("update hubblewave.work_requests set started_at = now() - interval '31 s'")
        )
    tick("reconcile", ephemeral, platform)
    assert state_of_request(request).state == "requested"


def test_work_that_died_too_often_ends_and_its_import_says_so(
    ephemeral: DagsterInstance,
    platform: ScriptedPlatform,
    worker_database: Database,
    owner_database: Database,
    ask: Ask,
    state_of_request: Read,
) -> None:
    request = ask()
    for _ in range(request.max_attempts):
        found = state_of_request(request)
        run_id = run_of(ephemeral, found, DagsterRunStatus.FAILURE)
        with worker_database.transaction() as tx:
            tx.run(work.submitted(request.id, run_id))
        tick("reconcile", ephemeral, platform)
    assert state_of_request(request).state == "failed"
    with owner_database.transaction() as tx:
        row = tx.one(statement("select status, error ->> 'detail' from hubblewave.import_jobs"))
    assert row is not None
    assert row[0] == "failed"
    assert "without finishing the request" in row[1]


def test_one_bad_row_does_not_keep_the_others_from_moving(
    ephemeral: DagsterInstance,
    platform: ScriptedPlatform,
    worker_database: Database,
    ask: Ask,
    state_of_request: Read,
) -> None:
    lost, dead = ask(), ask()
    with worker_database.transaction() as tx:
        tx.run(work.submitted(lost.id, str(uuid4())))
        tx.run(work.submitted(dead.id, run_of(ephemeral, dead, DagsterRunStatus.FAILURE)))
    tick("reconcile", ephemeral, platform)
    assert state_of_request(lost).state == "submitted", "Dagster may not have stored the run yet"
    assert state_of_request(dead).state == "requested"


def test_a_run_dagster_never_heard_of_is_given_up_after_the_grace(ask: Ask) -> None:
    request = ask()
    young = OpenRequest(request, held=False, idle=timedelta(seconds=29))
    assert why_dead(young, None) is None
    old = OpenRequest(request, held=False, idle=timedelta(seconds=31))
    assert "does not know run" in str(why_dead(old, None))


def test_settling_what_moved_meanwhile_changes_nothing(
    worker_database: Database, ask: Ask, state_of_request: Read
) -> None:
    request = ask()
    with worker_database.transaction() as tx:
        tx.run(work.submitted(request.id, "run-1"))
        [seen] = tx.all(work.open_requests(10))
        tx.one(work.claim(request.id, "run-2"))
    assert settle(worker_database, seen, DagsterRunStatus.FAILURE) is False
    assert state_of_request(request).run_id == "run-2"
