"""Sync jobs, their runs and dead letters, as OpenAPI describes them."""

from api.openapi_known import (
    COUNT,
    FLAG,
    MOMENT,
    PAGING,
    TEXT,
    Known,
    Paths,
    object_of,
    optional,
    page_of,
)
from api.openapi_parts import answer, body, parameter
from api.openapi_schemas import Schema, ref

_JOB, _RUN = ref("platform_SyncJob"), ref("platform_SyncRun")
_ONE = "/sync-jobs/{job_id}"
_STATUS = parameter("status", TEXT, "Only those of this status.")
_LIST: Schema = {"type": "array", "items": {"type": "object"}}


def _job_after(what: str) -> Known:
    return Known("admin", {200: answer(what, _JOB)})


PATHS: Paths = {
    ("GET", "/sync-jobs"): Known(
        "admin",
        {200: answer("A page.", page_of("platform_SyncJob"))},
        (
            *PAGING,
            parameter(
                "connectorId", {"type": "string", "format": "uuid"}, "Only of this connector."
            ),
            _STATUS,
        ),
    ),
    ("POST", "/sync-jobs"): Known(
        "admin",
        {201: answer("The job.", _JOB, "Location")},
        (),
        body(ref("platform_NewSyncJob")),
        (409,),
    ),
    ("GET", _ONE): _job_after("The job."),
    ("PATCH", _ONE): Known(
        "admin",
        {200: answer("The job as it is now.", _JOB)},
        (),
        body(ref("platform_SyncJobPatch")),
        (409,),
    ),
    ("DELETE", _ONE): Known("admin", {204: answer("It is gone.")}),
    ("POST", f"{_ONE}/pause"): _job_after("It is paused."),
    ("POST", f"{_ONE}/resume"): _job_after("It is active."),
    ("POST", f"{_ONE}/reset"): Known(
        "admin",
        {200: answer("The job as it is now.", _JOB)},
        (),
        body(object_of({"state": FLAG, "cache": FLAG}, closed=True)),
    ),
    ("POST", f"{_ONE}/run"): Known(
        "admin",
        {202: answer("The run.", _RUN, "Location")},
        (),
        body(object_of({"from": MOMENT, "to": MOMENT, "allowDeletes": FLAG}, closed=True)),
        (409,),
    ),
    ("GET", f"{_ONE}/runs"): Known(
        "admin", {200: answer("A page.", page_of("platform_SyncRun"))}, (*PAGING, _STATUS)
    ),
    ("GET", f"{_ONE}/runs/{{run_id}}"): Known("admin", {200: answer("The run.", _RUN)}),
    ("POST", f"{_ONE}/runs/{{run_id}}/cancel"): Known(
        "admin", {202: answer("It will stop.", _RUN)}, (), None, (409,)
    ),
    ("GET", f"{_ONE}/coverage"): Known(
        "admin",
        {
            200: answer(
                "What was read, and what was not.",
                object_of(
                    {
                        "startDate": MOMENT,
                        "mark": MOMENT,
                        "markSource": optional("string"),
                        "covered": _LIST,
                        "gaps": _LIST,
                    },
                    "covered",
                    "gaps",
                ),
            )
        },
    ),
    ("GET", f"{_ONE}/drifts"): Known(
        "admin", {200: answer("Changes to look at.", object_of({"items": _LIST}, "items"))}
    ),
    ("GET", "/dead-letters"): Known(
        "admin",
        {200: answer("A page.", page_of("platform_SyncDeadLetter"))},
        (
            *PAGING,
            parameter("syncJobId", {"type": "string", "format": "uuid"}, "Only of this job."),
            _STATUS,
        ),
    ),
    ("POST", "/dead-letters/replay"): Known(
        "admin",
        {202: answer("The run that tries them again.", _RUN, "Location")},
        (),
        body(
            object_of({"syncJobId": {"type": "string", "format": "uuid"}}, "syncJobId", closed=True)
        ),
        (409,),
    ),
}

_FREE: Schema = {"type": "object", "additionalProperties": True}


