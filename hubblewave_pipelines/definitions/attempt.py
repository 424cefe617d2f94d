"""One attempt at a work request: lease, claim, work, and an ending that the rows tell truthfully."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar
from uuid import UUID

from dagster._core.errors import DagsterExecutionInterruptedError

from hubblewave_pipelines.core.errors import JobFailed, LostLease, PlatformError, Recovery
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.lease import Lease
from hubblewave_pipelines.storage.work import WorkRequest

_process_lease: Lease | None = None


class Outcome(Protocol):
    """What work came to; `status` is `cancelled` when somebody stopped it."""

    @property
    def status(self) -> str: ...


Done = TypeVar("Done", bound=Outcome)


def hold_lease_of_process(database: Database, run_id: str) -> None:
    """Take the lease of the one run that this process will execute, until the process ends."""
    global _process_lease
    _process_lease = Lease(database, run_id)


@contextmanager
def lease_of(database: Database, run_id: str) -> Iterator[Lease]:
    """The process's own lease when it is for this run, else one for the length of the block."""
    if _process_lease is not None and _process_lease.run_id == run_id:
        yield _process_lease
        return
    with Lease(database, run_id) as lease:
        yield lease


def attempt(
    database: Database,
    request_id: UUID,
    run_id: str,
    *,
    do: Callable[[WorkRequest, Callable[[], None]], Done],
    cancelled_by_operator: Callable[[], bool],
    log: logging.Logger,
) -> tuple[WorkRequest, Done] | None:
    """Do the work asked for, or None when there is nothing left for this run to do (logged why).

    `do` gets the claimed request and what raises LostLease once this run no longer holds it.
    Raises JobFailed for work that cannot be done (the request is failed then), and lets any other
    error through after handing the request back for another attempt.
    """
    with lease_of(database, run_id) as lease:
        with database.transaction() as tx:
            request = tx.one(work.claim(request_id, run_id))
            if request is None:
                found = tx.one(work.request_by_id(request_id))
                log.info(_why_not_claimed(request_id, found))
                return None
        try:
            outcome = do(request, lambda: lease.check(request.id))
        except JobFailed as error:
            _finish(database, request, run_id, "failed", error.detail)
            raise
        except LostLease as error:
            if _hand_back(database, request, run_id, error.detail) is None:
                log.info("Superseded by another run: %s", error.detail)
                return None
            raise
        except PlatformError as error:
            if error.recovery is Recovery.RETRY:
                _hand_back(database, request, run_id, error.detail)
            else:
                _end(database, request, "failed", error.detail, error.code)
            raise
        except (DagsterExecutionInterruptedError, KeyboardInterrupt):
            if cancelled_by_operator():
                _end(database, request, "cancelled", "Terminated in Dagster.", "cancelled")
            else:
                _hand_back(database, request, run_id, "The run's process was stopped.")
            raise
        except Exception as error:
            _hand_back(
                database,
                request,
                run_id,
                f"Unexpected {type(error).__name__}; see the run.",
            )
            raise
        ended = "cancelled" if outcome.status == "cancelled" else "succeeded"
        _finish(database, request, run_id, ended, None)
        return request, outcome


def _why_not_claimed(request_id: UUID, found: WorkRequest | None) -> str:
    if found is None:
        return f"Work request {request_id} does not exist; nothing to do."
    if found.state == "running":
        return f"Superseded by run {found.run_id}, which works on request {request_id}."
    return f"Work request {request_id} is {found.state} already; nothing to do."


def _finish(
    database: Database, request: WorkRequest, run_id: str, state: str, error: str | None
) -> None:
    with database.transaction() as tx:
        tx.one(work.finish(request.id, run_id, state, error))


def _end(database: Database, request: WorkRequest, state: str, error: str, code: str) -> None:
    with database.transaction(request.tenant_id) as tx:
        tx.one(work.end(request, state, error, code=code))


def _hand_back(
    database: Database, request: WorkRequest, run_id: str, error: str
) -> WorkRequest | None:
    """None when another run holds the request already."""
    with database.transaction(request.tenant_id) as tx:
        return tx.one(
            work.give_back(request, run_id, error, delay=work.retry_delay(request.attempt))
        )
