"""The items of a bulk request written in an open transaction, with the outcome of every item.

The outcome is that of applying the items one by one in their order. They go set by set; a set is
cut only where an item wants a unique value that an earlier one gives up, and halved only where the
database refuses what validation let through. Deletions are one set: see `_delete`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from api.context import Context
from hubblewave_pipelines.core.bulk import Batch, BulkKind, Item, relocated
from hubblewave_pipelines.core.entity import Entity, OnDelete
from hubblewave_pipelines.core.errors import (
    Conflict,
    Fault,
    Invalid,
    NotFound,
    ReferenceConflict,
    UniqueConflict,
    VersionConflict,
)
from hubblewave_pipelines.core.identity import uuid7s
from hubblewave_pipelines.core.reading import below
from hubblewave_pipelines.storage import bulk
from hubblewave_pipelines.storage.bulk import WrittenItem
from hubblewave_pipelines.storage.refusals import BROKEN_RULE, names_known, refusal
from hubblewave_pipelines.storage.tenants import tenant_by_id

_ROUNDS = 5  # whoever was in the way of an item may be gone again; this often is not chance


@dataclass(frozen=True, slots=True)
class Done:
    """An item that was written, with the HTTP status that alone it would have had."""

    status: int
    record_id: UUID
    version: int | None = None
    text: str | None = None


@dataclass
class Writer:
    """One bulk request at work. Raises psycopg.Error when its definition changed meanwhile."""

    context: Context
    entity: Entity
    batch: Batch
    key: str | None = None
    whole: bool = False  # whether the records are wanted as JSON
    done: dict[int, Done] = field(default_factory=dict)
    _ids: dict[int, UUID] = field(default_factory=dict)

    async def write(self) -> dict[int, Done]:
        """Write what can be written; `batch.refused` names the rest. Both are by index."""
        kind, items = self.batch.kind, self.batch.items
        if kind is BulkKind.CREATE or kind is BulkKind.UPSERT:
            new = uuid7s(len(items), unix_ms=time.time_ns() // 1_000_000)
            self._ids = {item.index: record_id for item, record_id in zip(items, new, strict=True)}
        else:
            items = await self._locked(items)
        if kind is BulkKind.DELETE:
            await self._delete(items)
            return self.done
        items = await self._referring(items)
        if kind is BulkKind.CREATE:
            await self._set(items)
        else:
            await self._in_order(items)
        return self.done

    async def _locked(self, items: Sequence[Item]) -> list[Item]:
        """The items whose record exists at the version they ask for."""
        ids = [item.id for item in items if item.id is not None]
        deleting = self.batch.kind is BulkKind.DELETE
        versions = dict(
            await self.context.tx.all(bulk.lock_records(self.entity, ids, deleting=deleting))
        )
        standing = []
        for item in items:
            version = None if item.id is None else versions.get(item.id)
            if version is None:
                detail = f"There is no {self.entity.name} {item.id}."
                fault = Fault("not_found", detail, item.named)
                self.batch.refuse(item, NotFound(detail, faults=[fault]))
            elif item.version is not None and item.version != version:
                detail = f"The record is at version {version}, not {item.version}."
                fault = Fault("version", detail, item.named)
                self.batch.refuse(item, VersionConflict(detail, faults=[fault]))
            else:
                standing.append(item)
        return standing

    async def _referring(self, items: Sequence[Item]) -> list[Item]:
        """The items whose references name records, which now stay where they are."""
        faults: dict[int, list[Fault]] = {}
        for name, relation in self.entity.references.items():
            wanted = {item.index: item.values.get(name) for item in items}
            ids = {value for value in wanted.values() if isinstance(value, UUID)}
            target = self.context.catalog.named(relation.target)
            if not ids or target is None:
                continue
            found = set(await self.context.tx.all(bulk.hold_targets(target, ids)))
            for item in items:
                if wanted[item.index] in ids - found:
                    fault = Fault("reference", f"{name} names no record", below(item.at, name))
                    faults.setdefault(item.index, []).append(fault)
        for item in items:
            if item.index in faults:
                detail = "A reference names a record that does not exist."
                self.batch.refuse(item, Invalid(detail, faults=faults[item.index]))
        return [item for item in items if item.index not in faults]

    async def _in_order(self, items: Sequence[Item]) -> None:
        """Write items that may want what other records hold, some of them records of this batch."""
        rest = list(items)
        while rest:
            held = await self._held(rest)
            position = {item.index: number for number, item in enumerate(rest)}
            cut = len(rest)
            for number, item in enumerate(rest):
                holders = [holder for _, holder in held.get(item.index, ()) if holder is not None]
                if any(position[holder] < number for holder in holders):
                    cut = number
                    break
            now, rest = rest[:cut], rest[cut:]
            for item in now:
                if item.index in held:
                    self._refuse_taken(item, [name for name, _ in held[item.index]])
            await self._set([item for item in now if item.index not in held])

    async def _held(self, items: Sequence[Item]) -> dict[int, list[tuple[str, int | None]]]:
        """Items that want a value some other record has: the field, and that record's item."""
        of_record: dict[object, int] = {
            self._address(item): item.index for item in items if self._address(item) is not None
        }
        address = {item.index: self._address(item) for item in items}
        found: dict[int, list[tuple[str, int | None]]] = {}
        for unique in self.entity.fields:
            if not unique.unique or unique.name == self.key:
                continue
            if all(item.values.get(unique.name) is None for item in items):
                continue
            query = bulk.holders(self.entity, unique.name, items, key=self.key)
            for holder in await self.context.tx.all(query):
                if holder.key == address[holder.index] and holder.key is not None:
                    continue
                other = of_record.get(holder.key)
                found.setdefault(holder.index, []).append((unique.name, other))
        return found

    def _address(self, item: Item) -> object:
        """What says which record an item is about; None for a new one."""
        return item.id if self.key is None else item.values[self.key]

    def _refuse_taken(self, item: Item, names: Sequence[str]) -> None:
        faults = [
            Fault("unique", f"{name} is already taken by another record", below(item.at, name))
            for name in names
        ]
        detail = f"Another {self.entity.name} already has this {' and this '.join(names)}."
        self.batch.refuse(item, UniqueConflict(detail, faults=faults))

    async def _set(self, items: Sequence[Item]) -> None:
        """Write a set; what PostgreSQL refuses is halved down to the item it is about."""
        if not items:
            return
        try:
            async with self.context.tx.connection.transaction():
                done = await self._write_all(items)
        except BROKEN_RULE as error:
            for item in items:
                self.batch.refused.pop(item.index, None)  # its reason went with the savepoint
            if len(items) == 1:
                await self._judge(items[0], error)
                return
            middle = len(items) // 2
            await self._set(items[:middle])
            await self._set(items[middle:])
            return
        self.done.update(done)

    async def _write_all(self, items: Sequence[Item]) -> dict[int, Done]:
        tx, actor = self.context.tx, self.context.principal.actor_id
        if self.batch.kind is BulkKind.DELETE:
            await tx.run(bulk.delete_items(self.entity, items))
            return {item.index: Done(204, item.id) for item in items if item.id is not None}
        if self.batch.kind is BulkKind.UPDATE:
            written = await tx.all(
                bulk.update_items(self.entity, items, actor_id=actor, whole=self.whole)
            )
        elif self.key is not None:
            query = bulk.upsert_items(
                self.entity, items, self._ids, key=self.key, actor_id=actor, whole=self.whole
            )
            written = await tx.all(query)
        else:
            return await self._insert(items)
        return {found.index: self._as_done(found) for found in written}

    def _as_done(self, found: WrittenItem) -> Done:
        status = 201 if self._ids.get(found.index) == found.id else 200
        return Done(status, found.id, found.version, found.text)

    async def _insert(self, items: Sequence[Item]) -> dict[int, Done]:
        """Insert the items; those whose unique values others have are refused."""
        tx, rest, done = self.context.tx, list(items), dict[int, Done]()
        for _ in range(_ROUNDS):
            query = bulk.insert_items(
                self.entity,
                rest,
                self._ids,
                actor_id=self.context.principal.actor_id,
                whole=self.whole,
            )
            done |= {found.index: self._as_done(found) for found in await tx.all(query)}
            left = [item for item in rest if item.index not in done]
            held = await self._held(left) if left else {}
            for item in left:
                if item.index in held:
                    self._refuse_taken(item, [name for name, _ in held[item.index]])
            rest = [item for item in left if item.index not in held]
            if not rest:
                return done
        for item in rest:
            detail = "Other requests keep taking and giving up the same unique values."
            fault = Fault("unique", detail, item.at)
            self.batch.refuse(item, Conflict(detail, faults=[fault]))
        return done

    async def _judge(self, item: Item, error: psycopg.Error) -> None:
        """Refuse an item for what the database said, unless it spoke of a newer definition."""
        context = self.context
        tenant = await context.tx.one(tenant_by_id(context.principal.tenant_id))
        moved = tenant is None or tenant.catalog_version != context.catalog.version
        told = refusal(error, self.entity, context.catalog)
        if told is None or moved or not names_known(error, self.entity):
            raise error
        self.batch.refuse(item, relocated(told, item.at))

    async def _delete(self, items: Sequence[Item]) -> None:
        """Delete records by one statement: references among them do not count."""
        standing = {item.id: item for item in items if item.id is not None}
        restricting = [
            (entity, relation)
            for entity in self.context.catalog
            for relation in entity.references.values()
            if relation.target == self.entity.name and relation.on_delete is OnDelete.RESTRICT
        ]
        again = True
        while again and standing:
            again = False
            for entity, relation in restricting:
                own = entity.name == self.entity.name
                query = bulk.referred_to(
                    entity, relation, list(standing), spared=list(standing) if own else []
                )
                for record_id in await self.context.tx.all(query):
                    detail = f"{entity.name} records still refer to this {self.entity.name}."
                    item = standing.pop(record_id)
                    fault = Fault("referenced", detail, item.named)
                    self.batch.refuse(item, ReferenceConflict(detail, faults=[fault]))
                    again = again or own
        await self._set(list(standing.values()))
