"""Changing definitions: plan, build beside the traffic, and publish with the last step.

A change is EXPAND (one transaction), BUILD (scans and concurrent indexes, each alone), SETTLE (one
transaction that also publishes the definition). Until SETTLE commits, nobody sees anything of it;
a process that dies before leaves a running row in the ledger, which the next change undoes.
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import psycopg
from psycopg import Connection, errors

from hubblewave_pipelines.core.definition import from_stored, parse_definition, tag_of
from hubblewave_pipelines.core.entity import Catalog, Entity, Json
from hubblewave_pipelines.core.errors import (
    Conflict,
    NotFound,
    PlatformError,
    Unavailable,
    VersionConflict,
)
from hubblewave_pipelines.core.relations import dependents
from hubblewave_pipelines.storage import ledger
from hubblewave_pipelines.storage.backfill import fill
from hubblewave_pipelines.storage.capture import follow_webhooks
from hubblewave_pipelines.storage.catalog import load_definitions
from hubblewave_pipelines.storage.database import Database, Transaction
from hubblewave_pipelines.storage.physical import SQL_TYPES, identifier, spelled
from hubblewave_pipelines.storage.plan import plan_change, undo_steps
from hubblewave_pipelines.storage.rows_in_order import check_state, check_values, explain
from hubblewave_pipelines.storage.stale_writers import horizon
from hubblewave_pipelines.storage.steps import Phase, Step
from hubblewave_pipelines.storage.tenants import Tenant

__all__ = [
    "SQL_TYPES",
    "Changed",
    "Step",
    "Wish",
    "apply_change",
    "change_definition",
    "define",
    "plan_change",
    "preview",
]

T = TypeVar("T")

# A queued ALTER blocks every later reader, so it queues for a moment only and comes again.
_LOCK_TIMEOUT = "200ms"
_BUILD_LOCK_TIMEOUT = "30s"  # a build in the queue holds up neither readers nor writers
# Autovacuum gives way to whoever has waited for a second (deadlock_timeout), and not before.
_VACUUM_LOCK_TIMEOUT = "1500ms"
_PATIENCE = 20.0  # seconds of coming again before the caller is told to
_TURN = 60.0  # seconds to wait for another change of the same tenant
_Change = tuple[Entity | None, Entity | None]


class Definitions:
    """The definitions of one tenant while this process alone may change them."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self.catalog, self.schema = self._read()
        self.steps: list[Step] = []  # of the last change
        self._seen = 0  # rows of older transactions were looked at in this change

    def _read(self) -> tuple[Catalog, str]:
        return load_definitions(Transaction(self._connection), self._tenant_id)

    def undo_unfinished(self) -> None:
        """Take away what changes left behind whose process died."""
        tx = Transaction(self._connection)
        for change_id, stored in tx.all(ledger.unfinished_changes(self._tenant_id)):
            before, after = (
                from_stored(stored[key], self.schema) if stored[key] else None
                for key in ("before", "after")
            )
            self._undo(change_id, before, after, "its process died before it was finished")

    def _undo(
        self, change_id: UUID, before: Entity | None, after: Entity | None, reason: str
    ) -> None:
        def work(tx: Transaction) -> None:
            for text in undo_steps(before, after, self.catalog):
                tx.run(spelled(text))
            tx.run(ledger.close_change(change_id, reason))

        self._patiently(work)

    def change(
        self,
        before: Entity | None,
        after: Entity | None,
        *,
        requested_by: UUID | None,
        force: bool = False,
    ) -> Catalog:
        """Make it so. Raises Conflict when the records do not allow it and Unavailable when the
        table cannot be locked; then everything is as it was."""
        self.steps = steps = plan_change(before, after, self.catalog, force=force)
        if not steps:
            return self.catalog
        with self._connection.transaction():
            tx = Transaction(self._connection)
            check_state(tx, before, after, self.catalog, force=force)
        opened = ledger.open_change(self._tenant_id, before, after, steps, requested_by)
        change_id = Transaction(self._connection).one(opened)
        assert change_id is not None, "an insert returns its row"
        self._seen = 2**63
        try:
            self._expand_and_build(change_id, after or before, steps)
            self._patiently(lambda tx: self._settle(tx, change_id, (before, after), steps))
        except PlatformError as refused:
            self._undo(change_id, before, after, refused.detail)
            raise
        except psycopg.Error as failed:
            # Nothing the caller did; what was added must not stay, if the server still answers.
            if not self._connection.closed:
                self._undo(change_id, before, after, f"failed: {type(failed).__name__}")
            raise
        self.catalog, _ = self._read()
        return self.catalog

    def _expand_and_build(self, change_id: UUID, entity: Entity | None, steps: list[Step]) -> None:
        expand = [step for step in steps if step.phase is Phase.EXPAND]
        build = [step for step in steps if step.phase is Phase.BUILD]

        def add(tx: Transaction) -> None:
            for step in expand:
                for text in step.sql:
                    tx.run(spelled(text))
            tx.run(ledger.record_progress(change_id, len(expand)))

        if expand:
            self._patiently(add)
        for number, step in enumerate(build, start=len(expand) + 1):
            assert entity is not None, "only changes of an existing entity build"
            self._build(entity, step)
            Transaction(self._connection).run(ledger.record_progress(change_id, number))

    def _build(self, entity: Entity, step: Step) -> None:
        proof = step.proof
        try:
            if step.backfill is not None:
                fill(
                    entity,
                    step.backfill,
                    lambda work: self._patiently(work, lock_timeout=_BUILD_LOCK_TIMEOUT),
                )
            elif step.index is not None:
                self._build_index(entity, step.index, step.sql[0])
            elif proof is not None and proof.values is not None:
                with self._connection.transaction():
                    tx = Transaction(self._connection)
                    self._seen = min(self._seen, horizon(tx))
                    check_values(tx, entity, proof, proof.values)
            else:
                self._patiently(
                    lambda tx: [tx.run(spelled(text)) for text in step.sql],
                    lock_timeout=_BUILD_LOCK_TIMEOUT,
                )
        except (errors.UniqueViolation, errors.CheckViolation) as violation:
            if step.backfill is not None:
                proof = step.backfill.proofs.get(violation.diag.constraint_name or "")
            if proof is None:
                raise
            with self._connection.transaction():
                raise explain(Transaction(self._connection), entity, proof) from violation

    def _build_index(self, entity: Entity, index: str, text: str) -> None:
        """A concurrent build that fails leaves an invalid index, which is in the way of the next."""
        name = f"{identifier(entity.schema)}.{identifier(index)}"

        def build(tx: Transaction) -> None:
            tx.run(spelled(f"drop index concurrently if exists {name}"))
            tx.run(spelled(text))

        self._patiently(build, lock_timeout=_BUILD_LOCK_TIMEOUT, transactional=False)

    def _settle(self, tx: Transaction, change_id: UUID, change: _Change, steps: list[Step]) -> None:
        before, after = change
        for step in steps:
            if step.phase is Phase.SETTLE:
                for text in step.sql:
                    tx.run(spelled(text))
        for step in steps:  # what was written since it was looked at, by writers now waited for
            if after is not None and step.proof is not None and step.proof.values is not None:
                check_values(tx, after, step.proof, step.proof.values, since=self._seen)
        if after is not None:
            tx.run(ledger.store_entity(self._tenant_id, after))
        elif before is not None:
            tx.run(ledger.remove_entity(self._tenant_id, before.id))
        if before is not None and after is not None:
            for other in dependents(before, after, self.catalog):
                tx.run(ledger.store_entity(self._tenant_id, other))
        tx.run(ledger.next_version(self._tenant_id))
        if before is None or after is None or before.name != after.name:
            follow_webhooks(tx, self._tenant_id)
        tx.run(ledger.record_progress(change_id, len(steps)))
        tx.run(ledger.close_change(change_id))

    def _patiently(
        self,
        work: Callable[[Transaction], T],
        *,
        lock_timeout: str = _LOCK_TIMEOUT,
        transactional: bool = True,
    ) -> T:
        """Do the work, again and again while its tables are in use."""
        until, wait = time.monotonic() + _PATIENCE, 0.05
        while True:
            try:
                self._connection.execute(f"set lock_timeout = '{lock_timeout}'".encode())
                if not transactional:
                    return work(Transaction(self._connection))
                with self._connection.transaction():
                    return work(Transaction(self._connection))
            except (errors.LockNotAvailable, errors.DeadlockDetected) as busy:
                if time.monotonic() > until:
                    raise Unavailable(
                        "The entity's table is in use by a long query or import; nothing has "
                        "changed. Try again later.",
                        retry_after=30,
                    ) from busy
                time.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311 - spreads retries
                wait = min(wait * 2, 1.0)
                if lock_timeout == _LOCK_TIMEOUT and self._vacuum_is_at_work():
                    lock_timeout = _VACUUM_LOCK_TIMEOUT
            except errors.TooManyColumns as full:
                raise Conflict(
                    "The table has used up PostgreSQL's 1,600 columns, removed fields included. "
                    "Make a new entity and import the records into it."
                ) from full

    def _vacuum_is_at_work(self) -> bool:
        """Whether somebody vacuums a table of the tenant; nobody else takes this lock there."""
        row = self._connection.execute(
            "select exists (select from pg_locks l join pg_class c on c.oid = l.relation "
            "where l.mode = 'ShareUpdateExclusiveLock' and l.granted "
            "and l.pid <> pg_backend_pid() and c.relnamespace = %s::regnamespace)",
            (self.schema,),
        ).fetchone()
        return row is not None and bool(row[0])


