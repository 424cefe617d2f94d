"""The `relationships` of an entity definition, checked against the other entities; and what a
change of one entity means for the relations of the others."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hubblewave_pipelines.core.entity import (
    Catalog,
    Entity,
    Json,
    OnDelete,
    Relation,
    RelationKind,
)
from hubblewave_pipelines.core.fields import given_ids, keep_id
from hubblewave_pipelines.core.identity import opaque_id
from hubblewave_pipelines.core.reading import Reading, below, suggestion

MOST_RELATIONS = 100
KEYS = "id name type targetEntity field required onDelete description".split()


@dataclass
class _Draft:
    """A relation being read: what it says itself, before it is matched with its counterpart."""

    relation: Relation
    pointer: str
    kept: Relation | None  # what it was until now
    target: Entity | None  # None: the entity itself, or unknown

    def says(self, reading: Reading, key: str, code: str, detail: str) -> None:
        reading.fault(below(self.pointer, key), code, detail)


def read_relations(
    reading: Reading,
    body: dict[str, Json],
    *,
    name: str,
    catalog: Catalog,
    existing: Entity | None,
) -> list[tuple[Relation, str]]:
    """Each relation with its pointer. What is returned counts only when no fault was found."""
    explicit = given_ids(body, "relationships")
    by_id = {r.name.lower(): r.id for r in existing.relations} if existing else {}
    by_name = {known: id for known, id in by_id.items() if id not in explicit}
    kept = {r.id: r for r in existing.relations} if existing else {}
    own_names = {name, existing.name} if existing else {name}
    claimed: set[str] = set()
    drafts: list[_Draft] = []
    for item, at in reading.objects(body, "relationships", "#", most=MOST_RELATIONS):
        id = keep_id(reading, item, at, by_id if item.get("id") else by_name, claimed)
        draft = _draft(reading, item, at, id, catalog, own_names)
        draft.kept = kept.get(id)
        if draft.relation.target in own_names:
            draft.relation = replace(draft.relation, target=name)
        _check_kept(reading, draft, own_names)
        drafts.append(draft)
    for draft in drafts:
        if draft.relation.kind is RelationKind.ONE_TO_MANY:
            _invert(reading, draft, drafts, name, existing)
    pairs = [d for d in drafts if d.relation.kind is RelationKind.MANY_TO_MANY]
    for draft in sorted(pairs, key=lambda d: d.kept is None):
        _link(reading, draft, pairs, name, existing)
    return [(draft.relation, draft.pointer) for draft in drafts]


def _draft(
    reading: Reading,
    body: dict[str, Json],
    at: str,
    id: str,
    catalog: Catalog,
    own_names: set[str],
) -> _Draft:
    reading.keys(body, KEYS, at)
    name = reading.name(body, "name", at)
    word = reading.choice(body, "type", at, [kind.value for kind in RelationKind])
    kind = RelationKind(word or RelationKind.MANY_TO_ONE)
    target_name = body.get("targetEntity")
    target = None
    if not isinstance(target_name, str):
        detail = "targetEntity is required: the name of an entity"
        reading.fault(below(at, "targetEntity"), "required", detail)
        target_name = ""
    elif target_name not in own_names:
        target = catalog.named(target_name)
        if target is None:
            hint = suggestion(target_name[:60], [e.name for e in catalog])
            detail = f'there is no entity "{target_name[:60]}"{hint or "; create it first"}'
            reading.fault(below(at, "targetEntity"), "unknown", detail)
    field = ""
    if body.get("field") is not None:
        field = reading.name(body, "field", at)
    elif kind is RelationKind.MANY_TO_ONE and name:
        field = reading.name({"field": f"{name}Id"}, "field", at)
    required = reading.flag(body, "required", at)
    on_delete = OnDelete.RESTRICT
    if kind is RelationKind.MANY_TO_ONE:
        if body.get("onDelete") is not None:
            choices = [action.value for action in OnDelete]
            on_delete = OnDelete(reading.choice(body, "onDelete", at, choices) or "restrict")
        if required and on_delete is OnDelete.SET_NULL:
            detail = "a required reference cannot be set to null; use restrict or cascade"
            reading.fault(below(at, "onDelete"), "misplaced", detail)
    else:
        for key in ("required", "onDelete"):
            if body.get(key) not in (None, False):
                reading.fault(
                    below(at, key), "misplaced", f"{key} is for manyToOne; not for {kind}"
                )
    description = reading.text(body, "description", at, longest=10_000)
    relation = Relation(
        id=id,
        name=name,
        kind=kind,
        target=target_name,
        field=field,
        required=required and kind is RelationKind.MANY_TO_ONE,
        on_delete=on_delete,
        description=description,
    )
    return _Draft(relation, at, None, target)


def _check_kept(reading: Reading, draft: _Draft, own_names: set[str]) -> None:
    """A relation that stays keeps its kind and target: its stored ids mean nothing elsewhere."""
    kept, now = draft.kept, draft.relation
    if kept is None:
        return
    advice = "remove the relationship, then add another in a second change"
    if kept.kind is not now.kind:
        draft.says(reading, "type", "immutable", f"cannot change from {kept.kind}; {advice}")
    same = kept.target == now.target or {kept.target, now.target} <= own_names
    if not same and now.target:
        draft.says(
            reading, "targetEntity", "immutable", f"cannot change from {kept.target}; {advice}"
        )


def _invert(
    reading: Reading, draft: _Draft, drafts: list[_Draft], name: str, existing: Entity | None
) -> None:
    """Find the manyToOne of the target that a oneToMany reads backwards."""
    if draft.target is None:
        own = (d.relation for d in drafts if d.relation.kind is RelationKind.MANY_TO_ONE)
        candidates = [r for r in own if r.target == name]
    else:
        back = existing.name if existing else None
        candidates = [r for r in draft.target.references.values() if r.target == back]
    wanted = draft.relation.field
    found = [r for r in candidates if wanted in (r.field, r.name)] if wanted else candidates
    if len(found) == 1:
        draft.relation = replace(draft.relation, field=found[0].field)
        return
    target = draft.relation.target
    if not target or (draft.target is None and target != name):
        return  # the unknown target has its own fault
    if candidates:
        fields = ", ".join(r.field for r in candidates)
        detail = f"field must name the reference of {target} to read backwards: {fields}"
    else:
        detail = (
            f"{target} has no manyToOne relationship to {name}: create {name} without this "
            f"relationship, add the manyToOne to {target}, then add this one by PUT"
        )
    draft.says(reading, "field", "unknown", detail)


def _link(
    reading: Reading, draft: _Draft, pairs: list[_Draft], name: str, existing: Entity | None
) -> None:
    """Give a manyToMany its link table: kept, shared with its counterpart, or new."""
    now, kept = draft.relation, draft.kept
    to_self = draft.target is None
    if to_self:
        others = [d.relation for d in pairs if d is not draft and d.relation.target == name]
    else:
        back = existing.name if existing else None
        relations = draft.target.relations if draft.target else ()
        others = [r for r in relations if r.kind is RelationKind.MANY_TO_MANY and r.target == back]
    partner = next((r for r in others if r.name == now.field), None) if now.field else None
    if now.field and partner is None:
        if not to_self or now.target == name:
            detail = (
                f"{now.target} has no manyToMany relationship {now.field} to {name}; leave field "
                "out here, and name this relationship as field of that one when you add it"
            )
            draft.says(reading, "field", "unknown", detail)
        return
    if kept is not None and kept.link is not None:
        link, forward = kept.link, kept.forward
        if partner is None:
            partner = next((r for r in others if r.link == link), None)
        elif partner.link is not None and partner.link != link:
            detail = f"{partner.target}.{partner.name} and this one each hold pairs of their own"
            draft.says(reading, "field", "immutable", detail)
            return
    elif partner is not None and partner.link is not None:
        link, forward = partner.link, not partner.forward
        if partner.field and partner.field != now.name:
            detail = f"{now.target}.{partner.name} is already paired with {partner.field}"
            draft.says(reading, "field", "taken", detail)
            return
    else:
        link, forward = opaque_id(), True
    draft.relation = replace(now, link=link, forward=forward, field=partner.name if partner else "")
    if to_self and partner is not None:
        other = next(d for d in pairs if d.relation is partner)
        other.relation = replace(partner, link=link, forward=not forward, field=now.name)


def dependents(before: Entity, after: Entity, catalog: Catalog) -> Iterator[Entity]:
    """The other entities as they must become so that their relations name `after` rightly."""
    names = {r.id: r for r in after.relations}

    def follow(relation: Relation) -> Relation:
        if relation.target != before.name:
            return relation
        field = relation.field
        if relation.kind is RelationKind.ONE_TO_MANY and field in before.references:
            reference = names.get(before.references[field].id)
            field = reference.field if reference else field
        if relation.kind is RelationKind.MANY_TO_MANY:
            field = next((r.name for r in after.relations if r.link == relation.link), "")
        return replace(relation, target=after.name, field=field)

    for other in catalog:
        if other.id == before.id:
            continue
        relations = tuple(follow(relation) for relation in other.relations)
        if relations != other.relations:
            yield replace(other, relations=relations)


def broken_relations(before: Entity, after: Entity | None, catalog: Catalog) -> list[str]:
    """`Entity.relation` of every other entity that could not stand after the change."""
    left = {r.id for r in after.relations} if after else set()
    broken = []
    for other in catalog:
        for relation in other.relations:
            if other.id == before.id or relation.target != before.name:
                continue
            inverted = before.references.get(relation.field)
            loses = relation.kind is RelationKind.ONE_TO_MANY and (
                inverted is not None and inverted.id not in left
            )
            if after is None or loses:
                broken.append(f"{other.name}.{relation.name}")
    return broken
