"""An import's mapping: which column of a file fills which field, and how a cell becomes a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hubblewave_pipelines.core.entity import (
    SYSTEM_COLUMNS,
    Catalog,
    Entity,
    FieldKind,
    Json,
    RelationKind,
)
from hubblewave_pipelines.core.reading import Reading, below, suggestion
from hubblewave_pipelines.core.values import squeezed

_AT = "#/mapping"
DATED = frozenset({FieldKind.DATE, FieldKind.DATETIME})


class OnMissing(StrEnum):
    """What to do when a lookup finds no record."""

    REJECT = "reject"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Lookup:
    """Find the record of `entity` whose unique field `by` equals the cell."""

    entity: str
    by: str
    on_missing: OnMissing = OnMissing.REJECT


@dataclass(frozen=True, slots=True)
class FieldMap:
    """One column of the file and the field or reference id it fills."""

    source: str
    target: str
    lookup: Lookup | None = None
    trim: bool | None = None  # None: trim unless the field is text or longtext
    date_format: str | None = None  # strptime form of the cells of a date or datetime field


def as_json(maps: Sequence[FieldMap]) -> list[Json]:
    """The form in which an import job keeps its mapping; `parse_mapping` reads it back."""
    return [_map_json(m) for m in maps]


def _map_json(m: FieldMap) -> Json:
    transform: dict[str, Json] = {}
    if m.lookup is not None:
        found = m.lookup
        transform["lookup"] = {
            "entity": found.entity,
            "by": found.by,
            "onMissing": found.on_missing.value,
        }
    if m.trim is not None:
        transform["trim"] = m.trim
    if m.date_format is not None:
        transform["date"] = m.date_format
    plain = {"sourceField": m.source, "targetField": m.target}
    return {**plain, "transform": transform} if transform else plain


def suggest_mapping(entity: Entity, header: Sequence[str]) -> tuple[FieldMap, ...]:
    """Columns to fields by name; case, spaces, `_` and `-` do not count."""
    targets = {squeezed(name): name for name in targets_of(entity)}
    maps: dict[str, FieldMap] = {}
    for column in header:
        target = targets.get(squeezed(column))
        if target is not None and target not in maps:
            maps[target] = FieldMap(column, target)
    return tuple(maps.values())


def targets_of(entity: Entity) -> list[str]:
    """What an import may fill: fields (computed ones too) and reference ids."""
    return [f.name for f in entity.fields] + list(entity.references)


class _Mapping:
    """One reading of one mapping."""

    def __init__(self, entity: Entity, catalog: Catalog, header: Sequence[str]) -> None:
        self.entity = entity
        self.catalog = catalog
        self.header = header
        self.reading = Reading()

    def read(self, body: Json) -> tuple[FieldMap, ...]:
        if not isinstance(body, list):
            self.reading.fault(_AT, "type", "mapping must be a list of {sourceField, targetField}")
            return ()
        maps: list[FieldMap] = []
        taken: dict[str, int] = {}
        for index, item in enumerate(body):
            at = below(_AT, index)
            if not isinstance(item, dict):
                self.reading.fault(at, "type", "must be an object {sourceField, targetField}")
                continue
            self.reading.keys(item, ("sourceField", "targetField", "transform"), at)
            source, target = self._source(item, at), self._target(item, at)
            if source is None or target is None:
                continue
            if target in taken:
                self.reading.fault(
                    below(at, "targetField"),
                    "duplicate",
                    f"{target} is filled already by mapping {taken[target]}",
                )
                continue
            taken[target] = index
            maps.append(self._transformed(FieldMap(source, target), item.get("transform"), at))
        return tuple(maps)

    def _source(self, item: Mapping[str, Json], at: str) -> str | None:
        name = item.get("sourceField")
        if not isinstance(name, str) or not name:
            self.reading.fault(below(at, "sourceField"), "required", "name a column of the file")
            return None
        if name in self.header:
            return name
        hint = suggestion(name, self.header) or f"; its columns are {_listed(self.header)}"
        if len(self.header) == 1:
            hint += "; it has one column only, so set options.delimiter if that is not so"
        self.reading.fault(
            below(at, "sourceField"), "unknown", f'the file has no column "{name}"{hint}'
        )
        return None

    def _target(self, item: Mapping[str, Json], at: str) -> str | None:
        name = item.get("targetField")
        where = below(at, "targetField")
        if not isinstance(name, str) or not name:
            self.reading.fault(where, "required", f"name a field of {self.entity.name}")
            return None
        relation = self.entity.relations_by_name.get(name)
        if relation is not None and relation.kind is RelationKind.MANY_TO_ONE:
            return relation.field
        if name in SYSTEM_COLUMNS:
            self.reading.fault(where, "read_only", f"{name} is set by the platform")
        elif relation is not None:
            self.reading.fault(where, "read_only", f"{name} is a list of links; map manyToOne only")
        elif name in self.entity.fields_by_name or name in self.entity.references:
            return name
        else:
            known = targets_of(self.entity)
            hint = suggestion(name, known) or f"; its fields are {_listed(known)}"
            self.reading.fault(where, "unknown", f'{self.entity.name} has no field "{name}"{hint}')
        return None

    def _transformed(self, m: FieldMap, body: Json, at: str) -> FieldMap:
        at = below(at, "transform")
        if body is None:
            return m
        if not isinstance(body, dict):
            self.reading.fault(at, "type", 'must be an object like {"trim": true}')
            return m
        self.reading.keys(body, ("lookup", "trim", "date"), at)
        trim, date = body.get("trim"), body.get("date")
        if trim is not None and not isinstance(trim, bool):
            self.reading.fault(below(at, "trim"), "type", "must be true or false")
            trim = None
        field = self.entity.fields_by_name.get(m.target)
        if date is not None and (field is None or field.kind not in DATED):
            self.reading.fault(below(at, "date"), "type", f"{m.target} is not a date or datetime")
            date = None
        elif date is not None and (not isinstance(date, str) or "%" not in date):
            self.reading.fault(below(at, "date"), "format", "must be a form like %d.%m.%Y")
            date = None
        lookup = None
        if body.get("lookup") is not None:
            lookup = self._lookup(m.target, body["lookup"], below(at, "lookup"))
        return FieldMap(m.source, m.target, lookup, trim, date)

    def _lookup(self, target: str, body: Json, at: str) -> Lookup | None:
        reference = self.entity.references.get(target)
        if reference is None:
            self.reading.fault(at, "type", f"{target} is not a reference, so nothing to look up")
            return None
        if not isinstance(body, dict):
            self.reading.fault(at, "type", 'must be an object {"entity", "by", "onMissing"}')
            return None
        self.reading.keys(body, ("entity", "by", "onMissing"), at)
        named = body.get("entity", reference.target)
        if named != reference.target:
            self.reading.fault(
                below(at, "entity"), "reference", f"{target} refers to {reference.target}"
            )
            return None
        other = self.catalog.named(reference.target)
        unique = [f.name for f in other.fields if f.unique] if other is not None else []
        by = body.get("by")
        if by not in unique:
            self.reading.fault(
                below(at, "by"),
                "unique",
                f"must be a unique field of {reference.target}: {_listed(unique) or 'it has none'}",
            )
            return None
        missing = body.get("onMissing", "reject")
        if missing not in tuple(OnMissing):
            self.reading.fault(below(at, "onMissing"), "enum", "must be reject or null")
            return None
        return Lookup(reference.target, by, OnMissing(missing))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return f"{shown}, ..." if len(names) > 20 else shown


def parse_mapping(
    body: Json, *, entity: Entity, catalog: Catalog, header: Sequence[str], reading: Reading
) -> tuple[FieldMap, ...]:
    """The mapping a client gave, or the suggested one for None; faults go to `reading`.

    Every required field without a default must be filled.
    """
    found = _Mapping(entity, catalog, header)
    found.reading = reading
    before = len(reading.faults)
    maps = suggest_mapping(entity, header) if body is None else found.read(body)
    if len(reading.faults) > before:
        return maps
    if not maps:
        reading.fault(
            _AT,
            "required",
            f"no column of the file fills a field of {entity.name}; its columns are "
            f"{_listed(header)}, its fields are {_listed(targets_of(entity))}",
        )
        return maps
    filled = {m.target for m in maps}
    for name in required_of(entity):
        if name not in filled:
            reading.fault(_AT, "required", f"{name} is required and no column fills it")
    return maps


def required_of(entity: Entity) -> list[str]:
    """Fields and reference ids that every row must fill."""
    fields = [f.name for f in entity.fields if f.required and f.default is None]
    return fields + [name for name, r in entity.references.items() if r.required]
