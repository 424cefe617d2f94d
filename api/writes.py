"""Writing one record on a caller's behalf: what every surface does, and why a write found nothing."""

from collections.abc import Collection, Mapping
from uuid import UUID

from psycopg.errors import ForeignKeyViolation

from api.context import Context
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import NotFound, VersionConflict
from hubblewave_pipelines.storage.records import (
    Written,
    delete_record,
    insert_record,
    update_record,
    version_of,
)
from hubblewave_pipelines.storage.refusals import own_reference, still_referred_to


async def insert(
    context: Context, entity: Entity, values: Mapping[str, object], record_id: UUID | None = None
) -> Written:
    """A new record. Raises VersionConflict when there already is one with this id."""
    actor = context.principal.actor_id
    written = await context.tx.one(
        insert_record(entity, values, actor_id=actor, record_id=record_id)
    )
    if written is None:
        raise VersionConflict(f"There already is a {entity.name} {record_id}.")
    return written


async def update(
    context: Context,
    entity: Entity,
    record_id: UUID,
    values: Mapping[str, object],
    *,
    versions: Collection[int] | None,
) -> Written:
    """The record with these values changed. Raises NotFound and VersionConflict."""
    actor = context.principal.actor_id
    written = await context.tx.one(
        update_record(entity, record_id, values, actor_id=actor, versions=versions)
    )
    if written is None:
        raise await _missed(context, entity, record_id)
    return written


async def delete(
    context: Context, entity: Entity, record_id: UUID, *, versions: Collection[int] | None
) -> None:
    """Raises NotFound, VersionConflict and ReferenceConflict."""
    try:
        deleted = await context.tx.one(delete_record(entity, record_id, versions=versions))
    except ForeignKeyViolation as error:
        # Of a write the same error says that a record named by it is missing; only here is it known
        # to say that records of the same entity refer to this one.
        if own_reference(error, entity):
            raise still_referred_to(entity.name, entity) from error
        raise
    if deleted is None:
        raise await _missed(context, entity, record_id)


async def _missed(context: Context, entity: Entity, record_id: UUID) -> NotFound | VersionConflict:
    """Why a write found nothing to change."""
    version = await context.tx.one(version_of(entity, record_id))
    if version is None:
        return NotFound(f"There is no {entity.name} {record_id}.")
    return VersionConflict(f"The record is at version {version}, not at the one asked for.")
