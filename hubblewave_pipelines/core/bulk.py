"""The body of a bulk request: its items, and every fault of every item with its place."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from hubblewave_pipelines.core.bodies import Mode, record_reader
from hubblewave_pipelines.core.entity import Entity, Json
from hubblewave_pipelines.core.errors import (
    Fault,
    Invalid,
    MalformedRequest,
    PlatformError,
    PreconditionRequired,
    TooLarge,
)
from hubblewave_pipelines.core.reading import Reading, below
from hubblewave_pipelines.core.values import UUID_TEXT

MOST = 1000  # items in one request; larger work is an import

_Reader: TypeAlias = Callable[[Json], Mapping[str, object]]

_UUID = re.compile(UUID_TEXT)
_ETAG = re.compile(r'"([0-9]{1,18})"')


class BulkKind(StrEnum):
    CREATE = "create"
    UPSERT = "upsert"  # whole records, matched by a unique field
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Item:
    """One item that can be read. `at` points at its values, `named` at what says which it is."""

    index: int
    at: str
    named: str
    values: Mapping[str, object]
    id: UUID | None = None
    version: int | None = None  # the record must be at this one; None: any


@dataclass
class Batch:
    """The items of a request; `refused` holds the others by index, each with all its faults."""

    kind: BulkKind
    total: int
    atomic: bool
    items: list[Item] = field(default_factory=list)
    refused: dict[int, PlatformError] = field(default_factory=dict)

    def refuse(self, item: Item, error: PlatformError) -> None:
        self.refused[item.index] = error


def relocated(error: PlatformError, at: str) -> PlatformError:
    """The same refusal, its pointers seen from the whole body; it has at least one fault."""
    faults = [
        Fault(f.code, f.detail, at + (f.pointer or "#").removeprefix("#")) for f in error.faults
    ]
    return type(error)(error.detail, faults=faults or [Fault("refused", error.detail, at)])


def read_batch(entity: Entity, body: Json, kind: BulkKind, *, key: str | None = None) -> Batch:
    """The items of a bulk request; `key` is the field by which an upsert finds its records.

    Of items that want the same unique value, or name the same record, the first counts and the
    later ones are refused. Raises MalformedRequest, TooLarge and Invalid for the body as a whole.
    """
    listed, atomic, name = _envelope(body, kind)
    if entity.require_if_match and kind is BulkKind.UPSERT:
        raise PreconditionRequired(
            f"Whoever changes a {entity.name} must say which version; PUT .../bulk cannot. "
            "Use POST and PATCH .../bulk, with ifMatch."
        )
    batch = Batch(kind, len(listed), atomic)
    modes: Mapping[BulkKind, Mode] = {BulkKind.CREATE: "create", BulkKind.UPSERT: "replace"}
    read = record_reader(entity, modes.get(kind, "patch"))
    for index, given in enumerate(listed):
        place = f"#/{name}/{index}"
        try:
            item = _item(entity, read, given, kind, key, index, place, by_id=name == "ids")
            batch.items.append(item)
        except (Invalid, PreconditionRequired) as refused:
            batch.refused[index] = refused
    _refuse_repeated(entity, batch)
    return batch


def _envelope(body: Json, kind: BulkKind) -> tuple[list[Json], bool, str]:
    """The list of items, whether all or nothing is wanted, and the list's name."""
    names = ("items", "ids") if kind is BulkKind.DELETE else ("items",)
    wanted = " or ".join(f'"{name}": [...]' for name in names)
    if not isinstance(body, dict):
        raise MalformedRequest(f"The body must be an object with {wanted}.")
    present = [name for name in names if name in body]
    if len(present) != 1 or not isinstance(body[present[0]], list):
        detail = f"give {wanted}, a list"
        raise MalformedRequest(
            f"The body needs {wanted}.", faults=[Fault("type", detail, f"#/{names[0]}")]
        )
    name = present[0]
    listed: list[Json] = body[name]
    if not listed:
        fault = Fault("length", "is empty; name at least one item", f"#/{name}")
        raise MalformedRequest("There is nothing to do.", faults=[fault])
    if len(listed) > MOST:
        detail = f"has {len(listed)} items; at most {MOST:,}. Use POST /api/v1/imports for more"
        raise TooLarge(
            f"{len(listed)} items are too many.", faults=[Fault("length", detail, f"#/{name}")]
        )
    reading = Reading()
    reading.keys(body, {name, "atomic"}, "#")
    atomic = body.get("atomic", True)
    if not isinstance(atomic, bool):
        reading.fault("#/atomic", "type", "atomic must be true or false")
    if reading.faults:
        raise Invalid("The request is not valid.", faults=reading.faults)
    return listed, atomic, name


