"""The pace of requests to one external system, kept by all processes together by one row."""

from datetime import datetime
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.bucket import Bucket, Pace
from hubblewave_pipelines.storage.database import Database, Statement, Transaction, statement


def _locked(connector_id: UUID) -> Statement[tuple[datetime, Bucket]]:
    """The clock is PostgreSQL's, so that processes on several machines have the same. The transaction's commit
    waits for no disk: a crash that loses it gives a few requests too early."""
    return statement(
        "select clock_timestamp(), rate, empty_at, changed_at, slowed_at, paused_until,"
        " set_config('synchronous_commit', 'off', true)"
        " from hubblewave.connector_buckets where connector_id = %s for update",
        (connector_id,),
        lambda row: (row[0], Bucket(*row[1:6])),
    )


def _insert(tenant_id: UUID, connector_id: UUID, pace: Pace) -> Statement[Any]:
    return statement(
        "insert into hubblewave.connector_buckets (tenant_id, connector_id, rate, empty_at, changed_at)"
        " values (%s, %s, %s, clock_timestamp(), clock_timestamp()) on conflict do nothing",
        (tenant_id, connector_id, pace.rate),
    )


def _update(connector_id: UUID, bucket: Bucket) -> Statement[Any]:
    return statement(
        "update hubblewave.connector_buckets set rate = %s, empty_at = %s, changed_at = %s,"
        " slowed_at = %s, paused_until = %s where connector_id = %s",
        (
            bucket.rate,
            bucket.empty_at,
            bucket.changed_at,
            bucket.slowed_at,
            bucket.paused_until,
            connector_id,
        ),
    )


class DatabaseBudget:
    """The `Budget` of one connector."""

    def __init__(self, database: Database, tenant_id: UUID, connector_id: UUID, pace: Pace) -> None:
        self.pace = pace
        self._database = database
        self._tenant_id = tenant_id
        self._connector_id = connector_id

    def take(self) -> float:
        with self._database.transaction(self._tenant_id) as tx:
            now, bucket = self._bucket(tx)
            bucket, wait = bucket.take(self.pace, now)
            tx.run(_update(self._connector_id, bucket))
        return wait

    def slow_down(self, wait: float) -> None:
        with self._database.transaction(self._tenant_id) as tx:
            now, bucket = self._bucket(tx)
            tx.run(_update(self._connector_id, bucket.slowed(self.pace, now, wait)))

    def _bucket(self, tx: Transaction) -> tuple[datetime, Bucket]:
        found = tx.one(_locked(self._connector_id))
        if found is None:
            tx.run(_insert(self._tenant_id, self._connector_id, self.pace))
            found = tx.one(_locked(self._connector_id))
        assert found is not None
        return found
