"""Webhooks as tenants configure them, their secrets, and when the platform stops sending to one."""

# ruff: noqa: S608 - only this module's own names are formatted into its statements

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.envelope import Place
from hubblewave_pipelines.storage.database import Statement, statement


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A secret as it is shown: never itself. `position` 1 is the one that is to come."""

    position: int
    prefix: str
    fingerprint: str
    created_at: datetime
    retires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Webhook:
    id: UUID
    tenant_id: UUID
    name: str
    url: str
    events: list[str]
    active: bool
    verified_at: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    headers_sealed: str | None
    header_names: list[str]
    transform: str | None
    filter: dict[str, Json] | None
    retry_config: dict[str, Json]
    ordering: str
    ordering_escape_hours: int
    created_at: datetime
    updated_at: datetime

    @property
    def status(self) -> str:
        if not self.active:
            return "inactive"
        if self.disabled_at is not None:
            return "disabled"
        return "unverified" if self.verified_at is None else "enabled"


@dataclass(frozen=True, slots=True)
class Health:
    """How deliveries have gone lately. `recent`: the last attempts, 1 for a success."""

    recent: str
    succeeded: int
    failed: int
    last_success_at: datetime | None
    first_failure_at: datetime | None
    open_until: datetime | None
    paused_until: datetime | None


_NAMES = (
    "id, tenant_id, name, url, events, active, verified_at, disabled_at, disabled_reason,"
    " headers_sealed, header_names, transform, filter, retry_config, ordering,"
    " ordering_escape_hours, created_at, updated_at"
)
_TABLE = "webhooks"


def _webhook(row: tuple[Any, ...]) -> Webhook:
    return Webhook(*row)


def secret_place(tenant_id: UUID, webhook_id: UUID) -> Place:
    """The same for both secrets: the next one takes the other's position without being opened."""
    return Place(tenant_id, "webhook_secrets", str(webhook_id), "sealed")


def headers_place(tenant_id: UUID, webhook_id: UUID) -> Place:
    return Place(tenant_id, _TABLE, str(webhook_id), "headers_sealed")


def insert_webhook(
    webhook_id: UUID, tenant_id: UUID, created_by: UUID, values: Mapping[str, object]
) -> Statement[Webhook]:
    """`values` by column, as `writable` names them."""
    columns, params = writable(values)
    slots = ", ".join(["%s"] * len(params))
    return statement(
        f"insert into hubblewave.webhooks (id, tenant_id, created_by, {', '.join(columns)})"
        f" values (%s, %s, %s, {slots}) returning {_NAMES}",
        (webhook_id, tenant_id, created_by, *params),
        _webhook,
    )


_WRITABLE = (
    "name", "url", "events", "active", "headers_sealed", "header_names", "transform", "filter",
    "retry_config", "ordering", "ordering_escape_hours", "verified_at",
)  # fmt: skip


def writable(values: Mapping[str, object]) -> tuple[list[str], list[object]]:
    """Columns and parameters; raises KeyError for a column that is not configured by people."""
    columns = sorted(values)
    unknown = set(columns) - set(_WRITABLE)
    if unknown:
        raise KeyError(f"not columns of a webhook that are written: {sorted(unknown)}")
    return columns, [Jsonb(v) if isinstance(v, dict) else v for v in map(values.get, columns)]


def update_webhook(
    tenant_id: UUID, webhook_id: UUID, values: Mapping[str, object]
) -> Statement[Webhook]:
    columns, params = writable(values)
    pairs = "".join(f"{column} = %s, " for column in columns)
    return statement(
        f"update hubblewave.webhooks set {pairs}updated_at = clock_timestamp()"
        f" where tenant_id = %s and id = %s returning {_NAMES}",
        (*params, tenant_id, webhook_id),
        _webhook,
    )


