"""Every route the application answers, and of each one requests that name things by their ids.

Texts in capitals are places: `filled` puts in them what one tenant has, or what nobody has.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi.routing import iter_route_contexts

from api import records
from api.app import create_app
from api.gateway import PREFIX
from tests.facade.conftest import settings_for

# What may be asked for: a customer, an order, a tag, an import, an export, a key, a webhook, its
# delivery, its dead letter and its replay by id, a connector and what it was asked; an entity by its name and by its plural; a page by
# its cursor; a place in the feed by its token.
PLACES = (
    *("CUSTOMER", "ORDER", "TAG", "IMPORT", "EXPORT", "APIKEY", "ENTITY", "PLURAL", "CURSOR"),
    *("SINCE", "WEBHOOK", "DELIVERY", "LETTER", "REPLAY", "WATCH", "CONNECTOR", "CHECKED"),
    *("SYNCJOB", "SYNCRUN"),
)
OWN = ("MYCUSTOMER", "MYORDER", "MYTAG")  # always the asking tenant's


@dataclass(frozen=True)
class Ask:
    """A request: path (below /api/v1 unless it starts with two slashes), parameters, JSON."""

    path: str
    params: Mapping[str, str] | None = None
    body: Any = None
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None

    def filled(self, words: Mapping[str, str]) -> "Ask":
        text = json.dumps([self.path, self.params, self.body, self.form, self.headers])
        for place in sorted(words, key=len, reverse=True):
            text = text.replace(place, words[place])
        return Ask(*json.loads(text))

    def send(self, client: httpx.Client, method: str, **headers: str) -> httpx.Response:
        files = {"file": ("a.csv", b"number\n1\n", "text/csv")} if self.form is not None else None
        return client.request(
            method,
            self.path[1:] if self.path.startswith("//") else PREFIX + self.path,
            params=self.params,
            json=self.body,
            data=self.form,
            files=files,
            headers={**(self.headers or {}), **headers},
        )


def served() -> Iterator[str]:
    """Each method and path, like `GET /api/v1/{plural}/{id}`; `WS` for a WebSocket."""
    app = create_app(settings_for("postgresql://nobody@127.0.0.1:9/none", Path("/nowhere")))
    for route in iter_route_contexts(app.routes):
        for method in sorted(getattr(route, "methods", None) or {"WS"}):
            yield f"{method} {route.path}"
    for path, methods in records.offered().items():
        for method in methods:
            yield f"{method} {PREFIX}/{{plural}}{path}"


_ORDER = {"number": "n-1", "total": "1", "customerId": "CUSTOMER"}
_DEFINED = {"name": "ENTITY", "pluralName": "PLURAL", "fields": [{"name": "a", "type": "text"}]}
_LIST = (
    Ask("/orders", {"filter[customerId]": "CUSTOMER"}),
    Ask("/orders", {"filter[customer.id][in]": "CUSTOMER", "expand": "customer", "count": "exact"}),
    Ask("/orders", {"after": "CURSOR"}),
    Ask("/PLURAL"),
)
_AGGREGATE = (
    Ask("/orders/aggregate", {"aggregate[count]": "*", "filter[customerId]": "CUSTOMER"}),
    Ask("/PLURAL/aggregate", {"aggregate[count]": "*"}),
)
_RECORD = (
    Ask("/orders/ORDER"),
    Ask("/orders/ORDER", {"expand": "customer"}),
    Ask("/customers/CUSTOMER", headers={"If-None-Match": '"1"'}),
    Ask("/PLURAL/ORDER"),
)
_RELATED = (
    Ask("/orders/ORDER/customer"),
    Ask("/customers/CUSTOMER/orders", {"count": "exact"}),
    Ask("/customers/CUSTOMER/children"),
    Ask("/orders/ORDER/tags"),
    Ask("/PLURAL/ORDER/tags"),
)
_PAIR = (
    Ask("/orders/ORDER/tags/MYTAG"),
    Ask("/orders/MYORDER/tags/TAG"),
    Ask("/customers/MYCUSTOMER/peers/CUSTOMER"),
    Ask("/PLURAL/ORDER/tags/TAG"),
)
_GRAPHQL = (
    '{ order(id: "ORDER") { id number customer { name } } }',
    '{ orders(filter: {customerId: "CUSTOMER"}) { items { id } pageInfo { totalItems } } }',
    '{ orders(pagination: {after: "CURSOR"}) { items { id } } }',
)
_MUTATIONS = (
    'mutation { deleteOrder(id: "ORDER") }',
    'mutation { updateOrder(id: "ORDER", input: {total: "2"}) { id } }',
    'mutation { createOrder(input: {number: "n-2", total: "1", customerId: "CUSTOMER"}) { id } }',
)
_IMPORT, _EXPORT = "/imports/IMPORT", "/exports/EXPORT"
_HOOK = "/api/v1/webhooks/{webhook_id:uuid}"
_REPLAY = f"{_HOOK}/replays/{{replay_id:uuid}}"
_DELIVERY = "/api/v1/webhooks/deliveries/{delivery_id:uuid}"
_LETTER = "/api/v1/webhooks/dead-letters/{letter_id:uuid}"
_WEBHOOK = {"url": "https://example.com/in", "events": ["import.completed"], "active": False}
_SYNC = "/api/v1/sync-jobs/{job_id:uuid}"
_SYSTEM = "/api/v1/connectors/{connector_id:uuid}"
CONNECTOR = {
    "type": "custom",
    "config": {
        "baseUrl": "https://crm.example",
        "streams": [{"name": "s", "path": "/s", "key": "id", "fields": [{"name": "id"}]}],
    },
    "credentials": {"kind": "bearer", "token": "topsecret-token"},
}
_NO_FILTER = {"customerId": {"eq": "CUSTOMER", "nonsense": 1}}

ASKS: Mapping[str, Sequence[Ask]] = {
    "GET /api/v1/{plural}": _LIST,
    "HEAD /api/v1/{plural}": _LIST,
    "POST /api/v1/{plural}": (Ask("/orders", body=_ORDER), Ask("/PLURAL", body={"number": "1"})),
    "GET /api/v1/{plural}/aggregate": _AGGREGATE,
    "HEAD /api/v1/{plural}/aggregate": _AGGREGATE,
    "POST /api/v1/{plural}/bulk": (
        Ask("/orders/bulk", body={"items": [_ORDER]}),
        Ask("/orders/bulk", body={"items": [_ORDER], "atomic": False}),
        Ask("/PLURAL/bulk", body={"items": [{"number": "1"}]}),
    ),
    "PUT /api/v1/{plural}/bulk": (
        Ask("/orders/bulk", {"key": "number"}, {"items": [_ORDER]}),
        Ask("/PLURAL/bulk", {"key": "number"}, {"items": [_ORDER]}),
    ),
    "PATCH /api/v1/{plural}/bulk": (
        Ask("/orders/bulk", body={"items": [{"id": "ORDER", "set": {"total": "2"}}]}),
        Ask("/orders/bulk", body={"items": [{"id": "MYORDER", "set": {"customerId": "CUSTOMER"}}]}),
        Ask("/PLURAL/bulk", body={"items": [{"id": "ORDER", "set": {"total": "2"}}]}),
    ),
    "DELETE /api/v1/{plural}/bulk": (
        Ask("/orders/bulk", body={"items": [{"id": "ORDER"}]}),
        Ask("/orders/bulk", body={"items": [{"id": "ORDER"}], "atomic": False}),
        Ask("/PLURAL/bulk", body={"items": [{"id": "ORDER"}]}),
    ),
    "GET /api/v1/{plural}/changes": (
        Ask("/orders/changes", {"since": "SINCE"}),
        Ask("/PLURAL/changes"),
    ),
    "POST /api/v1/{plural}/query": (
        Ask("/orders/query", body={"where": {"customer": {"id": {"eq": "CUSTOMER"}}}}),
        Ask("/orders/query", body={"where": {"id": {"in": ["ORDER"]}}, "count": "exact"}),
        Ask("/PLURAL/query", body={}),
    ),
    "GET /api/v1/{plural}/{id}": _RECORD,
    "HEAD /api/v1/{plural}/{id}": _RECORD,
    "PUT /api/v1/{plural}/{id}": (
        Ask("/orders/ORDER", body={**_ORDER, "customerId": "MYCUSTOMER"}),
        Ask("/orders/MYORDER", body=_ORDER),
        Ask("/PLURAL/ORDER", body={"number": "1"}),
    ),
    "PATCH /api/v1/{plural}/{id}": (
        Ask("/orders/ORDER", body={"total": "2"}),
        Ask("/orders/ORDER", body={"total": "2"}, headers={"If-Match": '"1"'}),
        Ask("/orders/MYORDER", body={"customerId": "CUSTOMER"}),
        Ask("/PLURAL/ORDER", body={"number": "1"}),
    ),
    "DELETE /api/v1/{plural}/{id}": (Ask("/orders/ORDER"), Ask("/PLURAL/ORDER")),
    "GET /api/v1/{plural}/{id}/history": (
        Ask("/orders/ORDER/history"),
        Ask("/PLURAL/ORDER/history"),
    ),
    "POST /api/v1/{plural}/{id}/restore": (
        Ask("/orders/ORDER/restore", body={"version": 1}),
        Ask("/PLURAL/ORDER/restore", body={"version": 1}),
    ),
    "GET /api/v1/{plural}/{id}/{relation}": _RELATED,
    "HEAD /api/v1/{plural}/{id}/{relation}": _RELATED,
    "PUT /api/v1/{plural}/{id}/{relation}/{relatedId}": _PAIR,
    "DELETE /api/v1/{plural}/{id}/{relation}/{relatedId}": _PAIR,
    "GET /api/v1/openapi.json": (Ask("/openapi.json"),),
    "GET /api/v1/entities": (Ask("/entities"),),
    "POST /api/v1/entities": (
        Ask(
            "/entities",
            body={
                **_DEFINED,
                "name": "Fresh",
                "pluralName": "Freshes",
                "relationships": [{"name": "r", "type": "manyToOne", "targetEntity": "ENTITY"}],
            },
        ),
    ),
    "GET /api/v1/entities/{name}": (Ask("/entities/ENTITY"),),
    "PUT /api/v1/entities/{name}": (
        Ask("/entities/ENTITY", body=_DEFINED),
        Ask("/entities/ENTITY", {"dryRun": "true"}, _DEFINED),
    ),
    "DELETE /api/v1/entities/{name}": (Ask("/entities/ENTITY"), Ask("/entities/ENTITY?force=true")),
    "GET /api/v1/imports": (Ask("/imports"),),
    "POST /api/v1/imports": (Ask("/imports", form={"entity": "ENTITY"}),),
    "GET /api/v1/imports/transforms": (Ask("/imports/transforms"),),
    "POST /api/v1/imports/preview": (Ask("/imports/preview", form={"entity": "ENTITY"}),),
    "GET /api/v1/imports/{import_id:uuid}": (Ask(_IMPORT),),
    "GET /api/v1/imports/{import_id}/errors": (Ask(f"{_IMPORT}/errors"),),
    "GET /api/v1/imports/{import_id}/rejects": (Ask(f"{_IMPORT}/rejects"),),
    "GET /api/v1/imports/{import_id}/events": (Ask(f"{_IMPORT}/events"),),
    "POST /api/v1/imports/{import_id}/cancel": (Ask(f"{_IMPORT}/cancel"),),
    "POST /api/v1/imports/{import_id}/retry": (Ask(f"{_IMPORT}/retry"),),
    "POST /api/v1/imports/{import_id}/revert": (Ask(f"{_IMPORT}/revert"),),
    "GET /api/v1/imports/{import_id}/revert": (Ask(f"{_IMPORT}/revert"),),
    "GET /api/v1/imports/{import_id}/kept": (Ask(f"{_IMPORT}/kept"),),
    "GET /api/v1/jobs/{job_id}": (Ask("/jobs/IMPORT"), Ask("/jobs/EXPORT")),
    "GET /api/v1/exports": (Ask("/exports"),),
    "POST /api/v1/exports": (
        Ask("/exports", body={"entity": "ENTITY", "format": "csv"}),
        Ask("/exports", body={"entity": "PLURAL", "format": "csv"}),
    ),
    "GET /api/v1/exports/{export_id}": (Ask(_EXPORT),),
    "DELETE /api/v1/exports/{export_id}": (Ask(_EXPORT),),
    "GET /api/v1/exports/{export_id}/download": (Ask(f"{_EXPORT}/download"),),
    "HEAD /api/v1/exports/{export_id}/download": (Ask(f"{_EXPORT}/download"),),
    "POST /api/v1/exports/{export_id}/cancel": (Ask(f"{_EXPORT}/cancel"),),
    "POST /api/v1/exports/{export_id}/retry": (Ask(f"{_EXPORT}/retry"),),
    "POST /api/v1/exports/{export_id}/link": (Ask(f"{_EXPORT}/link", body={}),),
    "GET /api/v1/event-types": (Ask("/event-types"),),
    "GET /api/v1/event-types/{name}": (Ask("/event-types/ENTITY.created"),),
    "GET /api/v1/webhooks": (Ask("/webhooks"),),
    "POST /api/v1/webhooks": (
        Ask("/webhooks", body={**_WEBHOOK, "events": ["order.created"], "filter": _NO_FILTER}),
    ),
    f"GET {_HOOK}": (Ask("/webhooks/WEBHOOK"),),
    f"PUT {_HOOK}": (Ask("/webhooks/WEBHOOK", body=_WEBHOOK),),
    f"PATCH {_HOOK}": (Ask("/webhooks/WEBHOOK", body={"name": "mine"}),),
    f"DELETE {_HOOK}": (Ask("/webhooks/WEBHOOK"),),
    **{
        f"POST {_HOOK}/{verb}": (Ask(f"/webhooks/WEBHOOK/{verb}", body={}),)
        for verb in ("disable", "enable", "rotate-secret", "rotate-secret/commit", "test", "verify")
    },
    f"GET {_HOOK}/deliveries": (Ask("/webhooks/WEBHOOK/deliveries"),),
    f"GET {_HOOK}/replays": (Ask("/webhooks/WEBHOOK/replays"),),
    f"POST {_HOOK}/replays": (
        Ask("/webhooks/WEBHOOK/replays", body={"since": "2026-01-01T00:00:00Z"}),
    ),
    f"GET {_REPLAY}": (Ask("/webhooks/WEBHOOK/replays/REPLAY"),),
    f"POST {_REPLAY}/cancel": (Ask("/webhooks/WEBHOOK/replays/REPLAY/cancel"),),
    f"GET {_DELIVERY}": (Ask("/webhooks/deliveries/DELIVERY"),),
    f"GET {_DELIVERY}/attempts": (Ask("/webhooks/deliveries/DELIVERY/attempts"),),
    f"POST {_DELIVERY}/redeliver": (Ask("/webhooks/deliveries/DELIVERY/redeliver"),),
    "GET /api/v1/webhooks/dead-letters": (
        Ask("/webhooks/dead-letters"),
        Ask("/webhooks/dead-letters", {"webhookId": "WEBHOOK"}),
    ),
    f"GET {_LETTER}": (Ask("/webhooks/dead-letters/LETTER"),),
    f"POST {_LETTER}/resolve": (Ask("/webhooks/dead-letters/LETTER/resolve"),),
    "POST /api/v1/webhooks/dead-letters/redrive": (
        Ask("/webhooks/dead-letters/redrive", body={"filter": {"webhookId": "WEBHOOK"}}),
        Ask("/webhooks/dead-letters/redrive", body={"filter": {}, "dryRun": True}),
    ),
    "GET /api/v1/import-watches": (Ask("/import-watches"),),
    "POST /api/v1/import-watches": (Ask("/import-watches", body={"entity": "ENTITY"}),),
    "GET /api/v1/import-watches/{watch_id}": (Ask("/import-watches/WATCH"),),
    "DELETE /api/v1/import-watches/{watch_id}": (Ask("/import-watches/WATCH"),),
    "GET /api/v1/api-keys": (Ask("/api-keys"),),
    "POST /api/v1/api-keys": (Ask("/api-keys", body={"name": "", "scopes": ["none"]}),),
    "GET /api/v1/api-keys/{key_id}": (Ask("/api-keys/APIKEY"),),
    "DELETE /api/v1/api-keys/{key_id}": (Ask("/api-keys/APIKEY"),),
    "GET /api/v1/connectors/types": (Ask("/connectors/types"),),
    "GET /api/v1/connectors": (Ask("/connectors"),),
    "POST /api/v1/connectors": (Ask("/connectors", body={"name": "CONNECTOR"}),),
    f"GET {_SYSTEM}": (Ask("/connectors/CONNECTOR"),),
    f"PUT {_SYSTEM}": (Ask("/connectors/CONNECTOR", body={**CONNECTOR, "name": "x"}),),
    f"PATCH {_SYSTEM}": (Ask("/connectors/CONNECTOR", body={"name": "x"}),),
    f"DELETE {_SYSTEM}": (Ask("/connectors/CONNECTOR"),),
    f"POST {_SYSTEM}/check": (Ask("/connectors/CONNECTOR/check", headers={"Prefer": "wait=0"}),),
    f"GET {_SYSTEM}/discover": (Ask("/connectors/CONNECTOR/discover"),),
    "GET /api/v1/sync-jobs": (Ask("/sync-jobs"), Ask("/sync-jobs?connectorId=CONNECTOR")),
    "POST /api/v1/sync-jobs": (
        Ask(
            "/sync-jobs",
            body={
                "name": "x",
                "connector": "CONNECTOR",
                "sourceEntity": "s",
                "targetEntity": "ENTITY",
                "fieldMapping": [{"sourceField": "a", "targetField": "number"}],
            },
        ),
    ),
    f"GET {_SYNC}": (Ask("/sync-jobs/SYNCJOB"),),
    f"PATCH {_SYNC}": (Ask("/sync-jobs/SYNCJOB", body={"name": "x"}),),
    f"DELETE {_SYNC}": (Ask("/sync-jobs/SYNCJOB"),),
    **{
        f"POST {_SYNC}/{verb}": (Ask(f"/sync-jobs/SYNCJOB/{verb}", body={"state": True}),)
        for verb in ("pause", "resume", "reset")
    },
    f"POST {_SYNC}/run": (Ask("/sync-jobs/SYNCJOB/run", body={}),),
    f"GET {_SYNC}/runs": (Ask("/sync-jobs/SYNCJOB/runs"),),
    f"GET {_SYNC}/runs/{{run_id:uuid}}": (Ask("/sync-jobs/SYNCJOB/runs/SYNCRUN"),),
    f"POST {_SYNC}/runs/{{run_id:uuid}}/cancel": (Ask("/sync-jobs/SYNCJOB/runs/SYNCRUN/cancel"),),
    f"GET {_SYNC}/coverage": (Ask("/sync-jobs/SYNCJOB/coverage"),),
    f"GET {_SYNC}/drifts": (Ask("/sync-jobs/SYNCJOB/drifts"),),
    "GET /api/v1/dead-letters": (
        Ask("/dead-letters"),
        Ask("/dead-letters", {"syncJobId": "SYNCJOB"}),
    ),
    "POST /api/v1/dead-letters/replay": (
        Ask("/dead-letters/replay", body={"syncJobId": "SYNCJOB"}),
    ),
    f"GET {_SYSTEM}/asks/{{ask_id:uuid}}": (Ask("/connectors/CONNECTOR/asks/CHECKED"),),
    "GET /graphql": tuple(Ask("//graphql", {"query": text}) for text in _GRAPHQL),
    "POST /graphql": tuple(
        Ask("//graphql", body={"query": text}) for text in (*_GRAPHQL, *_MUTATIONS)
    ),
}
# The socket is asked by its own protocol (test_socket.py); the page is off outside development.
ELSEWHERE = frozenset(
    {
        "WS /graphql",
        "GET /graphql/page/{name}",
        "POST /api/v1/inbound/{connector_id:uuid}",  # signed, not keyed: test_inbound_api.py
    }
)
# Answered without a credential, and the same to everybody.
PUBLIC: Mapping[str, Ask] = {
    "GET /health": Ask("//health"),
    "GET /health/ready": Ask("//health/ready"),
    "GET /metrics": Ask("//metrics"),
    "GET /api/docs": Ask("//api/docs"),
    "GET /api/docs/{name}": Ask("//api/docs/page.js"),
}
