"""Types of events: their names, what each one's data look like, and the patterns that choose them."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import Fault
from hubblewave_pipelines.core.reading import suggestion

VERBS = ("created", "updated", "deleted")
_PATTERN = re.compile(r"\*|(\*|[a-z][a-z0-9]*)\.(\*|[a-z][a-z0-9_]*)")

_ID = "0198c0de-0000-7000-8000-000000000001"
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_ERROR = {"type": ["object", "null"]}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of event in the catalogue; `schema` (JSON Schema) and `example` are of its `data`."""

    name: str
    description: str
    schema: Mapping[str, Any]
    example: Mapping[str, Any]


_IMPORT = {
    "id": {"type": "string", "format": "uuid"},
    "entity": _TEXT,
    "fileName": _TEXT,
    "status": {"enum": ["completed", "partial", "failed"]},
    "totalRecords": _COUNT,
    "successRecords": _COUNT,
    "createdRecords": _COUNT,
    "updatedRecords": _COUNT,
    "unchangedRecords": _COUNT,
    "skippedRecords": _COUNT,
    "failedRecords": _COUNT,
    "error": _ERROR,
}
_IMPORTED = {
    "id": _ID,
    "entity": "Contact",
    "fileName": "contacts.csv",
    "status": "partial",
    "totalRecords": 1000,
    "successRecords": 998,
    "createdRecords": 900,
    "updatedRecords": 90,
    "unchangedRecords": 8,
    "skippedRecords": 0,
    "failedRecords": 2,
    "error": None,
}
_EXPORT = {
    "id": {"type": "string", "format": "uuid"},
    "entity": _TEXT,
    "format": _TEXT,
    "status": {"enum": ["completed", "failed"]},
    "totalRecords": {"type": ["integer", "null"]},
    "error": _ERROR,
}
_EXPORTED = {
    "id": _ID,
    "entity": "Contact",
    "format": "csv",
    "status": "completed",
    "totalRecords": 1000,
    "error": None,
}
_SYNC = {
    "syncJobId": {"type": "string", "format": "uuid"},
    "runId": {"type": "string", "format": "uuid"},
    "status": {"enum": ["success", "failed", "partial"]},
    "recordsProcessed": _COUNT,
    "recordsSuccess": _COUNT,
    "recordsFailed": _COUNT,
}
_SYNCED = {
    "syncJobId": _ID,
    "runId": _ID,
    "status": "success",
    "recordsProcessed": 120,
    "recordsSuccess": 120,
    "recordsFailed": 0,
}
_CONFLICT = {"id": {"type": "string", "format": "uuid"}, "entity": _TEXT, "recordId": _TEXT}
_DISABLED = {
    "webhookId": {"type": "string", "format": "uuid"},
    "name": _TEXT,
    "reason": {"enum": ["gone", "failing", "transform"]},
    "lastSuccessAt": {"type": ["string", "null"], "format": "date-time"},
}
_DEAD_LETTER = {
    "webhookId": {"type": "string", "format": "uuid"},
    "name": _TEXT,
    "count": {"type": "integer", "minimum": 1},
    "oldestAt": {"type": "string", "format": "date-time"},
    "newest": _object(
        {"id": {"type": "string", "format": "uuid"}, "event": _TEXT, "reason": _TEXT}
    ),
}
_CONNECTOR = {"connectorId": {"type": "string", "format": "uuid"}, "name": _TEXT, "error": _TEXT}

FIXED = (
    EventType(
        "import.completed", "An import ended; `status` partial: some rows were refused.",
        _object(_IMPORT), _IMPORTED,
    ),
    EventType(
        "import.failed", "An import ended without a result.", _object(_IMPORT),
        {**_IMPORTED, "status": "failed", "error": {"code": "import.failed", "detail": "..."}},
    ),
    EventType("export.completed", "A file is ready.", _object(_EXPORT), _EXPORTED),
    EventType(
        "export.failed", "An export ended without a file.", _object(_EXPORT),
        {**_EXPORTED, "status": "failed", "error": {"code": "export.failed", "detail": "..."}},
    ),
    EventType("sync.completed", "A sync brought every record over.", _object(_SYNC), _SYNCED),
    EventType(
        "sync.failed", "A sync ended without a result.", _object(_SYNC),
        {**_SYNCED, "status": "failed"},
    ),
    EventType(
        "sync.partial", "A sync left records out.", _object(_SYNC), {**_SYNCED, "status": "partial"}
    ),
    EventType(
        "conflict.opened", "Both sides changed a record; somebody must choose.",
        _object(_CONFLICT), {"id": _ID, "entity": "Contact", "recordId": _ID},
    ),
    EventType(
        "webhook.disabled", "The platform stopped sending to a webhook: 410, no success for days, its transform.",
        _object(_DISABLED),
        {"webhookId": _ID, "name": "CRM", "reason": "failing", "lastSuccessAt": None},
    ),
    EventType(
        "webhook.dead_letter", "A webhook has new dead letters; `count` are open. Hourly at most.",
        _object(_DEAD_LETTER),
        {
            "webhookId": _ID, "name": "CRM", "count": 3, "oldestAt": "2026-01-02T03:04:05Z",
            "newest": {"id": _ID, "event": "contact.created", "reason": "exhausted"},
        },
    ),
    EventType(
        "connector.error", "A connector cannot reach its system.", _object(_CONNECTOR),
        {"connectorId": _ID, "name": "Salesforce", "error": "auth.expired"},
    ),
)  # fmt: skip


def type_of(entity: Entity, verb: str) -> str:
    """`contact.created`: the entity's name in lower case."""
    return f"{entity.name.lower()}.{verb}"


def wants_records_of(patterns: Collection[str], entity_name: str) -> bool:
    """Whether some pattern chooses an event of the entity's records."""
    return any(not choosers(f"{entity_name.lower()}.{v}").isdisjoint(patterns) for v in VERBS)


def choosers(name: str) -> frozenset[str]:
    """Every pattern that chooses an event of this type."""
    subject, _, verb = name.partition(".")
    return frozenset((name, f"{subject}.*", f"*.{verb}", "*"))


def parse_pattern(text: str, catalog: Catalog, pointer: str) -> str | Fault:
    """A pattern in the form it is stored in, or what is wrong with it.

    One that names neither an entity nor a fixed type would never choose anything.
    """
    pattern = text.strip().lower()
    if _PATTERN.fullmatch(pattern) is None:
        shown = text[:60]
        detail = f'"{shown}" is no type of event; write contact.created, contact.*, *.deleted or *'
        return Fault("format", detail, pointer)
    fixed = [event.name for event in FIXED]
    entities = [type_of(entity, verb) for entity in catalog for verb in VERBS]
    known = [*entities, *fixed]
    if any(pattern in choosers(name) for name in known):
        return pattern
    near = suggestion(pattern, known)
    return Fault("unknown", f'no event is of the type "{pattern[:60]}"{near}', pointer)


def envelope(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A body as receivers get it."""
    at = "2026-11-24T09:30:00.000000Z"
    return {"event": name, "data": dict(data), "timestamp": at, "webhookId": _ID}


def sample_of(patterns: Collection[str]) -> dict[str, Any]:
    """A body that one of the patterns may choose, to try a transform on."""
    for event in FIXED:
        if not choosers(event.name).isdisjoint(patterns) and "*" not in patterns:
            return envelope(event.name, event.example)
    name = next((p for p in patterns if "*" not in p), "record.created")
    at = "2026-11-24T09:30:00.000000Z"
    record = {"id": _ID, "createdAt": at, "updatedAt": at, "version": 1}
    return envelope(name, record)