def webhook_by_id(tenant_id: UUID, webhook_id: UUID, *, locked: bool = False) -> Statement[Webhook]:
    lock = " for update" if locked else ""
    return statement(
        f"select {_NAMES} from hubblewave.webhooks where tenant_id = %s and id = %s{lock}",
        (tenant_id, webhook_id),
        _webhook,
    )


def webhooks_of(tenant_id: UUID, *, limit: int, offset: int) -> Statement[Webhook]:
    return statement(
        f"select {_NAMES} from hubblewave.webhooks where tenant_id = %s"
        " order by created_at, id limit %s offset %s",
        (tenant_id, limit, offset),
        _webhook,
    )


def count_webhooks(tenant_id: UUID) -> Statement[int]:
    return statement(
        "select count(*) from hubblewave.webhooks where tenant_id = %s",
        (tenant_id,),
        lambda row: int(row[0]),
    )


def delete_webhook(tenant_id: UUID, webhook_id: UUID) -> Statement[UUID]:
    """Its deliveries that are not over go with it, and what is in flight is not tried again."""
    return statement(
        "delete from hubblewave.webhooks where tenant_id = %s and id = %s returning id",
        (tenant_id, webhook_id),
        lambda row: row[0],
    )


def insert_health(tenant_id: UUID, webhook_id: UUID) -> Statement[Any]:
    return statement(
        "insert into hubblewave.webhook_health (tenant_id, webhook_id) values (%s, %s)",
        (tenant_id, webhook_id),
    )


def health_of(tenant_id: UUID, webhook_ids: Sequence[UUID]) -> Statement[tuple[UUID, Health]]:
    return statement(
        "select webhook_id, recent, succeeded, failed, last_success_at, first_failure_at, open_until,"
        " paused_until from hubblewave.webhook_health where tenant_id = %s and webhook_id = any(%s)",
        (tenant_id, list(webhook_ids)),
        lambda row: (row[0], Health(*row[1:])),
    )


def put_secret(
    tenant_id: UUID,
    webhook_id: UUID,
    position: int,
    *,
    sealed: str,
    prefix: str,
    fingerprint: str,
) -> Statement[Any]:
    return statement(
        "insert into hubblewave.webhook_secrets (tenant_id, webhook_id, position, sealed, prefix,"
        " fingerprint) values (%s, %s, %s, %s, %s, %s) on conflict (webhook_id, position) do update"
        " set sealed = excluded.sealed, prefix = excluded.prefix,"
        " fingerprint = excluded.fingerprint, created_at = now()",
        (tenant_id, webhook_id, position, sealed, prefix, fingerprint),
    )


def retire_at(tenant_id: UUID, webhook_id: UUID, overlap: timedelta | None) -> Statement[Any]:
    """The secret in force gives way to the next one after `overlap`; None: only when told."""
    return statement(
        "update hubblewave.webhook_secrets set retires_at = now() + %s"
        " where tenant_id = %s and webhook_id = %s and position = 0",
        (overlap, tenant_id, webhook_id),
    )


def sealed_secrets(
    tenant_id: UUID, webhook_id: UUID, *, locked: bool = False
) -> Statement[tuple[StoredSecret, str, bool]]:
    """Each secret with its sealed text, and whether its time is over; the one in force first."""
    return statement(
        "select position, prefix, fingerprint, created_at, retires_at, sealed,"
        " coalesce(retires_at <= now(), false) from hubblewave.webhook_secrets"
        " where tenant_id = %s and webhook_id = %s order by position"
        + (" for update" if locked else ""),
        (tenant_id, webhook_id),
        lambda row: (StoredSecret(*row[:5]), row[5], row[6]),
    )


def secrets_of(
    tenant_id: UUID, webhook_ids: Sequence[UUID]
) -> Statement[tuple[UUID, StoredSecret]]:
    return statement(
        "select webhook_id, position, prefix, fingerprint, created_at, retires_at"
        " from hubblewave.webhook_secrets where tenant_id = %s and webhook_id = any(%s)"
        " order by webhook_id, position",
        (tenant_id, list(webhook_ids)),
        lambda row: (row[0], StoredSecret(*row[1:])),
    )