def _choice(*choices: str) -> Schema:
    return {"type": "string", "enum": list(choices), "default": choices[0]}


_WRITTEN: dict[str, Schema] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 200},
    "connector": {"type": "string", "description": "The connector's id or name; stays."},
    "direction": _choice("inbound"),
    "sourceEntity": {"type": "string", "description": "The stream of the other system; stays."},
    "targetEntity": {"type": "string", "description": "The entity here; stays."},
    "fieldMapping": {
        "type": "array",
        "items": _FREE,
        "description": "As the mapping of imports; suggested where the stream was discovered.",
    },
    "matchField": optional("string"),
    "filter": optional("string"),
    "schedule": {**optional("string"), "description": "Five cron fields."},
    "timezone": optional("string"),
    "conflictResolution": _choice("source_wins", "target_wins", "manual"),
    "deletePolicy": _choice("delete", "mark", "ignore"),
    "deleteField": optional("string"),
    "brake": object_of(
        {
            "rows": {"type": "integer", "minimum": 0},
            "percent": {"type": "number", "minimum": 0, "maximum": 100},
        },
        closed=True,
    ),
    "window": _choice("hourly", "daily"),
    "startDate": MOMENT,
    "snapshotHours": {"type": "integer", "minimum": 1, "maximum": 8760, "default": 24},
    "emitEvents": _choice("auto", "each", "summary", "none"),
}
_COUNTS = (
    "processed", "success", "failed", "created", "updated", "unchanged", "deleted", "requests",
    "minRequests",
)  # fmt: skip

SCHEMAS: dict[str, Schema] = {
    "platform_NewSyncJob": object_of(
        _WRITTEN, "name", "connector", "sourceEntity", "targetEntity", closed=True
    ),
    "platform_SyncJobPatch": object_of(_WRITTEN, closed=True),
    "platform_SyncJob": object_of(
        {
            "id": {"type": "string", "format": "uuid"},
            **_WRITTEN,
            "status": {"type": "string", "enum": ["active", "paused", "error"]},
            "error": {**_FREE, "nullable": True},
            "nextRunAt": MOMENT,
            "mark": MOMENT,
            "markSource": optional("string"),
            "lastRunId": optional("string"),
            "lastSuccessAt": MOMENT,
            "createdAt": MOMENT,
            "updatedAt": MOMENT,
        },
        "id",
        "name",
        "status",
    ),
    "platform_SyncRun": object_of(
        {
            "id": {"type": "string", "format": "uuid"},
            "syncJobId": {"type": "string", "format": "uuid"},
            "kind": {"type": "string", "enum": ["live", "window", "replay"]},
            "status": {
                "type": "string",
                "enum": ["pending", "running", "success", "partial", "failed", "cancelled"],
            },
            "from": MOMENT,
            "to": MOMENT,
            "allowDeletes": {"type": "boolean"},
            "cancelRequested": {"type": "boolean"},
            **{name: COUNT for name in _COUNTS},
            "mark": MOMENT,
            "markSource": optional("string"),
            "markLagSeconds": optional("number"),
            "notes": _LIST,
            "error": {**_FREE, "nullable": True},
            "windows": _LIST,
            "url": TEXT,
            "runUrl": optional("string"),
            "createdAt": MOMENT,
            "startedAt": MOMENT,
            "completedAt": MOMENT,
        },
        "id",
        "status",
    ),
    "platform_SyncDeadLetter": object_of(
        {
            "id": {"type": "string", "format": "uuid"},
            "syncJobId": {"type": "string", "format": "uuid"},
            "key": TEXT,
            "status": {"type": "string", "enum": ["open", "resolved"]},
            "version": MOMENT,
            "payload": _FREE,
            "code": TEXT,
            "errors": _LIST,
            "attempts": COUNT,
            "firstRunId": TEXT,
            "lastRunId": TEXT,
            "resolution": optional("string"),
            "createdAt": MOMENT,
            "updatedAt": MOMENT,
            "resolvedAt": MOMENT,
        },
        "id",
        "key",
        "code",
    ),
}
