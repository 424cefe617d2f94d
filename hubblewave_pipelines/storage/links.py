"""Pairs of a manyToMany: linking and unlinking two records, in either direction."""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Entity, Relation
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.physical import link_table


def _pair(relation: Relation, record_id: UUID, related_id: UUID) -> tuple[UUID, UUID]:
    """The ids as the link table holds them: source, target."""
    return (record_id, related_id) if relation.forward else (related_id, record_id)


def _table(entity: Entity, relation: Relation) -> str:
    if relation.link is None:
        raise ValueError(f"{relation.name} has no pairs")
    return link_table(entity.schema, relation.link)


def link(entity: Entity, relation: Relation, record_id: UUID, related_id: UUID) -> Statement[Any]:
    """Make two records that exist a pair; nothing happens when they are one."""
    text = f"insert into {_table(entity, relation)} (source_id, target_id) values (%s, %s)"
    return statement(f"{text} on conflict do nothing", _pair(relation, record_id, related_id))


def unlink(entity: Entity, relation: Relation, record_id: UUID, related_id: UUID) -> Statement[Any]:
    """End the pair; nothing happens when there is none."""
    text = f"delete from {_table(entity, relation)} where source_id = %s and target_id = %s"
    return statement(text, _pair(relation, record_id, related_id))