def promote_secret(tenant_id: UUID, webhook_id: UUID) -> list[Statement[Any]]:
    """The next secret takes the place of the one in force, which is forgotten."""
    own = (tenant_id, webhook_id)
    where = "where tenant_id = %s and webhook_id = %s"
    return [
        statement(f"delete from hubblewave.webhook_secrets {where} and position = 0", own),
        statement(f"update hubblewave.webhook_secrets set position = 0 {where}", own),
    ]


def drop_secret(tenant_id: UUID, webhook_id: UUID, position: int) -> Statement[Any]:
    return statement(
        "delete from hubblewave.webhook_secrets"
        " where tenant_id = %s and webhook_id = %s and position = %s",
        (tenant_id, webhook_id, position),
    )


def mark_verified(tenant_id: UUID, webhook_id: UUID, url: str) -> Statement[Webhook]:
    """No row when the webhook is gone or points elsewhere by now."""
    return statement(
        "update hubblewave.webhooks set verified_at = now(), updated_at = clock_timestamp()"
        f" where tenant_id = %s and id = %s and url = %s returning {_NAMES}",
        (tenant_id, webhook_id, url),
        _webhook,
    )


def enable(tenant_id: UUID, webhook_id: UUID) -> Statement[Webhook]:
    """Active again, and no longer disabled. What its health remembers stays."""
    return statement(
        "update hubblewave.webhooks set active = true, disabled_at = null, disabled_reason = null,"
        " updated_at = clock_timestamp() where tenant_id = %s and id = %s"
        f" returning {_NAMES}",
        (tenant_id, webhook_id),
        _webhook,
    )


def fresh_start(tenant_id: UUID, webhook_id: UUID, *, probe: bool) -> Statement[Any]:
    """After `enable`: the clock of failures starts anew, the window of attempts does not. With
    `probe` the circuit is half open: one delivery at a time until one succeeds."""
    return statement(
        "update hubblewave.webhook_health set first_failure_at = null, open_until ="
        " case when %s then now() else least(open_until, now()) end, paused_until = null"
        " where tenant_id = %s and webhook_id = %s",
        (probe, tenant_id, webhook_id),
    )


def hold_deliveries(tenant_id: UUID, webhook_id: UUID) -> Statement[Any]:
    """Nothing that is due is sent until somebody enables the webhook."""
    return statement(
        "update hubblewave.webhook_deliveries set state = 'held'"
        " where tenant_id = %s and webhook_id = %s and state = 'due'",
        (tenant_id, webhook_id),
    )


def release_held(tenant_id: UUID, webhook_id: UUID, since: datetime | None) -> Statement[Any]:
    """Held deliveries become due, those of events since `since` only when it is given."""
    return statement(
        "update hubblewave.webhook_deliveries set state = 'due', next_at = now()"
        " where tenant_id = %s and webhook_id = %s and state = 'held'"
        " and occurred_at >= coalesce(%s::timestamptz, '-infinity')",
        (tenant_id, webhook_id, since),
    )


def cancel_held(tenant_id: UUID, webhook_id: UUID) -> Statement[Any]:
    """What stays held after an enable is over; the log says so."""
    return statement(
        "with gone as (delete from hubblewave.webhook_deliveries where tenant_id = %s"
        " and webhook_id = %s and state = 'held' returning *)"
        " insert into hubblewave.webhook_delivery_log (id, tenant_id, webhook_id, event_id,"
        " occurred_at, type, kind, status, reason, attempts, created_at) select id, tenant_id,"
        " webhook_id, event_id, occurred_at, type, kind, 'cancelled', 'held', attempt, created_at"
        " from gone",
        (tenant_id, webhook_id),
    )
