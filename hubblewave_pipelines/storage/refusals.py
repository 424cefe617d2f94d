"""What a database error means to the caller: SQLSTATE -> PlatformError, never SQL text."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg

from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import (
    Conflict,
    Fault,
    Invalid,
    PlatformError,
    ReferenceConflict,
    Unavailable,
    UniqueConflict,
)
from hubblewave_pipelines.storage.physical import checks

# The statement was compiled for a shape that the table no longer has.
STALE_SHAPE = (pg.UndefinedColumn, pg.UndefinedTable, pg.FeatureNotSupported, pg.InvalidSchemaName)
# The statement broke a rule of the table, which may be newer than the caller's catalog.
BROKEN_RULE = (pg.IntegrityError, pg.DataError)
# Nothing is wrong with the statement; another transaction was in the way.
COLLISION = (pg.SerializationFailure, pg.DeadlockDetected)

# The statement would take as long again.
SLOW = (pg.QueryCanceled,)

# The statement asks for more than PostgreSQL can plan at once.
TOO_COMPLEX = (pg.ProgramLimitExceeded, pg.StatementTooComplex, pg.TooManyColumns)

_LOCKED = (pg.LockNotAvailable,)


def unavailable(error: psycopg.Error) -> Unavailable | None:
    """The refusal for a server that is gone, busy or in the way; None for any other error."""
    if isinstance(error, _LOCKED):
        return Unavailable("The records are locked by another change.", retry_after=1)
    if isinstance(error, SLOW):
        return Unavailable("The request took longer than a statement may.", retry_after=5)
    if isinstance(error, COLLISION):
        return Unavailable("Another request changed the same records.", retry_after=1)
    # A lost connection has no SQLSTATE and comes as OperationalError or InterfaceError.
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Unavailable("PostgreSQL cannot be reached.", retry_after=5)
    return None


def _public_name(entity: Entity, physical: str | None) -> str | None:
    """The field or reference whose opaque id is in the name of a column or constraint."""
    if physical is None:
        return None
    for field in entity.fields:
        if field.id in physical:
            return field.name
    for name, relation in entity.references.items():
        if relation.id in physical:
            return name
    return "id" if physical.endswith("_pkey") else None


def names_known(error: psycopg.Error, entity: Entity) -> bool:
    """Whether the broken rule is one of the entity as the caller knows it."""
    if error.diag.table_name not in (None, entity.table):
        return True  # a rule of the records that refer to this one
    physical = error.diag.column_name or error.diag.constraint_name
    return physical is None or _public_name(entity, physical) is not None


def _pointer(name: str | None) -> str:
    return "#" if name is None else f"#/{name}"


def _referring(catalog: Catalog, table: str | None) -> str:
    for entity in catalog:
        if entity.table == table:
            return entity.name
    return "other"


def own_reference(error: pg.ForeignKeyViolation, entity: Entity) -> bool:
    """Whether the broken reference is one of the entity's own records to each other or elsewhere."""
    return error.diag.table_name == entity.table


def still_referred_to(other: str, entity: Entity) -> ReferenceConflict:
    return ReferenceConflict(f"{other} records still refer to this {entity.name}.")


def refusal(error: psycopg.Error, entity: Entity, catalog: Catalog) -> PlatformError | None:
    """What a failed write to `entity` says to its caller; None when it is not the caller's doing."""
    diag = error.diag
    name = _public_name(entity, diag.column_name or diag.constraint_name)
    what = name or "A value"
    if isinstance(error, pg.UniqueViolation):
        fault = Fault("unique", f"{what} is already taken by another record", _pointer(name))
        return UniqueConflict(f"Another {entity.name} already has this {what}.", faults=[fault])
    if isinstance(error, pg.ForeignKeyViolation):
        if own_reference(error, entity) and name is not None:
            fault = Fault("reference", f"{what} names no record", _pointer(name))
            return Invalid(f"{what} refers to a record that does not exist.", faults=[fault])
        other = _referring(catalog, diag.table_name)
        return still_referred_to(other, entity)
    if isinstance(error, pg.NotNullViolation):
        return Invalid(
            "1 field is invalid.", faults=[Fault("required", f"{what} is required", _pointer(name))]
        )
    if isinstance(error, pg.CheckViolation):
        check = checks(entity).get(diag.constraint_name or "")
        rule = f"{what} must be {check.rule}" if check else f"{what} breaks a rule"
        return Invalid("1 field is invalid.", faults=[Fault("rule", rule, _pointer(name))])
    if isinstance(error, pg.DataError):
        return Invalid(
            "A value does not fit.", faults=[Fault("type", "does not fit", _pointer(name))]
        )
    if isinstance(error, pg.IntegrityError):
        return Conflict(f"The change contradicts other {entity.name} records.")
    return unavailable(error)


@contextmanager
def refusing() -> Iterator[None]:
    """Turns a lost or busy database into Unavailable, around any block that talks to it."""
    try:
        yield
    except psycopg.Error as error:
        refused = unavailable(error)
        if refused is None:
            raise
        raise refused from error
