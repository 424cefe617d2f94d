"""The steps that follow from a difference in an entity's fields and their rules."""

from hubblewave_pipelines.core.entity import Entity, FieldKind
from hubblewave_pipelines.storage import physical
from hubblewave_pipelines.storage.conversions import retyped
from hubblewave_pipelines.storage.physical import identifier, qualified
from hubblewave_pipelines.storage.steps import Lock, Phase, Proof, Step
from hubblewave_pipelines.storage.type_steps import type_steps


def rule_steps(before: Entity, after: Entity) -> list[Step]:
    """Steps for rules that came or went; their columns, references too, are there by then."""
    return [
        *_checks(before, after),
        *_required(before, after),
        *_unique(before, after),
        *_unseen_rules(before, after),
    ]


def column_steps(before: Entity, after: Entity, *, force: bool = False) -> list[Step]:
    """Steps for fields that came, went or changed their type, and for their defaults."""
    table = qualified(after)
    old = {field.id: field for field in before.fields}
    new = {field.id: field for field in after.fields}
    steps = []
    for field in after.fields:
        if field.id not in old:
            given = "" if field.default is None else ", with its default for existing records"
            rule = "required" if field.required else "optional"
            steps.append(
                Step(
                    f"add the {rule} {field.kind} field {field.name}{given}",
                    Phase.EXPAND,
                    (f"alter table {table} add column {physical.column_definition(field)}",),
                    Lock.ACCESS_EXCLUSIVE,
                    breaking=field.required and field.default is None,
                )
            )
        elif retyped(old[field.id].kind, field.kind):
            steps += type_steps(after, old[field.id], field, force=force)
        elif physical.default_of(field) != physical.default_of(old[field.id]):
            constant = physical.default_of(field)
            action = "drop default" if constant is None else f"set default {constant}"
            steps.append(
                Step(
                    f"change the default of {field.name}, for records created from now on",
                    Phase.SETTLE,
                    (f"alter table {table} alter column {identifier(field.column)} {action}",),
                    Lock.ACCESS_EXCLUSIVE,
                )
            )
    for field in before.fields:
        if field.id not in new:
            column = identifier(field.column)
            changes = f"alter column {column} drop not null, alter column {column} drop default"
            statements = [f"alter table {table} {changes}"]
            if field.unique:
                statements.append(f"drop index if exists {identifier(after.schema)}.u_{field.key}")
            steps.append(
                Step(
                    f"retire the field {field.name}: its values stay in the table, out of reach",
                    Phase.SETTLE,
                    tuple(statements),
                    Lock.ACCESS_EXCLUSIVE,
                    breaking=True,
                    destructive=True,
                )
            )
    return steps


def _checks(before: Entity, after: Entity) -> list[Step]:
    table = qualified(after)
    was, now = physical.checks(before), physical.checks(after)
    steps = []
    for name in sorted(now.keys() - was.keys()):
        check = now[name]
        steps.append(
            Step(
                f"from now on {check.field} must be {check.rule}",
                Phase.EXPAND,
                (f"alter table {table} add constraint {name} check ({check.condition}) not valid",),
                Lock.ACCESS_EXCLUSIVE,
                breaking=any(f.id in check.name for f in before.fields),
            )
        )
        steps.append(
            Step(
                f"check that {check.field} of every record is {check.rule}",
                Phase.BUILD,
                (f"alter table {table} validate constraint {name}",),
                Lock.SHARE_UPDATE_EXCLUSIVE,
                proof=Proof(check.column, check.field, check.rule, check.condition),
            )
        )
    steps += [
        Step(
            f"{was[name].field} need no longer be {was[name].rule}",
            Phase.SETTLE,
            (f"alter table {table} drop constraint if exists {name}",),
            Lock.ACCESS_EXCLUSIVE,
        )
        for name in sorted(was.keys() - now.keys())
    ]
    return steps


