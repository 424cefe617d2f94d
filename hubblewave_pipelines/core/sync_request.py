"""A sync job as clients write it: read against the tenant's definitions, with every fault at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hubblewave_pipelines.core.entity import Catalog, Entity, FieldKind, Json
from hubblewave_pipelines.core.errors import Fault, Invalid
from hubblewave_pipelines.core.mapping import as_json, parse_mapping
from hubblewave_pipelines.core.reading import Reading, below, suggestion
from hubblewave_pipelines.core.schedule import Schedule, parse_schedule

KNOWN = (
    "name", "connector", "direction", "sourceEntity", "targetEntity", "fieldMapping", "matchField",
    "filter", "schedule", "timezone", "conflictResolution", "deletePolicy", "deleteField", "brake",
    "window", "startDate", "snapshotHours", "emitEvents",
)  # fmt: skip
# Kinds of unique fields by which records that are here already are recognised.
MATCHABLE = frozenset(
    {
        FieldKind.TEXT,
        FieldKind.EMAIL,
        FieldKind.URL,
        FieldKind.ENUM,
        FieldKind.INTEGER,
        FieldKind.UUID,
    }
)
_CHOICES: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "direction": ("direction", ("inbound",), "inbound"),
    "conflictResolution": (
        "conflict_resolution",
        ("source_wins", "target_wins", "manual"),
        "source_wins",
    ),
    "deletePolicy": ("delete_policy", ("delete", "mark", "ignore"), "delete"),
    "window": ("window_size", ("hourly", "daily"), "hourly"),
    "emitEvents": ("emit_events", ("auto", "each", "summary", "none"), "auto"),
}


@dataclass(frozen=True, slots=True)
class SyncWish:
    """`columns` are those of the job's row, by name; `entity` is what it fills."""

    entity: Entity
    columns: Mapping[str, Any]


def parse_sync(
    body: Json, catalog: Catalog, header: Sequence[str] | None, now: datetime
) -> SyncWish:
    """`header`: the stream's fields where they are known, so that a mapping can be held to them, or
    suggested. Raises Invalid with every fault.
    """
    if not isinstance(body, dict):
        detail = "The body must be a JSON object."
        raise Invalid(detail, faults=[Fault("type", "expected an object", "#")])
    reading = Reading()
    reading.keys(body, KNOWN, "#")
    entity = _entity(reading, body, catalog)
    columns: dict[str, Any] = {
        "name": _text(reading, body, "name"),
        "source_entity": _text(reading, body, "sourceEntity"),
        "filter": reading.text(body, "filter", "#", longest=10_000),
        "snapshot_hours": reading.whole(body, "snapshotHours", "#", least=1, most=8760) or 24,
        "start_date": _instant(reading, body, "startDate"),
        "delete_field": reading.text(body, "deleteField", "#", longest=100),
        "match_field": reading.text(body, "matchField", "#", longest=100),
        **_brake(reading, body),
    }
    for member, (column, choices, usual) in _CHOICES.items():
        given = reading.choice(body, member, "#", choices) if body.get(member) is not None else None
        columns[column] = given or usual
    schedule = parse_schedule(body.get("schedule"), body.get("timezone"), reading)
    columns |= _times(schedule, now)
    if entity is not None:
        columns |= {"entity_id": entity.id, "entity_name": entity.name}
        columns["field_mapping"] = _mapping(reading, body, entity, catalog, header)
        _check_names(reading, entity, columns)
    if reading.faults or entity is None:
        raise Invalid("The sync job cannot be stored.", faults=reading.faults)
    return SyncWish(entity, columns)


def _times(schedule: Schedule | None, now: datetime) -> dict[str, Any]:
    if schedule is None:
        return {"schedule": None, "timezone": "UTC", "next_run_at": None}
    return {
        "schedule": schedule.cron,
        "timezone": schedule.timezone,
        "next_run_at": schedule.next_after(now),
    }


