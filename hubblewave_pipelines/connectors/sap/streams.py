"""Entity sets as streams: which field is the key, which one tells of changes, and what an admin must know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from hubblewave_pipelines.connectors.sap.config import Config
from hubblewave_pipelines.connectors.sap.edmx import EntitySet, Property
from hubblewave_pipelines.connectors.sap.values import kind_of
from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.stream import CompareAndSet, DeleteStrategy, Stream, StreamField

KEY = "_key"  # the field that holds a composite key as one text
CHANGED = "_changed"  # the day of a record's last change, or of its creation when it has had none

_STAMPS = (
    "LastChangeDateTime",
    "LastChangedDateTime",
    "LastChangedAt",
    "LastChangeDateTimeUTC",
    "ChangedAt",
    "ChangedOnDateTime",
    "LastModifiedDateTime",
)
_DATES = ("LastChangeDate", "LastChangedDate", "LastChangedOnDate", "ChangedOn", "ChangeDate")
_CREATED = ("CreationDate", "CreatedOn", "CreatedDate")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Change:
    """How changes of a set are found: by a field, and, while it is empty, by the day of creation."""

    field: Property
    created: Property | None = None

    @property
    def by_day(self) -> bool:
        return kind_of(self.field) is FieldKind.DATE

    @property
    def shown(self) -> str:
        """The stream's cursor."""
        return CHANGED if self.created is not None else self.field.name


def change_of(part: EntitySet, override: str | None) -> Change | None:
    """What moves when a record changes. Fields that cannot be filtered by are of no use."""
    names = (override,) if override is not None else (*_STAMPS, *_DATES)
    for name in names:
        prop = part.properties.get(name)
        if prop is None or not prop.filterable:
            continue
        if kind_of(prop) not in (FieldKind.DATE, FieldKind.DATETIME):
            continue
        if kind_of(prop) is FieldKind.DATE and prop.nullable:
            return Change(prop, _creation(part))
        return Change(prop)
    return None


def _creation(part: EntitySet) -> Property | None:
    found = (part.properties.get(name) for name in _CREATED)
    return next(
        (p for p in found if p is not None and p.filterable and kind_of(p) is FieldKind.DATE), None
    )


def key_field(part: EntitySet) -> str:
    return part.keys[0] if len(part.keys) == 1 else KEY


def stream_of(service: str, part: EntitySet, config: Config) -> Stream:
    name = f"{service}.{part.name}"
    change = change_of(part, config.cursors.get(name))
    fields = [_field(part, prop) for prop in part.properties.values() if prop.edm != "Stream"]
    if len(part.keys) > 1:
        fields.append(StreamField(KEY, FieldKind.TEXT, "Key", nullable=False, unique=True))
    if change is not None and change.created is not None:
        fields.append(StreamField(CHANGED, FieldKind.DATE, "Day of last change or creation"))
    return Stream(
        name=name,
        key=key_field(part),
        fields=tuple(fields),
        label=part.label,
        cursor=None if change is None else change.shown,
        cursor_granularity=_granularity(change, config),
        deletes=DeleteStrategy.SNAPSHOT if part.keyed else DeleteStrategy.NONE,
        creatable=part.creatable,
        updatable=part.updatable,
        deletable=part.deletable,
        compare_and_set=CompareAndSet.ETAG,
        notes=tuple(_notes(part, change)),
    )


def _granularity(change: Change | None, config: Config) -> timedelta:
    """How far a record's stamp can be from its change: a day is kept as its midnight in UTC, and by
    the system's zone it may begin half a day off.
    """
    if change is not None and change.by_day:
        return _DAY if config.zone.key == "UTC" else 2 * _DAY
    return timedelta(milliseconds=1)  # of V2; V4 may tell more


def _field(part: EntitySet, prop: Property) -> StreamField:
    return StreamField(
        prop.name,
        kind_of(prop),
        prop.label,
        nullable=prop.nullable,
        creatable=prop.creatable and part.creatable,
        updatable=prop.updatable and part.updatable and prop.name not in part.keys,
        unique=part.keys == (prop.name,),
        max_length=prop.max_length,
        scale=prop.scale,
    )


def _notes(part: EntitySet, change: Change | None) -> Sequence[str]:
    notes = []
    if len(part.keys) > 1:
        joined = "/".join(part.keys)
        notes.append(
            f"Its key is {joined}: the field {KEY} holds the values, percent-encoded, with `/` between."
        )
    if change is None:
        notes.append(
            "It has no change field that can be filtered by: it is always read as a whole."
        )
    elif change.by_day:
        notes.append(
            f"{change.field.name} tells only the day of a change, so that the last day is read again"
            " each time; records that did not change write nothing."
        )
    if not part.keyed:
        notes.append(
            "Its key cannot be filtered or sorted by: it is read by the service's own paging, and"
            " deletes are not noticed."
        )
    if part.tracks:
        notes.append("It offers delta links: changes and deletes are read from there.")
    return notes


def wanted_properties(
    part: EntitySet, change: Change | None, fields: Sequence[str]
) -> tuple[str, ...]:
    """The properties that must be asked for to fill these fields, each once, keys first."""
    names = [*part.keys]
    if change is not None:
        names.append(change.field.name)
        if change.created is not None:
            names.append(change.created.name)
    names.extend(name for name in fields if name in part.properties)
    return tuple(dict.fromkeys(names))


def field_names(part: EntitySet, change: Change | None, fields: Sequence[str]) -> tuple[str, ...]:
    """The fields of a plan: key and cursor first, then what was asked for."""
    names = [key_field(part)]
    if change is not None:
        names.append(change.shown)
    return tuple(dict.fromkeys([*names, *fields]))


def unknown(part: EntitySet, fields: Mapping[str, object] | Sequence[str]) -> list[str]:
    return [name for name in fields if name not in part.properties and name not in (KEY, CHANGED)]
