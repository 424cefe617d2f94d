"""Sync jobs as assets: from the stream of the other system to the entity's table, from rows."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import dagster as dg

from hubblewave_pipelines.core.asset_keys import external_key, sync_key
from hubblewave_pipelines.definitions.sync_reporting import CHECKS
from hubblewave_pipelines.definitions.syncs import ASSET_JOBS, connector_syncs, partitions_of
from hubblewave_pipelines.storage.defs_states import SyncRow

State = dict[str, Any]


def shown_syncs(rows: Iterable[SyncRow]) -> dict[str, list[State]]:
    """What the graph's state keeps of sync jobs, by tenant."""
    found: dict[str, list[State]] = {}
    for row in rows:
        found.setdefault(row.tenant_slug, []).append(
            {
                "id": str(row.id),
                "tenant": str(row.tenant_id),
                "name": row.name,
                "stream": row.stream,
                "connector": str(row.connector_id),
                "type": row.connector_type,
                "connectorName": row.connector_name,
                "entity": row.entity_id,
                "direction": row.direction,
                "cron": row.cron,
                "timezone": row.timezone,
                "window": row.window_size,
                "since": row.since,
            }
        )
    return found


def key_of(tenant_slug: str, sync: State) -> dg.AssetKey:
    return dg.AssetKey(sync_key(tenant_slug, sync["stream"], UUID(sync["id"])))


def _external(tenant_slug: str, sync: State) -> dg.AssetKey:
    return dg.AssetKey(
        external_key(tenant_slug, sync["type"], UUID(sync["connector"]), sync["stream"])
    )


def sync_assets(tenant: State, group: str, since: int) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """One executable definition per connector and size of windows, and the streams they read.

    `since` is of all tenants: one set of windows per size is shared by all jobs.
    """
    slug = tenant["slug"]
    streams: dict[dg.AssetKey, dg.AssetSpec] = {}
    groups: dict[tuple[str, str], list[State]] = {}
    for sync in tenant.get("syncs", ()):
        groups.setdefault((sync["connector"], sync["window"]), []).append(sync)
        streams[_external(slug, sync)] = dg.AssetSpec(
            key=_external(slug, sync),
            description=f"{sync['stream']} in {sync['connectorName']}.",
            group_name=group,
            kinds={sync["type"]},
            tags={"hubblewave/tenant": slug},
        )
    made: list[dg.AssetsDefinition | dg.AssetSpec] = list(streams.values())
    for (connector, window), syncs in sorted(groups.items()):
        short = UUID(connector).hex[-8:]
        made.append(
            connector_syncs(
                f"sync_{group}_{short}_{window}",
                [_spec(tenant, group, sync) for sync in syncs],
                [
                    dg.AssetCheckSpec(name, asset=key_of(slug, sync), description=description)
                    for sync in syncs
                    for name, description in CHECKS.items()
                ],
                {key_of(slug, s): (UUID(s["tenant"]), UUID(s["id"])) for s in syncs},
                partitions_of(window, since),
                pool=f"connector_{short}",
            )
        )
    return made


def _spec(tenant: State, group: str, sync: State) -> dg.AssetSpec:
    slug = tenant["slug"]
    when = f"at {sync['cron']} ({sync['timezone']})" if sync["cron"] else "when asked"
    return dg.AssetSpec(
        key=key_of(slug, sync),
        deps=[_external(slug, sync)],
        description=f"{sync['name']}: {sync['stream']} of {sync['connectorName']}, {when}.",
        group_name=group,
        kinds={sync["type"], "postgres"},
        tags={"hubblewave/tenant": slug},
        metadata={
            "job": sync["name"],
            "direction": sync["direction"],
            "cron": sync["cron"] or "none",
            "timezone": sync["timezone"],
        },
        skippable=True,  # a run superseded by another ends green and makes nothing
    )


def first_year(tenants: Iterable[State]) -> int:
    return min(
        (sync["since"] for tenant in tenants for sync in tenant.get("syncs", ())), default=2000
    )


def sync_jobs_of(tenants: Sequence[State]) -> list[Any]:
    """The asset jobs, one per size of windows that is used."""
    keys: dict[str, list[dg.AssetKey]] = {}
    for tenant in tenants:
        for sync in tenant.get("syncs", ()):
            keys.setdefault(sync["window"], []).append(key_of(tenant["slug"], sync))
    return [
        dg.define_asset_job(
            ASSET_JOBS[window],
            selection=dg.AssetSelection.assets(*chosen),
            executor_def=dg.in_process_executor,
            description=f"Syncs with {window} windows: a run selects the assets of its jobs.",
        )
        for window, chosen in sorted(keys.items())
    ]
