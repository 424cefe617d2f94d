"""An import's mapping: which column of a file fills which field, and how a cell becomes a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from hubblewave_pipelines.core.entity import (
    SYSTEM_COLUMNS,
    Catalog,
    Entity,
    FieldKind,
    Json,
    RelationKind,
)
from hubblewave_pipelines.core.reading import Reading, below, suggestion
from hubblewave_pipelines.core.transform_schema import TRANSFORMS
from hubblewave_pipelines.core.transforms import FILLS, MAX_STEPS, Gives, Step, StepReader
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
    """A column of the file, what is done with its cells, and the field or reference id it fills."""

    source: str  # empty when the first step names its columns itself
    target: str
    lookup: Lookup | None = None
    trim: bool | None = None  # None: trim unless the field is text or longtext
    steps: tuple[Step, ...] = ()  # before the cell is read as a value, or looked up

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the file that is read."""
        named = [self.source] if self.source else []
        return tuple(dict.fromkeys([*named, *(c for step in self.steps for c in step.columns)]))


def documents_of(maps: Sequence[FieldMap], entity: Entity) -> list[str]:
    """Columns whose cells go into json fields as they are, and nowhere else."""
    kinds: dict[str, set[FieldKind | None]] = {}
    for m in maps:
        field = entity.fields_by_name.get(m.target)
        for column in m.columns:
            plain = field is not None and not m.steps
            kinds.setdefault(column, set()).add(field.kind if plain and field else None)
    return [column for column, found in kinds.items() if found == {FieldKind.JSON}]


def as_json(maps: Sequence[FieldMap]) -> list[Json]:
    """The form in which an import job keeps its mapping; `parse_mapping` reads it back."""
    return [_map_json(m) for m in maps]


def _map_json(m: FieldMap) -> Json:
    transform: list[Json] = [step.body for step in m.steps]
    if m.trim is not None:
        transform.append({"trim": m.trim})
    if m.lookup is not None:
        found = m.lookup
        told = {"entity": found.entity, "by": found.by, "onMissing": found.on_missing.value}
        transform.append({"lookup": dict[str, Json](told)})
    plain: dict[str, Json] = {"targetField": m.target}
    if m.source:
        plain = {"sourceField": m.source, **plain}
    if len(transform) == 1:
        plain["transform"] = transform[0]
    elif transform:
        plain["transform"] = transform
    return plain


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


_Steps: TypeAlias = list[tuple[str, Json, str]]
# A transform that begins with one of these needs no sourceField.
STARTING = frozenset({"concat", "coalesce", "join", "expression", "default"})


