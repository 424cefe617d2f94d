"""Deliveries and attempts as people look at them: what is under way and what is over, newest first."""

# ruff: noqa: S608 - only this module's own names are formatted into its statements

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, statement

STATUSES = ("pending", "sending", "held", "success", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Delivery:
    """`status` is one of STATUSES; the last attempt's answer is beside it."""

    id: UUID
    webhook_id: UUID
    event_id: UUID
    type: str
    occurred_at: datetime
    kind: str
    status: str
    reason: str | None
    attempts: int
    next_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    n: int
    started_at: datetime
    ended_at: datetime | None
    worker: str
    status: int | None
    error_class: str | None
    detail: str | None
    duration_ms: float | None
    request_headers: dict[str, Json] | None
    body_sha256: str | None
    sent_sha256: str | None
    response_headers: dict[str, Json] | None
    response_body: str | None


_ALL = (
    "(select id, tenant_id, webhook_id, event_id, type, occurred_at, kind,"
    " case state when 'due' then 'pending' else state end as status, null::text as reason,"
    " attempt as attempts, case state when 'due' then next_at end as next_at, created_at,"
    " null::timestamptz as finished_at from hubblewave.webhook_deliveries"
    " union all select id, tenant_id, webhook_id, event_id, type, occurred_at, kind, status, reason,"
    " attempts, null, created_at, finished_at from hubblewave.webhook_delivery_log) d"
)
_NAMES = (
    "id, webhook_id, event_id, type, occurred_at, kind, status, reason, attempts, next_at,"
    " created_at, finished_at"
)


def deliveries_of(
    tenant_id: UUID, webhook_id: UUID, status: str | None, *, limit: int, offset: int
) -> Statement[Delivery]:
    return statement(
        f"select {_NAMES} from {_ALL} where tenant_id = %s and webhook_id = %s"
        " and (%s::text is null or status = %s) order by id desc limit %s offset %s",
        (tenant_id, webhook_id, status, status, limit, offset),
        lambda row: Delivery(*row),
    )


def count_deliveries(tenant_id: UUID, webhook_id: UUID, status: str | None) -> Statement[int]:
    return statement(
        f"select count(*) from {_ALL} where tenant_id = %s and webhook_id = %s"
        " and (%s::text is null or status = %s)",
        (tenant_id, webhook_id, status, status),
        lambda row: int(row[0]),
    )


def delivery_by_id(tenant_id: UUID, delivery_id: UUID) -> Statement[tuple[Delivery, str | None]]:
    """A delivery, and its event's data while that is kept."""
    return statement(
        f"select {', '.join('d.' + name for name in _NAMES.split(', '))}, (select e.data from"
        " hubblewave.events e where e.id = d.event_id and e.occurred_at = d.occurred_at)"
        f" from {_ALL} where d.tenant_id = %s and d.id = %s",
        (tenant_id, delivery_id),
        lambda row: (Delivery(*row[:12]), row[12]),
    )


def attempts_of(tenant_id: UUID, delivery_id: UUID) -> Statement[Attempt]:
    """In order; the last one is without an end while it is under way."""
    return statement(
        "select n, started_at, ended_at, worker, status, error_class, detail, duration_ms,"
        " request_headers, encode(body_sha256, 'hex'), encode(sent_sha256, 'hex'), response_headers,"
        " response_body from hubblewave.webhook_attempts"
        " where tenant_id = %(tenant)s and delivery_id = %(delivery)s"
        " union all select d.attempt, d.started_at, null, coalesce(d.worker, ''), null, null, null,"
        " null, null, null, null, null, null from hubblewave.webhook_deliveries d"
        " where d.tenant_id = %(tenant)s and d.id = %(delivery)s and d.state = 'sending'"
        " and not exists (select from hubblewave.webhook_attempts a where a.delivery_id = d.id"
        " and a.n = d.attempt and a.started_at = d.started_at)"
        " order by n, started_at",
        {"tenant": tenant_id, "delivery": delivery_id},
        lambda row: Attempt(*row),
    )


def clock() -> Statement[datetime]:
    """The database's time, by which everything here is judged."""
    return statement("select clock_timestamp()", (), lambda row: row[0])


@dataclass(frozen=True, slots=True)
class TestRow:
    """A test delivery as it is logged."""

    id: UUID
    event_id: UUID
    type: str
    started_at: datetime
    success: bool
    reason: str | None
    status: int | None
    error_class: str | None
    detail: str | None
    duration_ms: float
    request_headers: dict[str, str]
    response_headers: dict[str, str] | None
    response_body: str | None


def log_test(tenant_id: UUID, webhook_id: UUID, row: TestRow) -> list[Statement[Any]]:
    return [
        statement(
            "insert into hubblewave.webhook_delivery_log (id, tenant_id, webhook_id, event_id,"
            " occurred_at, type, kind, status, reason, attempts, created_at)"
            " values (%s, %s, %s, %s, %s, %s, 'test', %s, %s, 1, %s)",
            (
                row.id,
                tenant_id,
                webhook_id,
                row.event_id,
                row.started_at,
                row.type,
                "success" if row.success else "failed",
                row.reason,
                row.started_at,
            ),
        ),
        statement(
            "insert into hubblewave.webhook_attempts (tenant_id, webhook_id, delivery_id, n,"
            " started_at, ended_at, worker, status, error_class, detail, duration_ms,"
            " request_headers, response_headers, response_body)"
            " values (%s, %s, %s, 1, %s, now(), 'api', %s, %s, %s, %s, %s, %s, %s)",
            (
                tenant_id,
                webhook_id,
                row.id,
                row.started_at,
                row.status,
                row.error_class,
                row.detail,
                row.duration_ms,
                Jsonb(row.request_headers),
                None if row.response_headers is None else Jsonb(row.response_headers),
                row.response_body,
            ),
        ),
    ]
