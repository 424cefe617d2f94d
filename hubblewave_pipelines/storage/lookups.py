"""Look-ups by unique decimals, whose index row security would keep out of use (decisions/0012)."""

from hubblewave_pipelines.core.entity import Entity, FieldKind
from hubblewave_pipelines.core.query import All, Comparison, Filter, Operator
from hubblewave_pipelines.storage.conditions import alias
from hubblewave_pipelines.storage.physical import identifier, qualified
from hubblewave_pipelines.storage.sql import Sql


def looked_up(entity: Entity, found: Filter, at: int = 0) -> list[Sql]:
    """Conditions on the rows of alias `at` that follow from the filter and that an index can serve.

    They hold for present records only: `at` must be the entity's table itself.
    """
    parts = found.parts if isinstance(found, All) else (found,)
    return [
        _among(entity, part, at)
        for part in parts
        if isinstance(part, Comparison)
        and part.column.kind is FieldKind.DECIMAL
        and part.operator in (Operator.EQ, Operator.IN)
        and _is_unique(entity, part.column.physical)
    ]


def _is_unique(entity: Entity, column: str) -> bool:
    return any(field.unique for field in entity.fields if field.column == column)


def _among(entity: Entity, part: Comparison, at: int) -> Sql:
    values = list(part.value) if isinstance(part.value, tuple) else [part.value]
    table, column = qualified(entity), identifier(part.column.physical)
    ids = f"select hubblewave.ids_by_decimal('{table}'::regclass, '{column}', %s::numeric[])"
    return Sql([f"{alias(at)}.id = any(array({ids}))"], [values])
