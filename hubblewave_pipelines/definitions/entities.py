"""Entity definitions as assets: the state-backed component that turns rows into the graph."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.defs_state.base import DefsStateStorage
from dagster.components.utils.defs_state import DefsStateConfig
from dagster_shared.serdes.objects.models.defs_state_info import DefsStateManagementType

from hubblewave_pipelines.core.asset_keys import (
    entity_key,
    export_key,
    import_key,
    rejected_key,
)
from hubblewave_pipelines.core.definition import from_stored
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.definitions import exports
from hubblewave_pipelines.definitions.asks import connector_ask
from hubblewave_pipelines.definitions.exports import export_adhoc, tenant_exports
from hubblewave_pipelines.definitions.history import history_retention, history_schedule
from hubblewave_pipelines.definitions.imports import ASSET_JOB, import_adhoc, tenant_imports
from hubblewave_pipelines.definitions.maintenance import event_retention, retention_schedule
from hubblewave_pipelines.definitions.reporting import CHECK
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.definitions.reverts import import_revert
from hubblewave_pipelines.definitions.sensors import dispatcher, reconcile
from hubblewave_pipelines.definitions.sync_assets import (
    first_year,
    key_of,
    shown_syncs,
    sync_assets,
    sync_jobs_of,
)
from hubblewave_pipelines.definitions.syncs import sync_adhoc
from hubblewave_pipelines.definitions.uploads import upload_retention, uploads_schedule
from hubblewave_pipelines.definitions.watching import watch
from hubblewave_pipelines.definitions.webhooks import (
    check_schedule,
    dead_letter_check,
    deliveries_spec,
    redrive_dead_letters,
)
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.defs_states import (
    GraphRow,
    ScheduleRow,
    SyncRow,
    graph_rows,
    schedule_rows,
    sync_rows,
)

STATE_KEY = "hubblewave-entities"
VERSION_METADATA = "hubblewave/state_version"
State = dict[str, Any]

import_assets = dg.define_asset_job(
    ASSET_JOB,
    selection=dg.AssetSelection.key_prefixes(["import"]),
    executor_def=dg.in_process_executor,
    description="Imports into entities: a run selects the asset of the one it imports into.",
)
export_assets = dg.define_asset_job(
    exports.ASSET_JOB,
    selection=dg.AssetSelection.key_prefixes(["export"]),
    executor_def=dg.in_process_executor,
    description="Exports of entities: a run selects the asset of the one it writes a file of.",
)


def state_of(
    rows: list[GraphRow], schedules: Sequence[ScheduleRow] = (), syncs: Sequence[SyncRow] = ()
) -> bytes:
    """The state of the graph: the same rows make the same bytes."""
    scheduled: dict[tuple[str, str], list[State]] = {}
    for found in schedules:
        shown = {"id": str(found.id), "cron": found.cron, "timezone": found.timezone}
        key = (found.tenant_slug, found.entity_id)
        scheduled.setdefault(key, []).append({**shown, "format": found.format})
    synced, tenants = shown_syncs(syncs), dict[str, State]()
    for row in rows:
        tenant = tenants.setdefault(
            row.tenant_slug, {"slug": row.tenant_slug, "name": row.tenant_name, "entities": []}
        )
        entity = from_stored(row.definition, row.schema)
        exported = scheduled.get((row.tenant_slug, entity.id), [])
        tenant["entities"].append({**_shown(entity), "exports": exported})
        tenant["syncs"] = [
            {**sync, "into": entity.slug} if sync["entity"] == entity.id else sync
            for sync in tenant.get("syncs", synced.get(row.tenant_slug, []))
        ]
    return json.dumps({"tenants": list(tenants.values())}, sort_keys=True).encode()


def read_state_of_graph(database: Database) -> bytes:
    """Raises Unavailable when PostgreSQL cannot be reached."""
    with database.transaction() as tx:
        return state_of(tx.all(graph_rows()), tx.all(schedule_rows()), tx.all(sync_rows()))


def _shown(entity: Entity) -> State:
    return {
        "slug": entity.slug,
        "name": entity.name,
        "plural": entity.plural,
        "description": entity.description,
        "fields": [
            {
                "name": field.name,
                "kind": str(field.kind),
                "required": field.required,
                "unique": field.unique,
                "description": field.description,
            }
            for field in entity.fields
        ],
        "relations": [
            {"name": r.name, "kind": str(r.kind), "target": r.target, "field": r.field}
            for r in entity.relations
        ],
    }


class EntityGraph(dg.StateBackedComponent):
    """All of the code location: the assets of every entity, and the jobs and sensors around them.

    One component for all rows, for Dagster wants their number bounded; and everything in it, for
    a reload with new state rebuilds exactly what the component tree holds.
    """

    @property
    def defs_state_config(self) -> DefsStateConfig:
        return DefsStateConfig(
            key=STATE_KEY,
            management_type=DefsStateManagementType.VERSIONED_STATE_STORAGE,
            refresh_if_dev=False,
        )

    def write_state_to_path(self, state_path: Path) -> None:
        """Used by "refresh" in the Dagster UI; the platform itself refreshes with `graph`."""
        database = Database(Settings().require_database_url(), Role.WORKER, size=1)
        try:
            state_path.write_bytes(read_state_of_graph(database))
        finally:
            database.close()

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        if DefsStateStorage.get() is None:  # loaded by a tool that has no instance
            return self.build_defs_from_state(context, None)
        return super().build_defs(context)

    def build_defs_from_state(
        self, context: dg.ComponentLoadContext, state_path: Path | None
    ) -> dg.Definitions:
        state: State = json.loads(state_path.read_bytes()) if state_path else {"tenants": []}
        pinned = DefinitionsLoadContext.get().get_defs_key_state_info(STATE_KEY)
        return definitions_of(state, pinned.version if pinned else None)


def definitions_of(state: State, version: str | None) -> dg.Definitions:
    """Everything of the code location, for one state of the entities."""
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = []
    checks: list[dg.AssetChecksDefinition] = []
    since = first_year(state["tenants"])
    for tenant in state["tenants"]:
        entities = tenant["entities"]
        assets.append(deliveries_spec(tenant["slug"], _group(tenant)))
        checks.append(dead_letter_check(tenant["slug"]))
        assets.append(
            tenant_imports(
                tenant["slug"],
                [_import_spec(tenant, entity) for entity in entities],
                [_check_spec(tenant, entity) for entity in entities],
            )
        )
        assets.append(tenant_exports(tenant["slug"], list(_export_specs(tenant))))
        assets += sync_assets(tenant, _group(tenant), since)
        for entity in entities:
            assets += [_entity_spec(tenant, entity), _rejected_spec(tenant, entity)]
    launchable: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
        import_adhoc,
        export_adhoc,
        import_revert,
        connector_ask,
        sync_adhoc,
    ]
    if assets:
        launchable += [import_assets, export_assets]
    launchable += sync_jobs_of(state["tenants"])
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[
            *launchable,
            event_retention,
            history_retention,
            upload_retention,
            redrive_dead_letters,
        ],
        sensors=[dispatcher(launchable), reconcile, watch],
        schedules=[
            retention_schedule,
            uploads_schedule,
            history_schedule,
            *([check_schedule(checks)] if checks else []),
        ],
        resources={"platform": Platform()},
        executor=dg.in_process_executor,
        # On the console from INFO on; Dagster keeps every event in its own log anyway.
        loggers={"console": dg.colored_console_logger.configured({"log_level": "INFO"})},
        metadata={VERSION_METADATA: version or "none"},
    )


def _group(tenant: State) -> str:
    return str(tenant["slug"]).replace("-", "_")


def _tags(tenant: State, entity: State) -> dict[str, str]:
    return {"hubblewave/tenant": tenant["slug"], "hubblewave/entity": entity["slug"]}


def _import_spec(tenant: State, entity: State) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=import_key(tenant["slug"], entity["slug"]),
        description=f"Files imported into {entity['plural']} of {tenant['name']}.",
        group_name=_group(tenant),
        kinds={"csv", "postgres"},
        tags=_tags(tenant, entity),
        metadata={"entity": entity["name"], "tenant": tenant["name"]},
        skippable=True,  # a run superseded by another ends green and makes nothing
    )


def _check_spec(tenant: State, entity: State) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        CHECK,
        asset=import_key(tenant["slug"], entity["slug"]),
        description="The share of refused rows stays below HUBBLEWAVE_REJECT_WARN_SHARE.",
    )


def _entity_spec(tenant: State, entity: State) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=entity_key(tenant["slug"], entity["slug"]),
        deps=[
            dg.AssetKey(import_key(tenant["slug"], entity["slug"])),
            *(
                key_of(tenant["slug"], s)
                for s in tenant["syncs"]
                if s.get("into") == entity["slug"]
            ),
        ],
        description=entity["description"] or f"{entity['plural']} of {tenant['name']}.",
        group_name=_group(tenant),
        kinds={"table", "postgres"},
        tags=_tags(tenant, entity),
        metadata={
            "entity": entity["name"],
            "tenant": tenant["name"],
            "dagster/column_schema": dg.TableSchema(columns=_columns(entity)),
            # Relations make no dependency: entities may refer to each other in a circle.
            "relations": dg.MetadataValue.md(_relations(tenant, entity)),
        },
    )


def _export_specs(tenant: State) -> Iterator[dg.AssetSpec]:
    """Per entity the files asked for one by one, and those of each schedule."""
    for entity in tenant["entities"]:
        yield _export_spec(tenant, entity, None, "on demand", "file", {})
        for scheduled in entity.get("exports", ()):
            cron, zone = scheduled["cron"], scheduled["timezone"]
            yield _export_spec(
                tenant,
                entity,
                UUID(scheduled["id"]),
                f"at {cron} ({zone})",
                scheduled["format"],
                {"cron": cron, "timezone": zone},
            )


def _export_spec(
    tenant: State, entity: State, schedule: UUID | None, when: str, kind: str, shown: State
) -> dg.AssetSpec:
    slugs = (tenant["slug"], entity["slug"])
    return dg.AssetSpec(
        key=export_key(*slugs, schedule),
        deps=[dg.AssetKey(entity_key(*slugs))],
        description=f"Files exported from {entity['plural']} of {tenant['name']} {when}.",
        group_name=_group(tenant),
        kinds={kind, "postgres"},
        tags=_tags(tenant, entity),
        metadata={"entity": entity["name"], "tenant": tenant["name"], **shown},
        skippable=True,
    )


def _rejected_spec(tenant: State, entity: State) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=rejected_key(tenant["slug"], entity["slug"]),
        deps=[dg.AssetKey(import_key(tenant["slug"], entity["slug"]))],
        description=f"Rows that imports into {entity['plural']} of {tenant['name']} set aside.",
        group_name=_group(tenant),
        kinds={"table", "postgres"},
        tags=_tags(tenant, entity),
    )


def _columns(entity: State) -> list[dg.TableColumn]:
    return [
        dg.TableColumn(
            name=field["name"],
            type=field["kind"],
            description=field["description"],
            constraints=dg.TableColumnConstraints(
                nullable=not field["required"], unique=field["unique"]
            ),
        )
        for field in entity["fields"]
    ]


def _relations(tenant: State, entity: State) -> str:
    if not entity["relations"]:
        return "None."
    return "\n".join(
        f"- {relation['name']}: {relation['kind']} to {relation['target']}"
        for relation in entity["relations"]
    )
