"""Checks and discoveries that somebody asked for: how each stands, and what it found."""

# ruff: noqa: S608 - only this module's own names are formatted into its statements

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, statement


@dataclass(frozen=True, slots=True)
class Ask:
    """`status`: pending, processing, completed (`result` is there), failed (`error`) or cancelled."""

    id: UUID
    tenant_id: UUID
    connector_id: UUID
    kind: str
    stream: str | None
    status: str
    result: Json
    error: Json
    run_id: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None

    @property
    def over(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")


_NAMES = ", ".join(field.name for field in fields(Ask))


def _ask(row: tuple[Any, ...]) -> Ask:
    return Ask(*row)


def insert_ask(
    tenant_id: UUID, connector_id: UUID, kind: str, stream: str | None, created_by: UUID
) -> Statement[Ask]:
    return statement(
        "insert into hubblewave.connector_asks (tenant_id, connector_id, kind, stream, created_by)"
        f" values (%s, %s, %s, %s, %s) returning {_NAMES}",
        (tenant_id, connector_id, kind, stream, created_by),
        _ask,
    )


def ask_by_id(tenant_id: UUID, ask_id: UUID) -> Statement[Ask]:
    return statement(
        f"select {_NAMES} from hubblewave.connector_asks where tenant_id = %s and id = %s",
        (tenant_id, ask_id),
        _ask,
    )


def open_ask(tenant_id: UUID, connector_id: UUID, kind: str, stream: str | None) -> Statement[Ask]:
    """The one under way already, which whoever asks the same may wait for."""
    return statement(
        f"select {_NAMES} from hubblewave.connector_asks where tenant_id = %s and connector_id = %s"
        " and kind = %s and stream is not distinct from %s and status in ('pending', 'processing')"
        " order by created_at desc limit 1",
        (tenant_id, connector_id, kind, stream),
        _ask,
    )


def found_lately(
    tenant_id: UUID, connector_id: UUID, kind: str, stream: str | None, within: timedelta
) -> Statement[Ask]:
    """The newest result that is not older than `within`, nor than the connector's configuration."""
    return statement(
        f"select {', '.join(f'a.{name}' for name in _NAMES.split(', '))}"
        " from hubblewave.connector_asks a"
        " join hubblewave.connectors c on c.tenant_id = a.tenant_id and c.id = a.connector_id"
        " where a.tenant_id = %s and a.connector_id = %s and a.kind = %s"
        " and a.stream is not distinct from %s and a.status = 'completed'"
        " and a.completed_at > now() - %s and a.created_at >= c.updated_at"
        " order by a.created_at desc limit 1",
        (tenant_id, connector_id, kind, stream, within),
        _ask,
    )


def start_ask(tenant_id: UUID, ask_id: UUID, run_id: str) -> Statement[Ask]:
    """The ask as this run's; no row when it is over."""
    return statement(
        "update hubblewave.connector_asks set status = 'processing', run_id = %s,"
        " started_at = coalesce(started_at, now()) where tenant_id = %s and id = %s"
        f" and status in ('pending', 'processing') returning {_NAMES}",
        (run_id, tenant_id, ask_id),
        _ask,
    )


def end_ask(
    tenant_id: UUID,
    ask_id: UUID,
    *,
    result: Json = None,
    error: Mapping[str, str] | None = None,
) -> Statement[Ask]:
    """Settle it: failed with an error, else completed."""
    return statement(
        "update hubblewave.connector_asks set completed_at = now(), result = %(result)s,"
        " error = %(error)s, status = case when %(error)s::jsonb is null then 'completed'"
        " else 'failed' end where tenant_id = %(tenant)s and id = %(id)s"
        f" and status in ('pending', 'processing') returning {_NAMES}",
        {
            "result": None if result is None else Jsonb(result),
            "error": None if error is None else Jsonb(dict(error)),
            "tenant": tenant_id,
            "id": ask_id,
        },
        _ask,
    )


def forget_older(ask: Ask) -> Statement[Any]:
    """Of each question only the last answers are kept."""
    return statement(
        "delete from hubblewave.connector_asks where tenant_id = %s and connector_id = %s"
        " and kind = %s and stream is not distinct from %s and created_at < %s"
        " and completed_at < now() - interval '1 day'",
        (ask.tenant_id, ask.connector_id, ask.kind, ask.stream, ask.created_at),
    )
