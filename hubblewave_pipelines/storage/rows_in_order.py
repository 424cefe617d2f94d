"""Whether the records of an entity allow a change of its definition, and if not, why not."""

from hubblewave_pipelines.core.entity import Catalog, Entity, Field
from hubblewave_pipelines.core.errors import Conflict, Fault
from hubblewave_pipelines.core.relations import broken_relations
from hubblewave_pipelines.core.values import Refused, from_text
from hubblewave_pipelines.storage import physical
from hubblewave_pipelines.storage.database import Transaction
from hubblewave_pipelines.storage.physical import qualified, spelled
from hubblewave_pipelines.storage.relation_steps import links_elsewhere
from hubblewave_pipelines.storage.steps import Proof
from hubblewave_pipelines.storage.type_steps import type_proofs

_MOST_COUNTED = 1_000_000
_SAMPLES = 5


def check_state(
    tx: Transaction, before: Entity | None, after: Entity | None, catalog: Catalog, *, force: bool
) -> None:
    """Raises Conflict when the change contradicts the present state; reads only.

    `force` lets a change remove records and links that hold data, and lose values to a new type.
    """
    if before is None:
        return
    broken = broken_relations(before, after, catalog)
    if broken:
        raise Conflict(
            f"Other entities refer to {before.name}: {', '.join(broken)}. "
            "Remove those relationships first."
        )
    if after is None:
        rows = _count(tx, qualified(before))
        if rows != "0" and not force:
            raise Conflict(
                f"{before.name} holds {rows} record{'' if rows == '1' else 's'}, which would be lost. "
                "Repeat with ?force=true to delete them with it."
            )
        return
    _check_new_required(tx, before, after)
    if not force:
        _check_new_types(tx, before, after)
    kept = physical.links(after).keys() | links_elsewhere(before, catalog)
    for link, relation in physical.links(before).items():
        if link in kept or force:
            continue
        pairs = _count(tx, physical.link_table(before.schema, link))
        if pairs != "0":
            raise Conflict(
                f"{relation.name} holds {pairs} pair{'' if pairs == '1' else 's'}, which would be lost. "
                "Repeat with ?force=true to delete them with it."
            )


def _check_new_required(tx: Transaction, before: Entity, after: Entity) -> None:
    old = {f.id for f in before.fields} | {r.id for r in before.relations}
    advice = "add it as optional, give every record a value, then make it required"
    faults = [
        Fault(
            "required",
            f"{f.name} is new and required, and existing records have no value for it: "
            f"give it a default, or {advice}",
            f"#/fields/{index}/required",
        )
        for index, f in enumerate(after.fields)
        if f.id not in old and f.required and f.default is None
    ] + [
        Fault(
            "required",
            f"{r.field} is new and required, and existing records refer to nothing: {advice}",
            f"#/relationships/{index}/required",
        )
        for index, r in enumerate(after.relations)
        if r.id not in old and r.required
    ]
    if faults and _count(tx, qualified(before), most=0) != "0":
        detail = f"{before.name} has records that the new definition would leave incomplete."
        raise Conflict(detail, faults=faults)


def _check_new_types(tx: Transaction, before: Entity, after: Entity) -> None:
    table = qualified(before)
    for proof in type_proofs(before, after):
        wrong = f"select 1 from {table} where not {proof.condition} limit 1"  # noqa: S608 - physical names
        if tx.one(spelled(wrong)) is not None:
            refused = explain(tx, before, proof)
            raise Conflict(f"{refused.detail} With ?force=true what does not convert is lost.")


def _count(tx: Transaction, table: str, *, most: int = _MOST_COUNTED) -> str:
    """The number of rows as text, counted no further than `most`."""
    query = f"select count(*) from (select from {table} limit {most + 1}) t"  # noqa: S608 - physical name
    row = tx.one(spelled(query))
    rows = 0 if row is None else int(row[0])
    return f"more than {most:,}" if rows > most else f"{rows:,}"


def explain(tx: Transaction, entity: Entity, proof: Proof) -> Conflict:
    """Why the rows did not pass: how many, and a few of them."""
    table = qualified(entity)
    if proof.condition is None:
        return _explain_duplicates(tx, table, proof)
    where = f"from {table} where not ({proof.condition})"
    return _refusal(
        proof,
        tx.one(spelled(f"select count(*) {where}")),
        tx.all(spelled(f"select id, {proof.column}::text {where} limit {_SAMPLES}")),
    )


def _refusal(
    proof: Proof, count: tuple[int] | None, samples: list[tuple[object, str | None]]
) -> Conflict:
    number = 0 if count is None else count[0]
    shown = ", ".join(f"{_short(value)} in {id}" for id, value in samples)
    return Conflict(
        f"{proof.field} is not {proof.rule} in {_records(number)}, for example {shown}. "
        "Correct that first."
    )


def _records(number: int) -> str:
    return f"{number:,} record{'' if number == 1 else 's'}"


def _explain_duplicates(tx: Transaction, table: str, proof: Proof) -> Conflict:
    groups = f"select {proof.column}::text v, count(*) n from {table} where {proof.column} is not null group by 1 having count(*) > 1"  # noqa: S608 - physical names
    total = tx.one(spelled(f"select count(*) from ({groups}) g"))  # noqa: S608
    samples = tx.all(spelled(f"{groups} order by 2 desc, 1 limit {_SAMPLES}"))
    shown = ", ".join(f"{_short(value)} ({_records(number)})" for value, number in samples)
    number = 0 if total is None else total[0]
    return Conflict(
        f"{proof.field} cannot be unique: {number:,} value{' occurs' if number == 1 else 's occur'} "
        f"more than once, for example {shown}. Correct that first."
    )


def check_values(
    tx: Transaction, entity: Entity, proof: Proof, field: Field, *, since: int = 0
) -> None:
    """Raises Conflict when a stored text breaks a rule of the field that SQL does not know; looks at
    rows of transaction `since` and later ones."""
    column, wrong, samples = physical.identifier(proof.column), 0, []
    with tx.connection.cursor(name="values_in_order") as cursor:
        cursor.itersize = 10_000
        cursor.execute(
            f"select id, {column} from {qualified(entity)} where {column} is not null"  # noqa: S608 - physical names
            f" and xid >= '{int(since)}'::xid8".encode()
        )
        for id, value in cursor:
            try:
                from_text(field, value)
            except Refused:
                wrong += 1
                if wrong <= _SAMPLES:
                    samples.append((id, value))
    if wrong:
        raise _refusal(proof, (wrong,), samples)


def _short(value: str | None) -> str:
    if value is None:
        return "nothing"
    return f'"{value}"' if len(value) <= 40 else f'"{value[:37]}..."'