def newly_required(before: Entity, after: Entity) -> dict[str, str]:
    """Columns to be made NOT NULL after a scan: all but new fields, which are so from the start."""
    old = {f.id for f in before.fields}
    new_fields = {f.column for f in after.fields if f.id not in old}
    was, now = physical.required_columns(before), physical.required_columns(after)
    return {c: name for c, name in now.items() if c not in was and c not in new_fields}


def _required(before: Entity, after: Entity) -> list[Step]:
    table = qualified(after)
    steps = []
    for column, name in newly_required(before, after).items():
        check = f"n_{identifier(column)}"
        condition = f"{column} is not null"
        steps += [
            Step(
                f"from now on {name} must have a value",
                Phase.EXPAND,
                (f"alter table {table} add constraint {check} check ({condition}) not valid",),
                Lock.ACCESS_EXCLUSIVE,
                breaking=True,
            ),
            Step(
                f"check that every record has a value of {name}",
                Phase.BUILD,
                (f"alter table {table} validate constraint {check}",),
                Lock.SHARE_UPDATE_EXCLUSIVE,
                proof=Proof(column, name, "present", condition),
            ),
            Step(
                f"make {name} required, on the strength of that check",
                Phase.SETTLE,
                (
                    f"alter table {table} alter column {column} set not null",
                    f"alter table {table} drop constraint if exists {check}",
                ),
                Lock.ACCESS_EXCLUSIVE,
            ),
        ]
    left = {f.column for f in after.fields} | {r.column for r in after.references.values()}
    now = physical.required_columns(after)
    steps += [
        Step(
            f"make {name} optional",
            Phase.SETTLE,
            (f"alter table {table} alter column {identifier(column)} drop not null",),
            Lock.ACCESS_EXCLUSIVE,
        )
        for column, name in physical.required_columns(before).items()
        if column in left and column not in now
    ]
    return steps


def _unique(before: Entity, after: Entity) -> list[Step]:
    table = qualified(after)
    steps = []
    was, now = physical.unique_indexes(before), physical.unique_indexes(after)
    for name in sorted(now.keys() - was.keys()):
        field = now[name]
        steps.append(
            Step(
                f"build the unique index of {field.name} beside reads and writes",
                Phase.BUILD,
                (f"create unique index concurrently {name} on {table} ({field.column})",),
                Lock.SHARE_UPDATE_EXCLUSIVE,
                breaking=any(f.id == field.id for f in before.fields),
                index=name,
                proof=Proof(field.column, field.name, "unique"),
            )
        )
    kept = {f.id: f for f in after.fields}
    steps += [
        Step(
            f"{was[name].name} need no longer be unique"
            if not kept[was[name].id].unique
            else f"drop the index of the old values of {was[name].name}",
            Phase.SETTLE,
            (f"drop index if exists {identifier(after.schema)}.{name}",),
            Lock.ACCESS_EXCLUSIVE,
        )
        for name in sorted(was.keys() - now.keys())
        if was[name].id in kept
    ]
    return steps


def _unseen_rules(before: Entity, after: Entity) -> list[Step]:
    """Rules that the table does not know (patterns, forms of e-mail and URL) are checked by us."""
    old = {field.id: field for field in before.fields}
    forms = {FieldKind.EMAIL: "an e-mail address", FieldKind.URL: "a URL"}
    steps = []
    for field in after.fields:
        was = old.get(field.id)
        if was is None:
            continue
        stricter = field.pattern is not None and field.pattern != was.pattern
        if stricter or (field.kind in forms and field.kind is not was.kind):
            rule = forms.get(field.kind, "a text")
            rule += f" that matches {field.pattern}" if field.pattern else ""
            steps.append(
                Step(
                    f"check that {field.name} of every record is {rule}",
                    Phase.BUILD,
                    breaking=True,
                    proof=Proof(field.column, field.name, rule, values=field),
                )
            )
        elif field.kind is not was.kind and not retyped(was.kind, field.kind):
            steps.append(
                Step(
                    f"change the type of {field.name} from {was.kind} to {field.kind}", Phase.SETTLE
                )
            )
    return steps