def _lock_key(tenant_id: UUID) -> int:
    """One lock per tenant, not per entity: relations tie the definitions of a tenant together."""
    digest = hashlib.blake2b(b"definitions " + tenant_id.bytes, digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _wait_for_turn(connection: Connection, tenant_id: UUID) -> None:
    """Take the tenant's lock. Asks again and again: a statement that waits holds a snapshot, and a
    concurrent index build of the one who has the lock would wait for that."""
    until = time.monotonic() + _TURN
    while True:
        row = connection.execute(
            "select pg_try_advisory_lock(%s)", (_lock_key(tenant_id),)
        ).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() > until:
            raise Unavailable(
                "Another change of this tenant's definitions is still going on.", retry_after=30
            )
        time.sleep(0.05)


@contextmanager
def definitions(owner: Database, tenant_id: UUID) -> Iterator[Definitions]:
    """The tenant's definitions, for this process alone to change.

    Raises Unavailable when another change takes longer than a minute or the database is away.
    """
    try:
        connection = owner.connect()
    except psycopg.OperationalError as error:
        raise Unavailable("PostgreSQL cannot be reached.", retry_after=5) from error
    try:
        _wait_for_turn(connection, tenant_id)
        held = Definitions(connection, tenant_id)
        held.undo_unfinished()
        yield held
    except (psycopg.OperationalError, psycopg.InterfaceError) as gone:
        raise Unavailable(
            "PostgreSQL went away during the change. The next change undoes what was begun.",
            retry_after=5,
        ) from gone
    finally:
        connection.close()


def apply_change(
    owner: Database,
    tenant: Tenant,
    before: Entity | None,
    after: Entity | None,
    *,
    requested_by: UUID | None = None,
    force: bool = False,
) -> Catalog:
    """Replace one definition (None: there is none) by another; returns the new catalog.

    Raises Conflict when `before` is no longer the present definition or the records do not allow
    the change, Unavailable when the table stays in use. Blocks: call it in a thread.
    """
    with definitions(owner, tenant.id) as held:
        if before is not None and held.catalog.named(before.name) != before:
            raise Conflict(f"{before.name} has been changed meanwhile; read it again.")
        return held.change(before, after, requested_by=requested_by, force=force)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for: `body` as the definition of a new entity (no `name`) or in place of
    that of `name`, or `remove`; `force` also where records are lost by it."""

    name: str | None
    body: Json = None
    remove: bool = False
    force: bool = False
    tags: frozenset[str] | None = None  # the present definition must have one of these

    def read(self, catalog: Catalog, schema: str) -> _Change:
        """(before, after). Raises NotFound, VersionConflict, and Invalid or Conflict as
        `parse_definition` does."""
        before = None if self.name is None else catalog.named(self.name)
        if self.name is not None and before is None:
            raise NotFound(f"There is no entity {self.name}.")
        if before is not None and self.tags is not None and tag_of(before) not in self.tags:
            raise VersionConflict(
                f"The definition of {before.name} is another one by now; read it again."
            )
        if self.remove:
            return before, None
        return before, parse_definition(
            self.body, tenant_schema=schema, catalog=catalog, existing=before
        )


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change came to: the new catalog, the entity unless it was removed, what was done."""

    catalog: Catalog
    entity: Entity | None
    steps: list[Step]


def change_definition(
    owner: Database, tenant_id: UUID, wish: Wish, *, requested_by: UUID | None
) -> Changed:
    """Do it.

    Raises NotFound, Invalid and Conflict, having changed nothing. Blocks: call it in a thread.
    """
    with definitions(owner, tenant_id) as held:
        before, after = wish.read(held.catalog, held.schema)
        catalog = held.change(before, after, requested_by=requested_by, force=wish.force)
        return Changed(catalog, after, held.steps)


def preview(owner: Database, tenant_id: UUID, wish: Wish) -> list[Step]:
    """The steps that `change_definition` would take, with the same refusals as far as they can
    be known by reading: of the values, whether they allow a change of type."""
    with owner.transaction() as tx:
        catalog, schema = load_definitions(tx, tenant_id)
        before, after = wish.read(catalog, schema)
        steps = plan_change(before, after, catalog, force=wish.force)
        check_state(tx, before, after, catalog, force=wish.force)
    return steps


def define(owner: Database, tenant: Tenant, *bodies: dict[str, Json]) -> Catalog:
    """Create entities from JSON definitions, in order, on the platform's own behalf."""
    with definitions(owner, tenant.id) as held:
        for body in bodies:
            _, after = Wish(None, body).read(held.catalog, held.schema)
            held.change(None, after, requested_by=None)
        return held.catalog
