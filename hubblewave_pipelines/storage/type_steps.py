"""The steps by which a field changes its type: a second column, filled beside the traffic.

From the first step on every write fills both columns, by a trigger; existing rows follow in small
batches; the last step publishes the new column and puts the old one aside under another name, so
that whoever still means the old type is told so and starts again.
"""

from hubblewave_pipelines.core.entity import Entity, Field
from hubblewave_pipelines.storage import physical
from hubblewave_pipelines.storage.conversions import conversion, retyped
from hubblewave_pipelines.storage.physical import SQL_TYPES, identifier, literal, qualified
from hubblewave_pipelines.storage.steps import Backfill, Lock, Phase, Proof, Step


def _trigger(entity: Entity, field: Field) -> tuple[str, str]:
    """The trigger that fills both columns, and its function."""
    name = identifier(f"w_{field.id}")
    return name, f"{identifier(entity.schema)}.{name}"


def _take_down(entity: Entity, field: Field) -> tuple[str, ...]:
    name, function = _trigger(entity, field)
    return (
        f"drop trigger if exists {name} on {qualified(entity)}",
        f"drop function if exists {function}()",
        f"alter table {qualified(entity)} drop constraint if exists {identifier('v_' + field.id)}",
    )


def type_steps(after: Entity, was: Field, now: Field, *, force: bool) -> list[Step]:
    """The steps from one type of a field to another, whose columns differ."""
    found = conversion(was.kind, now.kind)
    if found is None:
        raise ValueError(f"nothing converts {was.kind} to {now.kind}")
    table, old, new = qualified(after), identifier(was.column), identifier(now.column)
    name, function = _trigger(after, now)
    value, exact = found.of(f"new.{old}"), found.loses_nothing(old)
    strict = not force and found.exact is not None
    body = f"begin new.{new} := {value}; return new; end"
    expand = [
        f"alter table {table} add column {new} {SQL_TYPES[now.kind]}",
        f"create function {function}() returns trigger language plpgsql "
        f"set search_path = pg_catalog set timezone = 'UTC' as {literal(body)}",
        f"create trigger {name} before insert or update on {table} "
        f"for each row execute function {function}()",
    ]
    proof = Proof(old, now.name, found.rule, f"({old} is null or {exact})")
    check = identifier("v_" + now.id)
    if strict:
        holds = f"{old} is null or {exact}"
        expand.append(f"alter table {table} add constraint {check} check ({holds}) not valid")
    proofs = {check: proof} if strict else {}
    for rule_name, rule in physical.checks(after).items():
        if rule.column == new:
            condition = rule.condition.replace(new, f"({found.of(old)})")
            proofs[rule_name] = Proof(old, now.name, rule.rule, condition)
    if now.required:
        proofs[f"n_{new}"] = Proof(old, now.name, "present", f"({found.of(old)}) is not null")
    filling = Backfill(new, old, found.of(old), proofs)
    aside = identifier(f"{old}_{len(was.earlier)}x")
    changes = f"alter column {old} drop not null, alter column {old} drop default"
    settle = [*_take_down(after, now), f"alter table {table} {changes}"]
    settle.append(f"alter table {table} rename column {old} to {aside}")
    default = physical.default_of(now)
    if default is not None:
        settle.append(f"alter table {table} alter column {new} set default {default}")
    lost = ", losing what does not convert" if force and found.exact is not None else ""
    steps = [
        Step(
            f"add a {now.kind} column beside the {was.kind} one of {now.name}; "
            "from now on both are written",
            Phase.EXPAND,
            tuple(expand),
            Lock.ACCESS_EXCLUSIVE,
            breaking=True,
        ),
        Step(
            f"fill it from the existing values of {now.name}, some thousand at a time{lost}",
            Phase.BUILD,
            lock=Lock.ROW_EXCLUSIVE,
            rewrite=True,
            destructive=bool(lost),
            backfill=filling,
        ),
    ]
    if strict:
        steps.append(
            Step(
                f"check that {now.name} of every record is {found.rule}",
                Phase.BUILD,
                (f"alter table {table} validate constraint {check}",),
                Lock.SHARE_UPDATE_EXCLUSIVE,
                proof=proof,
            )
        )
    said = f"{now.name} is {now.kind} from here on; its {was.kind} values are put aside"
    steps.append(Step(said, Phase.SETTLE, tuple(settle), Lock.ACCESS_EXCLUSIVE, breaking=True))
    return steps


def _pairs(before: Entity, after: Entity) -> list[tuple[Field, Field]]:
    """Fields that change their type: (was, now)."""
    old = {field.id: field for field in before.fields}
    return [
        (old[field.id], field)
        for field in after.fields
        if field.id in old and retyped(old[field.id].kind, field.kind)
    ]


def undo_type_steps(before: Entity, after: Entity) -> list[str]:
    """What to take away before the new columns go."""
    return [text for _, now in _pairs(before, after) for text in _take_down(before, now)]


def type_proofs(before: Entity, after: Entity) -> list[Proof]:
    """What must hold of the old values, so that none is lost."""
    proofs = []
    for was, now in _pairs(before, after):
        found = conversion(was.kind, now.kind)
        if found is not None and found.exact is not None:
            column = identifier(was.column)
            exact = found.loses_nothing(column)
            condition = f"({column} is null or {exact})"
            proofs.append(Proof(column, now.name, found.rule, condition))
    return proofs
