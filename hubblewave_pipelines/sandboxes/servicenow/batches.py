"""The Batch API: many requests in one, each answered or named as not looked at."""

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hubblewave_pipelines.sandboxes.faults import FaultKind
from hubblewave_pipelines.sandboxes.servicenow.refusing import Refused
from hubblewave_pipelines.sandboxes.servicenow.signing import signed_in, unauthenticated
from hubblewave_pipelines.sandboxes.servicenow.tables import Asked, Told, aggregate, answer
from hubblewave_pipelines.sandboxes.vendor import befallen

if TYPE_CHECKING:
    from hubblewave_pipelines.sandboxes.servicenow.instance import ServiceNow

MOST = 150  # an instance stops after 30 seconds, whatever the number


def routes(instance: "ServiceNow") -> list[BaseRoute]:
    async def batch(request: Request) -> Response:
        if not signed_in(instance, request.headers):
            return unauthenticated()
        body = json.loads(await request.body())
        items = body.get("rest_requests") or []
        until = min(MOST, len(items))
        if befallen(request, FaultKind.UNSERVICED):
            until = len(items) // 2
        return JSONResponse(
            {
                "batch_request_id": str(body.get("batch_request_id")),
                "serviced_requests": [_serviced(instance, item) for item in items[:until]],
                "unserviced_requests": [str(item["id"]) for item in items[until:]],
            }
        )

    paths = ("/api/now/batch", "/api/now/v1/batch")
    return [Route(path, batch, methods=["POST"]) for path in paths]


def _serviced(instance: "ServiceNow", item: dict[str, Any]) -> dict[str, Any]:
    told = _told(instance, item)
    body = b"" if told.body is None else json.dumps(told.body).encode()
    headers = {"Content-Type": "application/json;charset=UTF-8", **told.headers}
    shown = [] if item.get("exclude_response_headers") else headers.items()
    return {
        "id": str(item["id"]),
        "body": base64.b64encode(body).decode(),
        "status_code": told.status,
        "status_text": "OK",
        "headers": [{"name": name, "value": value} for name, value in shown],
        "execution_time": 3,
    }


def _told(instance: "ServiceNow", item: dict[str, Any]) -> Told:
    url = urlsplit(item["url"])
    parts = url.path.strip("/").split("/")
    kind = next((place for place, part in enumerate(parts) if part in ("table", "stats")), None)
    if kind is None or kind + 1 >= len(parts):
        return Told(400, Refused(400, "Requested URI does not represent any resource").body)
    asked = Asked(
        item.get("method", "GET"),
        parts[2] if kind == 3 else "",
        parts[kind + 1],
        parts[kind + 2] if len(parts) > kind + 2 else "",
        dict(parse_qsl(url.query)),
        base64.b64decode(item.get("body") or ""),
    )
    try:
        return (answer if parts[kind] == "table" else aggregate)(instance, asked)
    except Refused as refused:
        return Told(refused.status, refused.body)
