"""Runs of import assets in process: what they claim, show, and leave in the rows."""

import json
from collections.abc import Callable

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterInstance

from hubblewave_pipelines.core.errors import ImportFailed, Invalid, LostLease, Unavailable
from hubblewave_pipelines.definitions.entities import definitions_of, state_of
from hubblewave_pipelines.definitions.requested import REQUEST_TAG
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.lease import Lease
from hubblewave_pipelines.storage.work import WorkRequest
from tests.definitions.scripted import GRAPH, Script, ScriptedPlatform

Ask = Callable[..., WorkRequest]
Read = Callable[[WorkRequest], WorkRequest]
KEY = dg.AssetKey(["import", "acme", "airports"])


class Runs:
    """Runs jobs of the graph in this process."""

    def __init__(self, instance: DagsterInstance, platform: ScriptedPlatform) -> None:
        self.instance = instance
        definitions = definitions_of(json.loads(state_of(GRAPH)), None)
        self._definitions = dg.Definitions(
            assets=definitions.assets,
            jobs=definitions.jobs,
            resources={"platform": platform},
            executor=dg.in_process_executor,
        )

    def __call__(
        self, request: WorkRequest | None, *, job: str = "imports"
    ) -> dg.ExecuteInProcessResult:
        definition = self._definitions.resolve_job_def(job)
        return definition.execute_in_process(
            instance=self.instance,
            tags={REQUEST_TAG: str(request.id)} if request else {},
            asset_selection=[KEY] if job == "imports" else None,
            raise_on_error=False,
        )

    def materialized(self, result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetMaterialization]:
        events = self.instance.all_logs(
            result.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION
        )
        found = [entry.asset_materialization for entry in events]
        return {one.asset_key.to_user_string(): one for one in found if one is not None}

    def failure(self, result: dg.ExecuteInProcessResult) -> str:
        [event] = result.get_step_failure_events()
        return str(event.step_failure_data.user_failure_data.description)


@pytest.fixture
def runs(ephemeral: DagsterInstance, platform: ScriptedPlatform) -> Runs:
    return Runs(ephemeral, platform)


def test_an_import_materializes_itself_the_entity_and_what_was_refused(
    runs: Runs, ask: Ask, state_of_request: Read, script: Script
) -> None:
    request = ask()
    result = runs(request)
    assert result.success
    assert script.calls == [request.ref_id]
    assert state_of_request(request).state == "succeeded"
    made = runs.materialized(result)
    assert set(made) == {"import/acme/airports", "entity/acme/airports", "rejected/acme/airports"}
    imported = made["import/acme/airports"].metadata
    counts = {
        name: imported[name].value for name in ("created", "updated", "unchanged", "rejected")
    }
    assert counts == {"created": 6, "updated": 2, "unchanged": 1, "rejected": 1}
    assert imported["dagster/row_count"].value == 10
    assert made["rejected/acme/airports"].metadata["dagster/row_count"].value == 1
    assert str(request.ref_id) in imported["import"].value


def test_columns_lead_back_to_the_file(runs: Runs, ask: Ask) -> None:
    made = runs.materialized(runs(ask()))["entity/acme/airports"]
    lineage = made.metadata["dagster/column_lineage"].value.deps_by_column
    assert {
        name: [(d.asset_key, d.column_name) for d in deps] for name, deps in lineage.items()
    } == {"code": [(KEY, "IATA")]}
    schema = made.metadata["dagster/column_schema"].value
    assert [(column.name, column.type) for column in schema.columns] == [
        ("code", "text"),
        ("name", "text"),
    ]


def test_refusals_are_shown_as_where_and_why(runs: Runs, ask: Ask) -> None:
    made = runs.materialized(runs(ask()))["rejected/acme/airports"]
    assert made.metadata["refused"].value.splitlines() == [
        "| row | field | code | reason |",
        "|---|---|---|---|",
        "| 7 | code | required | code is required \\| always |",
    ]


def test_the_check_warns_above_the_share_allowed(runs: Runs, ask: Ask) -> None:
    [check] = runs(ask()).get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("rejected_share", False)
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.metadata["share"].value == pytest.approx(0.1)


def test_progress_is_logged_each_tenth_once(runs: Runs, ask: Ask) -> None:
    result = runs(ask())
    said = [
        entry.user_message
        for entry in runs.instance.all_logs(result.run_id)
        if "%:" in entry.user_message
    ]
    assert [line.split(" ")[0] for line in said] == ["20", "40", "60", "80", "100"]


def test_a_run_for_finished_work_ends_green_and_does_nothing(
    runs: Runs, ask: Ask, script: Script
) -> None:
    request = ask()
    runs(request)
    again = runs(request)
    assert again.success
    assert len(script.calls) == 1
    assert runs.materialized(again) == {}


def test_a_run_superseded_by_a_living_one_ends_green(
    runs: Runs, ask: Ask, script: Script, worker_database: Database
) -> None:
    request = ask()
    with Lease(worker_database, "another-run"):
        with worker_database.transaction() as tx:
            tx.one(work.claim(request.id, "another-run"))
        result = runs(request)
    assert result.success
    assert script.calls == []
    said = [entry.user_message for entry in runs.instance.all_logs(result.run_id)]
    assert any("Superseded by run another-run" in line for line in said)


