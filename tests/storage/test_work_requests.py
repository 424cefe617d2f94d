"""The state machine of work requests, on a real PostgreSQL.

Laws: at most one live run works on a request; a request never leaves a final state; it fails
exactly when its attempts are used up, and its job row says so.
"""

import threading
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.core.errors import LostLease
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.lease import Lease
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.storage.work import WorkRequest

NOW = timedelta()


def import_job(owner: Database, tenant: Tenant) -> UUID:
    """A pending import job, as the API writes it."""
    with owner.transaction() as tx:
        row = tx.one(
            statement(
                "insert into hubblewave.import_jobs (tenant_id, entity_id, entity_name, file_name,"
                " file_size, file_type, file_sha256, spool_path, mapping, options) values"
                " (%s, 'aaaaaaaa', 'Airport', 'a.csv', 1, 'csv', '', 'a', '[]', '{}') returning id",
                (tenant.id,),
            )
        )
    assert row is not None
    return UUID(str(row[0]))


def ask(owner: Database, tenant: Tenant) -> WorkRequest:
    job = import_job(owner, tenant)
    with owner.transaction() as tx:
        request = tx.one(
            work.insert_request(tenant.id, "import", job, ["import", "default", "airports"], None)
        )
    assert request is not None
    return request


def read(database: Database, request: WorkRequest) -> WorkRequest:
    with database.transaction() as tx:
        found = tx.one(work.request_by_id(request.id))
    assert found is not None
    return found


def claim(database: Database, request: WorkRequest, run_id: str) -> WorkRequest | None:
    with database.transaction() as tx:
        return tx.one(work.claim(request.id, run_id))


def give_back(
    database: Database, request: WorkRequest, error: str = "it died"
) -> WorkRequest | None:
    with database.transaction(request.tenant_id) as tx:
        return tx.one(work.give_back(request, request.run_id, error, delay=NOW))


def job_status(owner: Database, request: WorkRequest) -> tuple[str, object]:
    with owner.transaction() as tx:
        row = tx.one(
            statement(
                "select status, error from hubblewave.import_jobs where id = %s", (request.ref_id,)
            )
        )
    assert row is not None
    return str(row[0]), row[1]


