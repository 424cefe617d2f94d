"""What an import does to a table: which columns it fills, what makes two rows the same record."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from hubblewave_pipelines.core.entity import Catalog, Entity, Field, FieldKind
from hubblewave_pipelines.core.import_options import DuplicateStrategy, EmitEvents, ImportOptions
from hubblewave_pipelines.core.mapping import FieldMap, OnMissing
from hubblewave_pipelines.storage.physical import SQL_TYPES, default_of, identifier, qualified

# How a kind is staged when not in its own type: the cast turns it into that.
TRAVELS_AS = {FieldKind.DECIMAL: "text", FieldKind.JSON: "text"}


@dataclass(frozen=True, slots=True)
class Target:
    """One column that the import fills. `lookup` is (table, column) where its id is found."""

    name: str  # public
    column: str
    kind: FieldKind  # of the staged value
    required: bool
    unique: bool
    default: str | None = None
    lookup: tuple[str, str] | None = None
    lookup_name: str = ""
    null_when_missing: bool = False

    @property
    def staged_type(self) -> str:
        return TRAVELS_AS.get(self.kind, SQL_TYPES[self.kind])


@dataclass(frozen=True)
class MergePlan:
    """What a chunk of one import does to one table."""

    import_id: UUID
    table: str
    targets: tuple[Target, ...]
    keys: tuple[Target, ...]  # two rows with equal keys are the same record; none: never
    strategy: DuplicateStrategy
    unique: tuple[Target, ...]  # filled columns with a unique index
    keys_indexed: bool
    only_unique: bool  # `unique` is one column, and the table has no other but the id
    catalog_version: int  # the definitions that the rows were checked by
    quiet: bool = False  # no events of records, whoever subscribes
    by_id: bool = False  # a row is the record that has its id, and no other

    @property
    def writes_matches(self) -> bool:
        updating = self.strategy in (DuplicateStrategy.UPDATE, DuplicateStrategy.MERGE)
        return self.matching and updating

    @property
    def matching(self) -> bool:
        """Whether a row can be an existing record."""
        return self.by_id or bool(self.keys)

    @property
    def changing(self) -> tuple[Target, ...]:
        """What a row can change of the record that it matches."""
        return tuple(t for t in self.targets if t not in self.keys)

    @property
    def others(self) -> tuple[Target, ...]:
        """Unique columns that are not the key."""
        return tuple(t for t in self.unique if self.keys != (t,))

    @property
    def needed(self) -> tuple[Target, ...]:
        """Columns without which a new record cannot be, although a match may do without."""
        merging = self.keys and self.strategy is DuplicateStrategy.MERGE
        return tuple(t for t in self.targets if t.required and merging)


@dataclass(frozen=True, slots=True)
class Clash:
    """A row whose unique value belongs to another record, or that a lookup found nothing for."""

    row_no: int
    name: str
    value: str
    record: UUID | None = None


def plan_merge(
    import_id: UUID,
    entity: Entity,
    catalog: Catalog,
    maps: Sequence[FieldMap],
    options: ImportOptions,
    *,
    by_id: bool = False,
) -> MergePlan:
    targets = tuple(_target(entity, catalog, m) for m in maps)
    by_name = {t.name: t for t in targets}
    keys = tuple(by_name[name] for name in options.unique_fields if options.detect_duplicates)
    unique = tuple(t for t in targets if t.unique)
    indexed = len(keys) == 1 and keys[0].unique
    return MergePlan(
        import_id,
        qualified(entity),
        targets,
        keys,
        options.strategy,
        unique,
        keys_indexed=indexed or not keys,
        only_unique=not by_id and len(unique) == 1 == sum(f.unique for f in entity.fields),
        catalog_version=catalog.version,
        quiet=options.emit_events in (EmitEvents.SUMMARY, EmitEvents.NONE),
        by_id=by_id,
    )


def _target(entity: Entity, catalog: Catalog, m: FieldMap) -> Target:
    field = entity.fields_by_name.get(m.target)
    if field is not None:
        return Target(
            m.target,
            identifier(field.column),
            field.kind,
            field.required,
            field.unique,
            _placeholder_safe(default_of(field)),
        )
    relation = entity.references[m.target]
    other = catalog.named(relation.target)
    if other is None:
        raise LookupError(f"{entity.name}.{m.target} refers to {relation.target}, which is gone")
    by: Field | None = other.fields_by_name[m.lookup.by] if m.lookup is not None else None
    return Target(
        m.target,
        identifier(relation.column),
        FieldKind.UUID if by is None else by.kind,
        relation.required,
        False,
        lookup=(qualified(other), "id" if by is None else identifier(by.column)),
        lookup_name=f"{other.name} with {'id' if by is None else by.name}",
        null_when_missing=m.lookup is not None and m.lookup.on_missing is OnMissing.NULL,
    )


def _placeholder_safe(sql: str | None) -> str | None:
    return None if sql is None else sql.replace("%", "%%")