def _text(reading: Reading, body: dict[str, Json], key: str) -> str:
    value = (reading.text(body, key, "#", longest=200) or "").strip()
    if not value and isinstance(body.get(key), str | None):
        reading.fault(below("#", key), "required", f"{key} is required")
    return value


def _entity(reading: Reading, body: dict[str, Json], catalog: Catalog) -> Entity | None:
    name = _text(reading, body, "targetEntity")
    entity = catalog.named(name) or catalog.at_path(name) if name else None
    if name and entity is None:
        hint = suggestion(name[:60], [each.name for each in catalog])
        detail = f'there is no entity "{name[:60]}"{hint}'
        reading.fault("#/targetEntity", "unknown", detail)
    return entity


def _instant(reading: Reading, body: dict[str, Json], key: str) -> datetime | None:
    text = reading.text(body, key, "#", longest=40)
    if text is None:
        return None
    found = instant(text)
    if found is None:
        detail = f"{key} must be a date-time with a zone, such as 2026-01-01T00:00:00Z"
        reading.fault(below("#", key), "format", detail)
    return found


def instant(text: str) -> datetime | None:
    """A date-time with a zone (RFC 3339), in UTC; a date is its beginning in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is None:
        return found.replace(tzinfo=UTC) if len(text) == len("2026-01-01") else None
    return found.astimezone(UTC)


def _brake(reading: Reading, body: dict[str, Json]) -> dict[str, Any]:
    given = body.get("brake")
    usual: dict[str, Any] = {"brake_rows": 10_000, "brake_percent": 20.0}
    if given is None:
        return usual
    if not isinstance(given, dict):
        reading.fault("#/brake", "type", "brake must be an object with rows and percent")
        return usual
    reading.keys(given, ("rows", "percent"), "#/brake")
    rows = reading.whole(given, "rows", "#/brake", least=0, most=10**12)
    percent = given.get("percent")
    if percent is not None and (
        isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100
    ):
        reading.fault("#/brake/percent", "range", "percent must be a number from 0 to 100")
        percent = None
    return {
        "brake_rows": usual["brake_rows"] if rows is None else rows,
        "brake_percent": usual["brake_percent"] if percent is None else percent,
    }


def _mapping(
    reading: Reading,
    body: dict[str, Json],
    entity: Entity,
    catalog: Catalog,
    header: Sequence[str] | None,
) -> list[Json]:
    given = body.get("fieldMapping")
    if given is None and header is None:
        reading.fault(
            "#/fieldMapping",
            "required",
            "fieldMapping is required while the stream's fields are not known; discover the stream"
            " first to have one suggested",
        )
        return []
    found = Reading()
    maps = parse_mapping(
        given,
        entity=entity,
        catalog=catalog,
        header=list(header or ()),
        reading=found,
        more=header is None,
    )
    for fault in found.faults:
        pointer = (fault.pointer or "#").replace("#/mapping", "#/fieldMapping", 1)
        reading.fault(pointer, fault.code, fault.detail)
    return as_json(maps)


def _check_names(reading: Reading, entity: Entity, columns: Mapping[str, Any]) -> None:
    match = columns["match_field"]
    targets = {item.get("targetField") for item in columns["field_mapping"]}
    if match is not None:
        by = entity.fields_by_name.get(match)
        if by is None or not by.unique or by.kind not in MATCHABLE or match not in targets:
            reading.fault(
                "#/matchField",
                "unknown",
                f"{match[:60]} cannot match records of {entity.name}: it must be a unique field"
                " of text, integer or uuid that the mapping fills",
            )
    field = columns["delete_field"]
    if (columns["delete_policy"] == "mark") != (field is not None):
        reading.fault("#/deleteField", "required", "deleteField goes with deletePolicy mark")
    elif field is not None:
        marked = entity.fields_by_name.get(field)
        if marked is None or marked.kind not in (FieldKind.BOOLEAN, FieldKind.DATETIME):
            detail = f"{entity.name} has no field {field[:60]} of boolean or datetime"
            reading.fault("#/deleteField", "unknown", detail)
