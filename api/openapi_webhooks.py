"""Webhooks, their deliveries and dead letters, and event types, as OpenAPI describes them."""

from typing import Any

from api.openapi_known import (
    COUNT,
    FLAG,
    MOMENT,
    PAGING,
    TEXT,
    Known,
    Paths,
    asked_of,
    object_of,
    optional,
    page_of,
)
from api.openapi_parts import answer, body, parameter, shared
from api.openapi_schemas import Schema, ref
from hubblewave_pipelines.core.backoff import PRESETS
from hubblewave_pipelines.core.webhook import ORDERINGS
from hubblewave_pipelines.storage.dead_letters import STATES
from hubblewave_pipelines.storage.delivery_log import STATUSES

_HOOK = ref("platform_Webhook")
_DELIVERY = ref("platform_WebhookDelivery")
_LETTER = ref("platform_DeadLetter")
_REPLAY = ref("platform_WebhookReplay")
_MADE = object_of({"webhook": _HOOK, "secret": TEXT}, "webhook", "secret")
_CREATED = object_of({"webhook": _HOOK, "secret": optional("string")}, "webhook", "secret")
_OBJECT: Schema = {"type": "object"}
_ID: Schema = {"type": "string", "format": "uuid"}
_WHEN: Schema = {"type": "string", "format": "date-time"}


def _optional_body(properties: dict[str, Schema]) -> dict[str, Any]:
    return {**body(asked_of(properties)), "required": False}


def _named(names: tuple[str, ...], said: str, schema: Schema) -> tuple[Schema, ...]:
    return tuple(parameter(name, schema, said) for name in names)


_STATUS = parameter("status", {"type": "string", "enum": list(STATUSES)}, "Only these.")
_LETTER_FILTERS = (
    parameter("state", {"type": "string", "enum": list(STATES), "default": "open"}, "Which."),
    parameter("webhookId", _ID, "Of this webhook."),
    *_named(("event", "reason"), "With exactly this.", TEXT),
    *_named(("since", "until"), "That failed then.", _WHEN),
)
_ROTATION = _optional_body(
    {"secret": TEXT, "overlapHours": {"type": "integer", "minimum": 0, "maximum": 168}}
)
_ENABLING = _optional_body(
    {"redrive": {"type": "string", "enum": ["all", "since", "none"]}, "since": _WHEN}
)

