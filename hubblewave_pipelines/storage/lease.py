"""The lease of a run: an advisory lock on a connection of its own, gone when the process is."""

from types import TracebackType
from typing import Self
from uuid import UUID

import psycopg

from hubblewave_pipelines.core.errors import LostLease, Unavailable
from hubblewave_pipelines.storage.database import Database, Transaction
from hubblewave_pipelines.storage.work import is_mine, lease_key


class Lease:
    """Holds `lease_key(run_id)` from construction to `release`. Needs a session: connect straight
    to PostgreSQL, not through a pooler in transaction mode."""

    def __init__(self, database: Database, run_id: str) -> None:
        """Raises Unavailable when PostgreSQL cannot be reached, LostLease when another process
        holds the lease of this very run."""
        self.run_id = run_id
        try:
            self._connection = database.connect(autocommit=True)
        except psycopg.OperationalError as error:
            raise Unavailable("PostgreSQL cannot be reached.", retry_after=5) from error
        row = self._connection.execute(
            "select pg_try_advisory_lock(%s)", (lease_key(run_id),)
        ).fetchone()
        if row is None or not row[0]:
            self._connection.close()
            raise LostLease(f"Another process already executes run {run_id}.", run_id=run_id)

    def check(self, request_id: UUID) -> None:
        """Raises LostLease when this process may no longer write on behalf of the request: another
        run claimed it, or the connection that held the lock is gone."""
        try:
            mine = Transaction(self._connection).one(is_mine(request_id, self.run_id))
        except psycopg.OperationalError as error:
            raise LostLease(
                "The connection that held this run's lease broke; the request is tried again.",
                run_id=self.run_id,
            ) from error
        if not mine:
            raise LostLease(f"Run {self.run_id} no longer holds this request.", run_id=self.run_id)

    def release(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
