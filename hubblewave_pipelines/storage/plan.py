"""The difference between two definitions of an entity, as ordered steps that people can read."""

from hubblewave_pipelines.core.entity import Catalog, Entity, RelationKind
from hubblewave_pipelines.core.errors import Conflict, Fault
from hubblewave_pipelines.core.relations import dependents
from hubblewave_pipelines.storage import physical
from hubblewave_pipelines.storage.conversions import conversion, retyped
from hubblewave_pipelines.storage.field_steps import column_steps, newly_required, rule_steps
from hubblewave_pipelines.storage.history_table import create_history, history_table
from hubblewave_pipelines.storage.physical import identifier, qualified
from hubblewave_pipelines.storage.relation_steps import (
    create_link,
    links_elsewhere,
    relation_steps,
    target_of,
)
from hubblewave_pipelines.storage.stale_writers import guard
from hubblewave_pipelines.storage.steps import Lock, Phase, Step
from hubblewave_pipelines.storage.type_steps import undo_type_steps


def plan_change(
    before: Entity | None, after: Entity | None, catalog: Catalog, *, force: bool = False
) -> list[Step]:
    """The steps from one definition to the other, in order; [] when nothing differs. With `force`
    a change of type may lose values.

    Raises Conflict where no value of the old type could be one of the new.
    """
    if before is None and after is not None:
        return [*_create(after, catalog), _publish(f"publish {after.name}")]
    if before is not None and after is None:
        return [*_drop(before), _publish(f"take {before.name} out of the API", breaking=True)]
    if before is None or after is None or before == after:
        return []
    _refuse_new_types(before, after)
    rules = rule_steps(before, after)
    steps = [
        *column_steps(before, after, force=force),
        *relation_steps(before, after, catalog),
        *rules,
        *_renames(before, after, catalog),
        *_conditions(before, after),
        *_guards(after, rules, catalog),
        _publish(f"publish the new definition of {after.name}"),
    ]
    order = list(Phase)
    return sorted(steps, key=lambda step: order.index(step.phase))


def undo_steps(before: Entity | None, after: Entity | None, catalog: Catalog) -> list[str]:
    """SQL that takes away what an unfinished change added before its definition was published.

    Nothing could read or write through the new objects, so no value anybody gave is lost. Each
    statement is harmless when its object was never made.
    """
    if before is None or after is None:
        return []  # creation and removal are one transaction
    table = qualified(before)
    kept = {f.column for f in before.fields} | {r.column for r in before.references.values()}
    added = {f.column for f in after.fields} | {r.column for r in after.references.values()}
    constraints = [
        *(physical.checks(after).keys() - physical.checks(before).keys()),
        *(physical.foreign_keys(after).keys() - physical.foreign_keys(before).keys()),
        *(f"n_{c}" for c in newly_required(before, after)),
    ]
    indexes = [
        *(physical.unique_indexes(after).keys() - physical.unique_indexes(before).keys()),
        *(physical.reference_indexes(after).keys() - physical.reference_indexes(before).keys()),
    ]
    new_links = physical.links(after).keys() - physical.links(before).keys()
    new_links -= links_elsewhere(before, catalog)
    return [
        *undo_type_steps(before, after),
        *(f"drop index if exists {identifier(after.schema)}.{i}" for i in sorted(indexes)),
        *(f"alter table {table} drop constraint if exists {c}" for c in sorted(constraints)),
        *(f"alter table {table} drop column if exists {c}" for c in sorted(added - kept)),
        *(
            f"drop table if exists {physical.link_table(after.schema, link)}"
            for link in sorted(new_links)
        ),
    ]


def _publish(description: str, *, breaking: bool = False) -> Step:
    return Step(description, Phase.SETTLE, breaking=breaking)


def _create(entity: Entity, catalog: Catalog) -> list[Step]:
    tenant_id = str(catalog.tenant_id)
    targets = {
        key.target: target_of(key.target, entity, catalog)
        for key in physical.foreign_keys(entity).values()
    }
    steps = [
        Step(
            f"create the table of {entity.name} with {len(entity.fields)} fields",
            Phase.SETTLE,
            (
                *physical.create_table(entity, targets, tenant_id),
                *create_history(entity, tenant_id),
            ),
            Lock.SHARE_ROW_EXCLUSIVE if targets else Lock.NONE,
        )
    ]
    for link, relation in physical.links(entity).items():
        steps.append(create_link(entity, link, relation, catalog, Phase.SETTLE))
    return steps


def _drop(entity: Entity) -> list[Step]:
    tables = [physical.link_table(entity.schema, link) for link in physical.links(entity)]
    tables += [qualified(entity), history_table(entity)]
    return [
        Step(
            f"drop the table of {entity.name} with all its records and their history",
            Phase.SETTLE,
            tuple(f"drop table if exists {table}" for table in tables),
            Lock.ACCESS_EXCLUSIVE,
            breaking=True,
            destructive=True,
        )
    ]


def _refuse_new_types(before: Entity, after: Entity) -> None:
    old = {field.id: field for field in before.fields}
    faults = [
        Fault(
            "unsupported",
            f"{field.name} cannot change from {old[field.id].kind} to {field.kind}: no value of one "
            "is a value of the other; go by way of text, or add a new field",
            f"#/fields/{index}/type",
        )
        for index, field in enumerate(after.fields)
        if field.id in old
        and retyped(old[field.id].kind, field.kind)
        and conversion(old[field.id].kind, field.kind) is None
    ]
    if faults:
        raise Conflict("The stored values cannot change their type.", faults=faults)


def _guards(after: Entity, rules: list[Step], catalog: Catalog) -> list[Step]:
    """Rules that the table does not know hold for those, too, who began before they were there."""
    if not any(step.proof is not None and step.proof.values is not None for step in rules):
        return []
    said = "let requests that began before begin again, and check what was written meanwhile"
    sql = (guard(after, catalog.version + 1),)
    return [Step(said, Phase.SETTLE, sql, Lock.SHARE_ROW_EXCLUSIVE)]


def _conditions(before: Entity, after: Entity) -> list[Step]:
    if after.require_if_match == before.require_if_match:
        return []
    must = after.require_if_match
    said = "must" if must else "need no longer"
    return [
        Step(
            f"whoever changes a record {said} name its version (If-Match)",
            Phase.SETTLE,
            breaking=must,
        )
    ]


def _renames(before: Entity, after: Entity, catalog: Catalog) -> list[Step]:
    """What changes in the definition only."""
    old_fields = {field.id: field.name for field in before.fields}
    old_relations = {relation.id: relation for relation in before.relations}
    pairs = [(old_fields.get(f.id, f.name), f.name) for f in after.fields]
    for relation in after.relations:
        was = old_relations.get(relation.id, relation)
        pairs.append((was.name, relation.name))
        if relation.kind is RelationKind.MANY_TO_ONE:
            pairs.append((was.field, relation.field))
    pairs += [(before.name, after.name), (before.plural, after.plural)]
    left = {relation.id for relation in after.relations}
    return [
        *(
            Step(f"rename {was} to {now}, in the definition only", Phase.SETTLE, breaking=True)
            for was, now in pairs
            if was != now
        ),
        *(
            Step(f"remove the relationship {relation.name}", Phase.SETTLE, breaking=True)
            for relation in before.relations
            if relation.kind is RelationKind.ONE_TO_MANY and relation.id not in left
        ),
        *(
            Step(f"let the relationships of {other.name} follow", Phase.SETTLE)
            for other in dependents(before, after, catalog)
        ),
    ]