class _Mapping:
    """One reading of one mapping."""

    def __init__(
        self, entity: Entity, catalog: Catalog, header: Sequence[str], *, more: bool
    ) -> None:
        self.more = more
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
            target = self._target(item, at)
            steps = self._steps_of(item.get("transform"), below(at, "transform"))
            source = self._source(item, at, steps)
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
            maps.append(self._transformed(source, target, steps, below(at, "transform")))
        return tuple(maps)

    def _source(self, item: Mapping[str, Json], at: str, steps: _Steps) -> str | None:
        name = item.get("sourceField")
        if name is None and steps and steps[0][0] in STARTING:
            return ""
        if not isinstance(name, str) or not name:
            self.reading.fault(below(at, "sourceField"), "required", "name a column of the file")
            return None
        if name in self.header or self.more:
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

    def _steps_of(self, body: Json, at: str) -> _Steps:
        """The steps as (name, arguments, pointer): of one name, of an object, or of a list."""
        if body is None:
            return []
        listed = body if isinstance(body, list) else [body]
        if len(listed) > MAX_STEPS:
            self.reading.fault(at, "length", f"a transform has at most {MAX_STEPS} steps")
            return []
        found: _Steps = []
        for index, item in enumerate(listed):
            where = below(at, index) if isinstance(body, list) else at
            if isinstance(item, str):
                item = {item: True}
            if not isinstance(item, dict) or not item:
                self.reading.fault(where, "type", 'must be a name or an object like {"trim": true}')
                continue
            if isinstance(body, list) and len(item) > 1:
                self.reading.fault(where, "length", "a step of a list has one name only")
                continue
            self.reading.keys(item, tuple(TRANSFORMS), where)
            found += [(k, v, below(where, k)) for k, v in item.items() if k in TRANSFORMS]
        # Written as one object, a look-up is last wherever it stands.
        return found if isinstance(body, list) else sorted(found, key=lambda s: s[0] == "lookup")

    def _transformed(self, source: str, target: str, steps: _Steps, at: str) -> FieldMap:
        field = self.entity.fields_by_name.get(target)
        reader = StepReader(None if self.more else self.header, self.reading)
        trim: bool | None = None
        lookup: Lookup | None = None
        made: list[Step] = []
        gives = Gives.TEXT
        for index, (name, args, where) in enumerate(steps):
            if name == "lookup":
                if index + 1 < len(steps):
                    self.reading.fault(where, "type", "lookup must be the last step")
                lookup = self._lookup(target, args, where)
            elif name == "trim" and args is False:
                trim = False
            elif name == "date" and (field is None or field.kind not in DATED):
                self.reading.fault(where, "type", f"{target} is not a date or datetime")
            elif (step := reader.step(name, args, gives, where)) is not None:
                made.append(step)
                gives = step.gives
        self._check_filled(target, gives, at)
        return FieldMap(source, target, lookup, trim, tuple(made))

    def _check_filled(self, target: str, gives: Gives, at: str) -> None:
        field = self.entity.fields_by_name.get(target)
        kind = FieldKind.UUID if field is None else field.kind
        fits = gives is not Gives.LIST if field is None else kind in FILLS.get(gives, FieldKind)
        if not fits:
            self.reading.fault(at, "type", f"{target} is {kind.value}, the last step gives {gives}")

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


def folded(
    mapping: Json, options: Json, entity: Entity, header: Sequence[str], reading: Reading
) -> Json:
    """The mapping (the suggested one for None) with the steps of the option `transformations`."""
    given = options.get("transformations") if isinstance(options, dict) else None
    if given is None:
        return mapping
    at = "#/options/transformations"
    if not isinstance(given, list):
        reading.fault(at, "type", 'must be a list of {"field", "transform"}')
        return mapping
    found = as_json(suggest_mapping(entity, header)) if mapping is None else mapping
    if not isinstance(found, list):
        return mapping
    by_target = {item.get("targetField"): dict(item) for item in found if isinstance(item, dict)}
    for index, item in enumerate(given):
        where = below(at, index)
        if not isinstance(item, dict) or "field" not in item or "transform" not in item:
            reading.fault(where, "type", "must be an object with field and transform")
        elif not isinstance(item["field"], str) or item["field"] not in by_target:
            reading.fault(below(where, "field"), "unknown", "no column fills this field")
        else:
            filled = by_target[item["field"]]
            filled["transform"] = [
                *_listed_steps(filled.get("transform")),
                *_listed_steps(item["transform"]),
            ]
    return [
        by_target.get(item.get("targetField"), item) if isinstance(item, dict) else item
        for item in found
    ]


def _listed_steps(transform: Json) -> list[Json]:
    if isinstance(transform, dict):
        return [{name: args} for name, args in transform.items()]
    return transform if isinstance(transform, list) else [] if transform is None else [transform]


def parse_mapping(
    body: Json,
    *,
    entity: Entity,
    catalog: Catalog,
    header: Sequence[str],
    reading: Reading,
    more: bool = False,
) -> tuple[FieldMap, ...]:
    """The mapping a client gave, or the suggested one for None; faults go to `reading`.

    Every required field without a default must be filled. `more`: the file may hold columns beyond
    `header`.
    """
    found = _Mapping(entity, catalog, header, more=more)
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