def test_a_run_that_loses_its_request_meanwhile_ends_green(
    runs: Runs, ask: Ask, script: Script, owner_database: Database, state_of_request: Read
) -> None:
    def take_over() -> None:
        with owner_database.transaction() as tx:
            tx.run(statement("update hubblewave.work_requests set run_id = 'another-run'"))

    script.before_end = take_over
    request = ask()
    result = runs(request)
    assert result.success
    assert runs.materialized(result) == {}
    assert state_of_request(request).run_id == "another-run"


def test_a_bad_file_fails_the_run_and_the_request_for_good(
    runs: Runs, ask: Ask, script: Script, state_of_request: Read
) -> None:
    script.error = ImportFailed("Line 1 is not a header.")
    request = ask()
    result = runs(request)
    assert not result.success
    assert runs.failure(result) == "Line 1 is not a header."
    found = state_of_request(request)
    assert (found.state, found.error) == ("failed", "Line 1 is not a header.")


@pytest.mark.parametrize(
    "error", [Unavailable("PostgreSQL cannot be reached."), LostLease("gone"), KeyError("x")]
)
def test_a_passing_fault_fails_the_run_and_asks_again(
    runs: Runs, ask: Ask, script: Script, state_of_request: Read, error: Exception
) -> None:
    script.error = error
    request = ask()
    assert not runs(request).success
    found = state_of_request(request)
    assert (found.state, found.attempt) == ("requested", 1)
    script.error = None
    assert runs(request).success
    assert state_of_request(request).state == "succeeded"


def test_a_fault_a_person_must_mend_ends_the_request_and_its_import(
    runs: Runs, ask: Ask, script: Script, state_of_request: Read, owner_database: Database
) -> None:
    script.error = Invalid("Field x is gone.")
    request = ask()
    assert not runs(request).success
    assert state_of_request(request).state == "failed"
    with owner_database.transaction() as tx:
        row = tx.one(statement("select status, error from hubblewave.import_jobs"))
    assert row == ("failed", {"code": "request.invalid", "detail": "Field x is gone."})


def test_a_cancelled_import_cancels_its_request(
    runs: Runs, ask: Ask, script: Script, state_of_request: Read
) -> None:
    script.status = "cancelled"
    request = ask()
    assert runs(request).success
    assert state_of_request(request).state == "cancelled"


def test_materializing_by_hand_takes_what_waits(
    runs: Runs, ask: Ask, state_of_request: Read
) -> None:
    first, second = ask(), ask()
    assert runs(None).success
    assert state_of_request(first).state == "succeeded"
    assert state_of_request(second).state == "succeeded", "a small one is taken along"


def test_materializing_by_hand_with_nothing_waiting_says_what_to_do(runs: Runs) -> None:
    result = runs(None)
    assert not result.success
    assert "POST /api/v1/imports" in runs.failure(result)


def test_an_asset_unknown_to_the_graph_is_imported_by_the_adhoc_job(
    runs: Runs, ask: Ask, state_of_request: Read
) -> None:
    request = ask("brand-new")
    result = runs(request, job="import_adhoc")
    assert result.success
    assert state_of_request(request).state == "succeeded"
    assert set(runs.materialized(result)) == {
        "import/acme/brand-new",
        "entity/acme/brand-new",
        "rejected/acme/brand-new",
    }


def test_the_adhoc_job_without_a_request_says_what_it_needs(runs: Runs) -> None:
    result = runs(None, job="import_adhoc")
    assert not result.success
    assert "must name a work request" in runs.failure(result)


def test_a_run_takes_small_imports_of_its_tenant_along(
    runs: Runs, ask: Ask, state_of_request: Read, script: Script
) -> None:
    """Those that wait for a run of their own, whatever their entity; each is told as its own."""
    first, others = ask(), [ask("flights"), ask("brand-new")]
    result = runs(first)
    assert result.success
    assert script.calls == [request.ref_id for request in (first, *others)]
    assert {state_of_request(request).state for request in others} == {"succeeded"}
    made = runs.materialized(result)
    assert {"import/acme/airports", "import/acme/flights", "import/acme/brand-new"} <= set(made)


def test_what_is_taken_along_and_fails_is_not_the_runs_failure(
    runs: Runs, ask: Ask, state_of_request: Read, script: Script
) -> None:
    first, bad = ask(), ask("flights")

    def fail_the_second() -> None:
        if len(script.calls) == 2:
            script.error = ImportFailed("Row 3 cannot be.")

    script.before_end = fail_the_second
    result = runs(first)
    assert result.success
    assert state_of_request(first).state == "succeeded"
    assert state_of_request(bad).state == "failed"


def test_a_large_import_gets_a_run_of_its_own(
    runs: Runs, ask: Ask, state_of_request: Read, owner_database: Database
) -> None:
    first, large = ask(), ask("flights")
    with owner_database.transaction() as tx:
        grow = "update hubblewave.import_jobs set file_size = 100000000 where id = %s"
        tx.run(statement(grow, (large.ref_id,)))
    assert runs(first).success
    assert state_of_request(large).state == "requested"