PATHS: Paths = {
    ("GET", "/webhooks"): Known(
        "admin", {200: answer("A page.", page_of("platform_Webhook"))}, PAGING
    ),
    ("POST", "/webhooks"): Known(
        "admin",
        {201: answer("The webhook; `secret` is shown this once.", _CREATED, "Location")},
        (shared("IdempotencyKey"),),
        body(ref("platform_NewWebhook")),
        (409,),
    ),
    ("GET", "/webhooks/{webhook_id}"): Known("admin", {200: answer("The webhook.", _HOOK)}),
    ("PATCH", "/webhooks/{webhook_id}"): Known(
        "admin", {200: answer("The webhook.", _HOOK)}, (), body(_OBJECT), (409,)
    ),
    ("PUT", "/webhooks/{webhook_id}"): Known(
        "admin",
        {200: answer("The webhook.", _HOOK)},
        (),
        body(ref("platform_NewWebhook")),
        (409,),
    ),
    ("DELETE", "/webhooks/{webhook_id}"): Known("admin", {204: answer("It is gone.")}),
    ("POST", "/webhooks/{webhook_id}/verify"): Known(
        "admin", {200: answer("The webhook, with `verification`.", _HOOK)}, (), None, (409,)
    ),
    ("POST", "/webhooks/{webhook_id}/enable"): Known(
        "admin", {200: answer("The webhook.", _HOOK)}, (), _ENABLING, (409,)
    ),
    ("POST", "/webhooks/{webhook_id}/disable"): Known(
        "admin", {200: answer("The webhook.", _HOOK)}, (), None, (409,)
    ),
    ("POST", "/webhooks/{webhook_id}/rotate-secret"): Known(
        "admin", {200: answer("The next secret, shown this once.", _MADE)}, (), _ROTATION, (409,)
    ),
    ("POST", "/webhooks/{webhook_id}/rotate-secret/commit"): Known(
        "admin", {200: answer("The webhook.", _HOOK)}, (), None, (409,)
    ),
    ("POST", "/webhooks/{webhook_id}/test"): Known(
        "admin",
        {200: answer("What was sent and what came of it.", _OBJECT)},
        (),
        _optional_body({"event": TEXT, "data": _OBJECT}),
        (409,),
    ),
    ("GET", "/webhooks/{webhook_id}/deliveries"): Known(
        "admin",
        {200: answer("A page.", page_of("platform_WebhookDelivery"))},
        (*PAGING, _STATUS),
    ),
    ("GET", "/webhooks/deliveries/{delivery_id}"): Known(
        "admin", {200: answer("The delivery, its payload and attempts.", _DELIVERY)}
    ),
    ("GET", "/webhooks/deliveries/{delivery_id}/attempts"): Known(
        "admin", {200: answer("A page.", page_of("platform_WebhookAttempt"))}, PAGING
    ),
    ("POST", "/webhooks/deliveries/{delivery_id}/redeliver"): Known(
        "admin", {202: answer("The new delivery.", _DELIVERY, "Location")}, (), None, (409,)
    ),
    ("GET", "/webhooks/{webhook_id}/replays"): Known(
        "admin", {200: answer("A page.", page_of("platform_WebhookReplay"))}, PAGING
    ),
    ("POST", "/webhooks/{webhook_id}/replays"): Known(
        "admin",
        {
            200: answer("How many events it would send (dryRun).", _OBJECT),
            202: answer("The replay.", _REPLAY, "Location"),
        },
        (),
        body(
            asked_of(
                {
                    "since": _WHEN,
                    "until": _WHEN,
                    "events": {"type": "array", "items": TEXT, "minItems": 1},
                    "onlyMissing": FLAG,
                    "dryRun": FLAG,
                },
                "since",
            )
        ),
        (409,),
    ),
    ("GET", "/webhooks/{webhook_id}/replays/{replay_id}"): Known(
        "admin", {200: answer("The replay.", _REPLAY)}
    ),
    ("POST", "/webhooks/{webhook_id}/replays/{replay_id}/cancel"): Known(
        "admin", {200: answer("The replay.", _REPLAY)}
    ),
    ("GET", "/webhooks/dead-letters"): Known(
        "admin",
        {200: answer("A page.", page_of("platform_DeadLetter"))},
        (*PAGING, *_LETTER_FILTERS),
    ),
    ("POST", "/webhooks/dead-letters/redrive"): Known(
        "admin",
        {
            200: answer("How many match (dryRun).", _OBJECT),
            202: answer("How many have a new delivery.", _OBJECT),
        },
        (),
        body(asked_of({"filter": _OBJECT, "dryRun": FLAG})),
    ),
    ("POST", "/webhooks/dead-letters/{letter_id}/resolve"): Known(
        "admin", {200: answer("The letter.", _LETTER)}
    ),
    ("GET", "/webhooks/dead-letters/{letter_id}"): Known(
        "admin", {200: answer("The letter.", _LETTER)}
    ),
    ("GET", "/event-types"): Known(
        "read", {200: answer("A page.", page_of("platform_EventType"))}, PAGING
    ),
    ("GET", "/event-types/{name}"): Known(
        "read", {200: answer("The type.", ref("platform_EventType"))}
    ),
}