def _item(
    entity: Entity,
    read: _Reader,
    given: Json,
    kind: BulkKind,
    key: str | None,
    index: int,
    place: str,
    *,
    by_id: bool,
) -> Item:
    if kind is BulkKind.CREATE or kind is BulkKind.UPSERT:
        values = _values(read, given, place)
        if key is not None and values[key] is None:
            fault = Fault("required", f"{key} says which record this is", below(place, key))
            raise Invalid("1 field is invalid.", faults=[fault])
        return Item(index, place, place if key is None else below(place, key), values)
    if by_id:
        reading = Reading()
        found = _id(given, place, reading)
        if found is None:
            raise Invalid("The id is not valid.", faults=reading.faults)
        _require_version(entity, None, place)
        return Item(index, place, place, {}, found)
    return _addressed(entity, read, given, kind, index, place)


def _addressed(
    entity: Entity, read: _Reader, given: Json, kind: BulkKind, index: int, place: str
) -> Item:
    """An item that names its record: {id, ifMatch?} and, of an update, what to set."""
    if not isinstance(given, dict):
        raise Invalid(
            "Each item must be an object.", faults=[Fault("type", "expected an object", place)]
        )
    reading, at = Reading(), below(place, "set")
    updating = kind is BulkKind.UPDATE
    reading.keys(given, {"id", "ifMatch", "set"} if updating else {"id", "ifMatch"}, place)
    record_id = _id(given.get("id"), below(place, "id"), reading)
    version = _version(given.get("ifMatch"), below(place, "ifMatch"), reading)
    values: Mapping[str, object] = {}
    if updating and "set" not in given:
        reading.fault(at, "required", "set is required: the fields to change")
    elif updating:
        try:
            values = _values(read, given["set"], at)
        except Invalid as refused:
            reading.faults.extend(refused.faults)
    if reading.faults or record_id is None:
        count = len(reading.faults)
        what = "1 part is" if count == 1 else f"{count} parts are"
        raise Invalid(f"{what} invalid.", faults=reading.faults)
    _require_version(entity, given.get("ifMatch"), place)
    return Item(index, at, below(place, "id"), values, record_id, version)


def _require_version(entity: Entity, given: Json, place: str) -> None:
    if entity.require_if_match and given is None:
        detail = 'is required here: the version of the record, or "*"'
        fault = Fault("required", f"ifMatch {detail}", below(place, "ifMatch"))
        raise PreconditionRequired("Say which version you change.", faults=[fault])


def _values(read: _Reader, given: Json, at: str) -> Mapping[str, object]:
    try:
        return read(given)
    except Invalid as refused:
        raise relocated(refused, at) from refused


def _id(given: Json, at: str, reading: Reading) -> UUID | None:
    if isinstance(given, str) and _UUID.fullmatch(given):
        return UUID(given)
    if given is None:
        reading.fault(at, "required", "id is required: which record")
    else:
        reading.fault(at, "format", "expected the id of a record, a UUID")
    return None


def _version(given: Json, at: str, reading: Reading) -> int | None:
    """The version of an ifMatch: a number, or an ETag as the header has it."""
    if given is None or given == "*":
        return None
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 10**18:
        return given
    tag = _ETAG.fullmatch(given) if isinstance(given, str) else None
    if tag is not None:
        return int(tag[1])
    reading.fault(at, "format", 'ifMatch must be a version like 3, or an ETag like "\\"3\\""')
    return None


def _refuse_repeated(entity: Entity, batch: Batch) -> None:
    """Keep the first of the items that name one record or want one value."""
    seen: dict[tuple[str, object], int] = {}
    standing = []
    fields = [f.name for f in entity.fields if f.unique]
    for item in batch.items:
        wanted = [(below(item.at, name), name, item.values.get(name)) for name in fields]
        wanted.append((item.named, "id", item.id))
        faults = list(_repeated(wanted, seen))
        if faults:
            batch.refuse(item, Invalid("Another item of this request came first.", faults=faults))
            continue
        seen.update({(name, value): item.index for _, name, value in wanted if value is not None})
        standing.append(item)
    batch.items = standing


def _repeated(
    wanted: Iterable[tuple[str, str, object]], seen: Mapping[tuple[str, object], int]
) -> Iterable[Fault]:
    for at, name, value in wanted:
        first = None if value is None else seen.get((name, value))
        if first is not None:
            yield Fault("duplicate", f"has the same {name} as item {first}", at)
