"""The steps that follow from a difference in an entity's relations."""

from hubblewave_pipelines.core.entity import Catalog, Entity, Relation
from hubblewave_pipelines.core.errors import Conflict
from hubblewave_pipelines.storage import physical
from hubblewave_pipelines.storage.physical import identifier, qualified
from hubblewave_pipelines.storage.steps import Lock, Phase, Step


def relation_steps(before: Entity, after: Entity, catalog: Catalog) -> list[Step]:
    """Steps for the references and links that came, went or got another rule for deletion."""
    return [*_references(before, after, catalog), *_links(before, after, catalog)]


def target_of(name: str, after: Entity, catalog: Catalog) -> Entity:
    found = after if name == after.name else catalog.named(name)
    if found is None:
        raise Conflict(f"The entity {name} is gone; read the definitions again.")
    return found


def links_elsewhere(entity: Entity, catalog: Catalog) -> set[str]:
    """The link tables that other entities read too."""
    others = (other for other in catalog if other.id != entity.id)
    return {link for other in others for link in physical.links(other)}


def create_link(
    entity: Entity, link: str, relation: Relation, catalog: Catalog, phase: Phase
) -> Step:
    to = target_of(relation.target, entity, catalog)
    statements = physical.create_link(entity.schema, link, entity, to, str(catalog.tenant_id))
    return Step(
        f"create the link table of {relation.name}",
        phase,
        tuple(statements),
        Lock.SHARE_ROW_EXCLUSIVE,
    )


def _references(before: Entity, after: Entity, catalog: Catalog) -> list[Step]:
    table = qualified(after)
    old = {r.id: r for r in before.references.values()}
    new = {r.id: r for r in after.references.values()}
    steps = [
        Step(
            f"add the reference {relation.field} to {relation.target}",
            Phase.EXPAND,
            (f"alter table {table} add column {identifier(relation.column)} uuid",),
            Lock.ACCESS_EXCLUSIVE,
            breaking=relation.required,
        )
        for relation in new.values()
        if relation.id not in old
    ]
    was, now = physical.foreign_keys(before), physical.foreign_keys(after)
    for name in sorted(now.keys() - was.keys()):
        key = now[name]
        clause = physical.foreign_key_clause(key, target_of(key.target, after, catalog))
        steps.append(
            Step(
                f"deleting a {key.target}: {key.action} for {key.relation}",
                Phase.EXPAND,
                (f"alter table {table} add {clause} not valid",),
                Lock.SHARE_ROW_EXCLUSIVE,
            )
        )
        steps.append(
            Step(
                f"check that every {key.relation} exists",
                Phase.BUILD,
                (f"alter table {table} validate constraint {identifier(name)}",),
                Lock.SHARE_UPDATE_EXCLUSIVE,
            )
        )
    indexes = physical.reference_indexes(after)
    steps += [
        Step(
            f"build the index of {indexes[name].field} beside reads and writes",
            Phase.BUILD,
            (f"create index concurrently {name} on {table} ({indexes[name].column})",),
            Lock.SHARE_UPDATE_EXCLUSIVE,
            index=name,
        )
        for name in sorted(indexes.keys() - physical.reference_indexes(before).keys())
    ]
    steps += [
        Step(
            f"drop the old rule for deleting what {was[name].relation} refers to",
            Phase.SETTLE,
            (f"alter table {table} drop constraint if exists {identifier(name)}",),
            Lock.ACCESS_EXCLUSIVE,
        )
        for name in sorted(was.keys() - now.keys())
    ]
    for relation in old.values():
        if relation.id not in new:
            column = identifier(relation.column)
            steps.append(
                Step(
                    f"retire the reference {relation.field}: its values stay, out of reach",
                    Phase.SETTLE,
                    (
                        f"alter table {table} alter column {column} drop not null",
                        f"drop index if exists {identifier(after.schema)}.x_{relation.id}",
                    ),
                    Lock.ACCESS_EXCLUSIVE,
                    breaking=True,
                    destructive=True,
                )
            )
    return steps


def _links(before: Entity, after: Entity, catalog: Catalog) -> list[Step]:
    was, now = physical.links(before), physical.links(after)
    elsewhere = links_elsewhere(before, catalog)
    steps = [
        create_link(after, link, relation, catalog, Phase.EXPAND)
        for link, relation in now.items()
        if link not in was and link not in elsewhere
    ]
    for link, relation in was.items():
        if link in now:
            continue
        shared = link in elsewhere
        table = physical.link_table(after.schema, link)
        steps.append(
            Step(
                f"remove the relationship {relation.name}"
                + ("; its pairs stay for the other side" if shared else " and its pairs"),
                Phase.SETTLE,
                () if shared else (f"drop table if exists {table}",),
                Lock.NONE if shared else Lock.ACCESS_EXCLUSIVE,
                breaking=True,
                destructive=not shared,
            )
        )
    return steps