_WRITTEN: dict[str, Schema] = {
    "name": {"type": "string", "maxLength": 200},
    "url": {"type": "string", "format": "uri", "maxLength": 2048},
    "events": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 100},
    "active": {"type": "boolean", "default": True},
    "headers": {"type": "object", "additionalProperties": TEXT, "maxProperties": 20},
    "transform": optional("string"),
    "filter": optional("object"),
    "retryConfig": object_of(
        {
            "preset": {"type": "string", "nullable": True, "enum": [*PRESETS, None]},
            "maxAttempts": {"type": "integer", "minimum": 1, "maximum": 20, "default": 10},
            "backoffMultiplier": {"type": "number", "minimum": 1, "maximum": 10, "default": 2},
        },
        closed=True,
    ),
    "ordering": {"type": "string", "enum": list(ORDERINGS), "default": "none"},
    "orderingEscapeHours": {"type": "integer", "minimum": 1, "maximum": 720, "default": 24},
}
_SECRET_SHOWN = {
    "type": "object",
    "nullable": True,
    "properties": {
        "prefix": TEXT,
        "fingerprint": TEXT,
        "createdAt": MOMENT,
        "retiresAt": MOMENT,
    },
}

SCHEMAS: dict[str, Schema] = {
    "platform_NewWebhook": object_of(
        {**_WRITTEN, "secret": {"type": "string", "minLength": 16, "maxLength": 256}},
        "url",
        "events",
        closed=True,
    )
    | {"example": {"url": "https://example.com/hooks", "events": ["import.completed"]}},
    "platform_Webhook": object_of(
        {
            **_WRITTEN,
            "id": _ID,
            "retryConfig": _OBJECT,
            "status": {"type": "string", "enum": ["enabled", "disabled", "inactive", "unverified"]},
            "verifiedAt": MOMENT,
            "disabledAt": MOMENT,
            "disabledReason": optional("string"),
            "secret": _SECRET_SHOWN,
            "nextSecret": _SECRET_SHOWN,
            "health": optional("object"),
            "createdAt": MOMENT,
            "updatedAt": MOMENT,
        },
        "id",
        "url",
        "events",
        "status",
    ),
    "platform_WebhookDelivery": object_of(
        {
            "id": _ID,
            "webhookId": _ID,
            "eventId": _ID,
            "event": TEXT,
            "occurredAt": MOMENT,
            "kind": {"type": "string", "enum": ["event", "replay", "test"]},
            "status": {"type": "string", "enum": list(STATUSES)},
            "reason": optional("string"),
            "attempts": COUNT,
            "nextAttemptAt": MOMENT,
            "createdAt": MOMENT,
            "finishedAt": MOMENT,
        },
        "id",
        "status",
    ),
    "platform_WebhookAttempt": object_of(
        {
            "number": COUNT,
            "startedAt": MOMENT,
            "endedAt": MOMENT,
            "durationMs": optional("number"),
            "worker": TEXT,
            "statusCode": optional("integer"),
            "errorClass": optional("string"),
            "detail": optional("string"),
            "request": _OBJECT,
            "response": _OBJECT,
        },
        "number",
    ),
    "platform_WebhookReplay": object_of(
        {
            "id": _ID,
            "webhookId": _ID,
            "since": MOMENT,
            "until": MOMENT,
            "events": {"type": "array", "items": TEXT, "nullable": True},
            "onlyMissing": {"type": "boolean"},
            "status": {"type": "string", "enum": ["running", "done", "cancelled"]},
            "seen": COUNT,
            "queued": COUNT,
            "createdAt": MOMENT,
            "finishedAt": MOMENT,
        },
        "id",
        "status",
    ),
    "platform_DeadLetter": object_of(
        {
            "id": _ID,
            "webhookId": _ID,
            "webhookName": TEXT,
            "deliveryId": _ID,
            "eventId": _ID,
            "event": TEXT,
            "occurredAt": MOMENT,
            "data": {},
            "reason": TEXT,
            "statusCode": optional("integer"),
            "errorClass": optional("string"),
            "attempts": COUNT,
            "failedAt": MOMENT,
            "resolvedAt": MOMENT,
            "resolvedBy": optional("string"),
            "resolution": optional("string"),
        },
        "id",
        "reason",
    ),
    "platform_EventType": object_of(
        {
            "name": TEXT,
            "description": TEXT,
            "entity": optional("string"),
            "schemaVersion": COUNT,
            "schema": _OBJECT,
            "example": _OBJECT,
        },
        "name",
        "schema",
    ),
}
