"""Connectors as tenants configure them, and what was last found out about them."""

# ruff: noqa: S608 - only this module's own names are formatted into its statements

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.bucket import Pace
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.envelope import Place
from hubblewave_pipelines.storage.database import Statement, statement


@dataclass(frozen=True, slots=True)
class StoredConnector:
    """`status`: active, inactive (nothing is asked of the system) or error (`last_error` says why)."""

    id: UUID
    tenant_id: UUID
    type: str
    name: str
    config: dict[str, Any]
    pace: dict[str, Any]
    status: str
    last_sync_at: datetime | None
    last_error: Json
    last_check: Json
    last_check_at: datetime | None
    inbound_sealed: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def base_url(self) -> str:
        return str(self.config["baseUrl"])

    @property
    def kept_pace(self) -> Pace:
        """As requests are paced: what the row says, else the default."""
        return Pace(**self.pace)


_NAMES = ", ".join(field.name for field in fields(StoredConnector))
_WRITABLE = frozenset({"name", "config", "pace", "status", "last_error", "inbound_sealed"})


def _connector(row: tuple[Any, ...]) -> StoredConnector:
    return StoredConnector(*row)


def inbound_place(tenant_id: UUID, connector_id: UUID) -> Place:
    return Place(tenant_id, "connectors", str(connector_id), "inbound_sealed")


def _written(values: Mapping[str, object]) -> tuple[list[str], list[object]]:
    columns = sorted(values)
    unknown = set(columns) - _WRITABLE
    if unknown:
        raise KeyError(f"not columns of a connector that are written: {sorted(unknown)}")
    return columns, [Jsonb(v) if isinstance(v, dict) else v for v in map(values.get, columns)]


def insert_connector(
    connector_id: UUID, tenant_id: UUID, type: str, created_by: UUID, values: Mapping[str, object]
) -> Statement[StoredConnector]:
    columns, params = _written(values)
    slots = ", ".join(["%s"] * len(params))
    return statement(
        f"insert into hubblewave.connectors (id, tenant_id, type, created_by, {', '.join(columns)})"
        f" values (%s, %s, %s, %s, {slots}) returning {_NAMES}",
        (connector_id, tenant_id, type, created_by, *params),
        _connector,
    )


def update_connector(
    tenant_id: UUID, connector_id: UUID, values: Mapping[str, object]
) -> Statement[StoredConnector]:
    columns, params = _written(values)
    pairs = "".join(f"{column} = %s, " for column in columns)
    return statement(
        f"update hubblewave.connectors set {pairs}updated_at = clock_timestamp()"
        f" where tenant_id = %s and id = %s returning {_NAMES}",
        (*params, tenant_id, connector_id),
        _connector,
    )


def connector_by_id(
    tenant_id: UUID, connector_id: UUID, *, locked: bool = False
) -> Statement[StoredConnector]:
    lock = " for update" if locked else ""
    return statement(
        f"select {_NAMES} from hubblewave.connectors where tenant_id = %s and id = %s{lock}",
        (tenant_id, connector_id),
        _connector,
    )


def connector_named(tenant_id: UUID, name: str) -> Statement[StoredConnector]:
    """The connector of that name, whatever its case."""
    return statement(
        f"select {_NAMES} from hubblewave.connectors where tenant_id = %s and lower(name) = lower(%s)",
        (tenant_id, name),
        _connector,
    )


def connectors_of(tenant_id: UUID, *, limit: int, offset: int = 0) -> Statement[StoredConnector]:
    return statement(
        f"select {_NAMES} from hubblewave.connectors where tenant_id = %s"
        " order by created_at, id limit %s offset %s",
        (tenant_id, limit, offset),
        _connector,
    )


def count_connectors(tenant_id: UUID) -> Statement[int]:
    return statement(
        "select count(*) from hubblewave.connectors where tenant_id = %s",
        (tenant_id,),
        lambda row: int(row[0]),
    )


def delete_connector(tenant_id: UUID, connector_id: UUID) -> Statement[UUID]:
    """Its credentials, checks and sync jobs go with it."""
    return statement(
        "delete from hubblewave.connectors where tenant_id = %s and id = %s returning id",
        (tenant_id, connector_id),
        lambda row: row[0],
    )


def jobs_on(tenant_id: UUID, connector_id: UUID) -> Statement[str]:
    """Names of the sync jobs that stand on the connector."""
    return statement(
        "select name from hubblewave.sync_jobs where tenant_id = %s and connector_id = %s order by name",
        (tenant_id, connector_id),
        lambda row: row[0],
    )


def note_trouble(tenant_id: UUID, connector_id: UUID, code: str, detail: str) -> Statement[Any]:
    """An admin must do something before the connector works again. One that is inactive stays so."""
    return statement(
        "update hubblewave.connectors set last_error = jsonb_build_object('code', %s::text,"
        " 'detail', %s::text, 'at', now()),"
        " status = case status when 'inactive' then status else 'error' end"
        " where tenant_id = %s and id = %s",
        (code, detail, tenant_id, connector_id),
    )


def note_works(tenant_id: UUID, connector_id: UUID, *, synced: bool = False) -> Statement[Any]:
    """The connector does what it should; `synced` says that data came over just now."""
    return statement(
        "update hubblewave.connectors set last_error = null,"
        " last_sync_at = case when %s then now() else last_sync_at end,"
        " status = case status when 'error' then 'active' else status end"
        " where tenant_id = %s and id = %s and (%s or status = 'error' or last_error is not null)",
        (synced, tenant_id, connector_id, synced),
    )


def note_check(tenant_id: UUID, connector_id: UUID, report: Mapping[str, Json]) -> Statement[Any]:
    return statement(
        "update hubblewave.connectors set last_check = %s, last_check_at = now()"
        " where tenant_id = %s and id = %s",
        (Jsonb(dict(report)), tenant_id, connector_id),
    )