def test_a_new_request_waits_and_is_due_after_the_api_had_its_chance(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    request = ask(owner_database, tenant)
    assert (request.state, request.attempt) == ("requested", 0)
    with worker_database.transaction() as tx:
        assert tx.all(work.due(10, 3)) == []
    with owner_database.transaction() as tx:
        tx.run(statement("update hubblewave.work_requests set created_at = now() - interval '4 s'"))
    with worker_database.transaction() as tx:
        assert [found.id for found in tx.all(work.due(10, 3))] == [request.id]


def test_a_tenant_has_no_more_at_work_than_it_may(
    owner_database: Database,
    worker_database: Database,
    tenant: Tenant,
    other_tenant: Tenant,
) -> None:
    mine = [ask(owner_database, tenant) for _ in range(4)]
    theirs = ask(owner_database, other_tenant)
    with worker_database.transaction() as tx:
        tx.run(statement("update hubblewave.work_requests set created_at = now() - interval '1 h'"))
        assert tx.run(work.submitted(mine[0].id, "run-1")) == 1
        due = {found.id for found in tx.all(work.due(10, 3))}
    assert due == {mine[1].id, mine[2].id, theirs.id}
    with Lease(worker_database, "run-1"):
        claim(worker_database, mine[0], "run-1")
        with worker_database.transaction() as tx:
            assert tx.one(work.active(tenant.id)) == 1
            tx.one(work.finish(mine[0].id, "run-1", "succeeded"))
            assert len(tx.all(work.due(10, 3))) == 4


def test_a_submitted_request_is_not_due(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    request = ask(owner_database, tenant)
    with worker_database.transaction() as tx:
        assert tx.run(work.submitted(request.id, "run-1")) == 1
        tx.run(statement("update hubblewave.work_requests set created_at = now() - interval '1 h'"))
        assert tx.all(work.due(10, 3)) == []


def test_a_late_note_of_a_launch_does_not_undo_the_claim(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    request = ask(owner_database, tenant)
    claimed = claim(worker_database, request, "run-1")
    assert claimed is not None
    with worker_database.transaction() as tx:
        assert tx.run(work.submitted(request.id, "run-1")) == 0
    give_back(worker_database, claimed)
    with worker_database.transaction() as tx:
        assert tx.run(work.submitted(request.id, "run-1")) == 0, "that run had its turn"
    assert read(worker_database, request).state == "requested"


def test_a_running_request_is_refused_while_its_run_lives(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    request = ask(owner_database, tenant)
    with Lease(worker_database, "run-1"):
        assert claim(worker_database, request, "run-1") is not None
        with Lease(worker_database, "run-2"):
            assert claim(worker_database, request, "run-2") is None
    assert read(worker_database, request).run_id == "run-1"


def test_a_dead_runs_request_is_taken_over_and_counts_as_an_attempt(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    request = ask(owner_database, tenant)
    with Lease(worker_database, "run-1"):
        claim(worker_database, request, "run-1")
    with Lease(worker_database, "run-2"):
        taken = claim(worker_database, request, "run-2")
    assert taken is not None
    assert (taken.run_id, taken.attempt) == ("run-2", 1)


def test_of_two_runs_that_claim_at_once_exactly_one_wins(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    for _ in range(10):
        request = ask(owner_database, tenant)
        leases = [Lease(worker_database, f"{request.id}-{n}") for n in range(4)]
        won: list[str] = []
        start = threading.Barrier(4)

        def race(
            run_id: str,
            request: WorkRequest = request,
            start: threading.Barrier = start,
            won: list[str] = won,
        ) -> None:
            start.wait()
            if claim(worker_database, request, run_id) is not None:
                won.append(run_id)

        threads = [threading.Thread(target=race, args=(lease.run_id,)) for lease in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        found = read(worker_database, request)
        assert (found.run_id, found.attempt) == (won[0], 0)
        for lease in leases:
            lease.release()


def test_a_waiting_claim_sees_the_winner_that_committed_meanwhile(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    """The loser waits on the row lock and must judge the row as it is then."""
    request = ask(owner_database, tenant)
    lost: list[WorkRequest | None] = []
    with Lease(worker_database, "run-1"), Lease(worker_database, "run-2"):
        with worker_database.transaction() as tx:
            assert tx.one(work.claim(request.id, "run-1")) is not None
            waiting = threading.Thread(
                target=lambda: lost.append(claim(worker_database, request, "run-2"))
            )
            waiting.start()
            _wait_for_lock_waiter(owner_database)
        waiting.join()
    assert lost == [None]


def _wait_for_lock_waiter(owner: Database) -> None:
    for _ in range(1000):
        with owner.transaction() as tx:
            row = tx.one(
                statement(
                    "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
                    " and datname = current_database()"
                )
            )
        if row is not None and row[0]:
            return
        threading.Event().wait(0.01)
    pytest.fail("nobody waits for the row")


def test_the_attempts_run_out_and_the_import_says_so(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    request = ask(owner_database, tenant)
    for number in range(request.max_attempts):
        claimed = claim(worker_database, request, f"run-{number}")
        assert claimed is not None
        assert claimed.attempt == number
        back = give_back(worker_database, claimed, "the disk is full")
        assert back is not None
        last = number == request.max_attempts - 1
        assert back.state == ("failed" if last else "requested")
    status, error = job_status(owner_database, request)
    assert status == "failed"
    assert error == {"code": "import.gave_up", "detail": "the disk is full"}
    assert claim(worker_database, request, "run-late") is None


def test_a_retry_is_not_due_before_its_time(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    claimed = claim(worker_database, ask(owner_database, tenant), "run-1")
    assert claimed is not None
    with worker_database.transaction(tenant.id) as tx:
        tx.one(work.give_back(claimed, "run-1", "busy", delay=timedelta(hours=1)))
        assert tx.all(work.due(10, 3)) == []
    with owner_database.transaction() as tx:
        tx.run(statement("update hubblewave.work_requests set not_before = now()"))
    with worker_database.transaction() as tx:
        assert len(tx.all(work.due(10, 3))) == 1


def test_ending_a_request_ends_its_job(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    for state in ("failed", "cancelled"):
        claimed = claim(worker_database, ask(owner_database, tenant), str(uuid4()))
        assert claimed is not None
        with worker_database.transaction(tenant.id) as tx:
            assert tx.one(work.end(claimed, state, "stop", code="x")) is not None
        assert job_status(owner_database, claimed)[0] == state


def test_a_finished_job_keeps_its_own_status(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    """The run wrote its outcome and died before it could finish the request."""
    claimed = claim(worker_database, ask(owner_database, tenant), "run-1")
    assert claimed is not None
    with owner_database.transaction() as tx:
        tx.run(statement("update hubblewave.import_jobs set status = 'partial'"))
    with worker_database.transaction(tenant.id) as tx:
        tx.one(work.end(claimed, "failed", "late"))
    assert job_status(owner_database, claimed)[0] == "partial"


def test_an_unclaimed_request_is_cancelled_and_never_claimed(
    owner_database: Database, worker_database: Database, app_database: Database, tenant: Tenant
) -> None:
    request = ask(owner_database, tenant)
    with app_database.transaction(tenant.id) as tx:
        assert tx.one(work.cancel_unclaimed(tenant.id, request.ref_id)) is not None
    assert claim(worker_database, request, "run-1") is None


def test_two_processes_cannot_hold_the_lease_of_one_run(worker_database: Database) -> None:
    with Lease(worker_database, "run-1"), pytest.raises(LostLease, match="already executes"):
        Lease(worker_database, "run-1")
    Lease(worker_database, "run-1").release()


def test_a_lease_is_free_once_its_connection_is_gone(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    claimed = claim(worker_database, ask(owner_database, tenant), "run-1")
    assert claimed is not None
    with Lease(worker_database, "run-1") as lease:
        lease.check(claimed.id)
        with owner_database.transaction() as tx:
            assert tx.one(work.is_held("run-1")) is True
            assert tx.one(work.is_abandoned("run-1")) is False
        with psycopg.connect(owner_database.url.replace("hubblewave@", "postgres@")) as superuser:
            superuser.execute(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
                " and database = (select oid from pg_database where datname = current_database())"
            )
        with pytest.raises(LostLease, match="broke"):
            lease.check(claimed.id)
    with owner_database.transaction() as tx:
        assert tx.one(work.is_held("run-1")) is False
        assert tx.one(work.is_abandoned("run-1")) is True


def test_a_run_whose_request_was_taken_over_may_write_no_more(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    claimed = claim(worker_database, ask(owner_database, tenant), "run-1")
    assert claimed is not None
    with Lease(worker_database, "run-1") as lease:
        with owner_database.transaction() as tx:
            tx.run(statement("update hubblewave.work_requests set run_id = 'run-2'"))
        with pytest.raises(LostLease, match="no longer holds"):
            lease.check(claimed.id)


@given(st.text(min_size=1).filter(lambda text: "\x00" not in text))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_python_and_sql_agree_on_the_key_of_a_lease(worker_database: Database, run_id: str) -> None:
    with Lease(worker_database, run_id), worker_database.transaction() as tx:
        assert tx.one(work.is_held(run_id)) is True


@given(st.integers(0, 10_000))
def test_the_wait_before_a_retry_grows_and_is_bounded(attempt: int) -> None:
    assert work.retry_delay(attempt) <= work.retry_delay(attempt + 1) <= timedelta(minutes=5)


STEPS = st.sampled_from(["submit", "claim", "die", "give back", "succeed", "cancel", "end"])


@given(st.lists(st.tuples(STEPS, st.sampled_from(["a", "b"])), max_size=25))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_order_of_events_breaks_the_laws(
    owner_database: Database,
    worker_database: Database,
    tenant: Tenant,
    steps: list[tuple[str, str]],
) -> None:
    request = ask(owner_database, tenant)
    alive: dict[str, Lease] = {}
    attempts = 0
    for step, letter in steps:
        before = read(worker_database, request)
        run_id = f"{request.id}-{letter}"
        with worker_database.transaction(tenant.id) as tx:
            if step == "submit":
                tx.run(work.submitted(request.id, run_id))
            elif step == "claim":
                if run_id not in alive:
                    alive[run_id] = Lease(worker_database, run_id)
                won = tx.one(work.claim(request.id, run_id))
                if won is not None:
                    assert (
                        before.state != "running"
                        or before.run_id not in alive
                        or (before.run_id == run_id)
                    ), "taken from a run that lives"
            elif step == "die" and run_id in alive:
                alive.pop(run_id).release()
            elif step == "give back":
                tx.one(work.give_back(before, run_id, "x", delay=NOW))
            elif step == "succeed":
                tx.one(work.finish(request.id, run_id, "succeeded"))
            elif step == "cancel":
                tx.one(work.cancel_unclaimed(tenant.id, request.ref_id))
            elif step == "end":
                tx.one(work.end(before, "failed", "x"))
        after = read(worker_database, request)
        if before.state in ("succeeded", "failed", "cancelled"):
            assert after == before, "a final state was left"
        assert after.attempt in (before.attempt, before.attempt + 1)
        attempts = max(attempts, after.attempt)
        if step in ("give back", "end") and (before.state, after.state) != ("failed", "failed"):
            ended = after.state == "failed"
            assert (job_status(owner_database, request)[0] == "failed") is ended
    assert attempts <= request.max_attempts + sum(step == "claim" for step, _ in steps)
    for lease in alive.values():
        lease.release()
