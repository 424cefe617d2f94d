"""Statements on definitions and on the ledger of their changes."""

from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from hubblewave_pipelines.core.definition import to_stored
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.storage.database import Statement, compiled
from hubblewave_pipelines.storage.steps import Step
from hubblewave_pipelines.storage.tables import entities, schema_changes, tenants


def open_change(
    tenant_id: UUID,
    before: Entity | None,
    after: Entity | None,
    steps: list[Step],
    requested_by: UUID | None,
) -> Statement[UUID]:
    """A running change, with both definitions: whoever finds it unfinished can undo it."""
    entity = after or before
    if entity is None:
        raise ValueError("a change needs a definition before or after it")
    query = insert(schema_changes).values(
        tenant_id=tenant_id,
        entity_id=entity.id,
        requested_by=requested_by,
        steps={
            "before": before and to_stored(before),
            "after": after and to_stored(after),
            "plan": [step.as_json() for step in steps],
        },
    )
    return compiled(query.returning(schema_changes.c.id), lambda row: row[0])


def record_progress(change_id: UUID, done: int) -> Statement[Any]:
    query = update(schema_changes).where(schema_changes.c.id == change_id)
    return compiled(query.values(steps_done=done))


def close_change(change_id: UUID, error: str | None = None) -> Statement[Any]:
    """Done, or failed with the reason."""
    query = update(schema_changes).where(schema_changes.c.id == change_id)
    state = "done" if error is None else "failed"
    return compiled(query.values(state=state, error=error, finished_at=func.now()))


def unfinished_changes(tenant_id: UUID) -> Statement[tuple[UUID, dict[str, Any]]]:
    """Changes whose process died: (id, {before, after}). Read under the tenant's lock only."""
    query = (
        select(schema_changes.c.id, schema_changes.c.steps)
        .where(schema_changes.c.tenant_id == tenant_id, schema_changes.c.state == "running")
        .order_by(schema_changes.c.created_at)
    )
    return compiled(query, lambda row: (row[0], row[1]))


def store_entity(tenant_id: UUID, entity: Entity) -> Statement[Any]:
    """The entity's definition, new or in place of the one it had."""
    values = {"slug": entity.slug, "name": entity.name, "definition": to_stored(entity)}
    query = insert(entities).values(id=entity.id, tenant_id=tenant_id, **values)
    return compiled(
        query.on_conflict_do_update(
            index_elements=[entities.c.id],
            set_={**values, "updated_at": func.now()},
            where=entities.c.tenant_id == tenant_id,
        )
    )


def remove_entity(tenant_id: UUID, entity_id: str) -> Statement[Any]:
    where = (entities.c.tenant_id == tenant_id, entities.c.id == entity_id)
    return compiled(delete(entities).where(*where))


def next_version(tenant_id: UUID) -> Statement[int]:
    """Every process reads the definitions anew on its next request of this tenant."""
    query = (
        update(tenants)
        .where(tenants.c.id == tenant_id)
        .values(catalog_version=tenants.c.catalog_version + 1)
    )
    return compiled(query.returning(tenants.c.catalog_version), lambda row: row[0])
