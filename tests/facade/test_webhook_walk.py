"""One webhook, one record, one delivery: through the API, the queue and the worker to a real receiver."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Tenant
from tests.facade.conftest import make_key, serving, settings_for
from tests.plugins.receiver import Receiver, Request, receiving
from tests.plugins.stack import eventually
from tests.plugins.working import ALLOW, working

CONTACT = {
    "name": "Contact",
    "pluralName": "Contacts",
    "fields": [
        {"name": "email", "type": "email"},
        {"name": "score", "type": "integer"},
        {"name": "note", "type": "text"},
    ],
}


async def echo(request: Request, writer: asyncio.StreamWriter) -> None:
    """Answers 200, to a challenge with the challenge."""
    body = json.loads(request.body)
    text = json.dumps({"challenge": body.get("challenge", "none")}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


@pytest.fixture
def settings(database_url: str, data_dir: Path) -> Settings:
    return settings_for(database_url, data_dir, egress_allow=ALLOW)


@pytest.fixture
def api(settings: Settings, owner_database: Database, tenant: Tenant) -> Iterator[httpx.Client]:
    """A client with the admin scope of a tenant that has contacts."""
    define(owner_database, tenant, CONTACT)
    key = make_key(owner_database, tenant)
    with serving(settings) as url, httpx.Client(base_url=url, headers={"X-API-Key": key}) as client:
        client.timeout = httpx.Timeout(30)
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(echo) as found:
        yield found


def made(answer: httpx.Response, status: int = 201) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_record_that_is_created_reaches_the_receiver_signed(
    api: httpx.Client, receiver: Receiver, settings: Settings
) -> None:
    body = {"url": receiver.url, "events": ["contact.*"], "headers": {"X-Team": "sales"}}
    answer = made(api.post("/api/v1/webhooks", json=body))
    webhook, secret = answer["webhook"], answer["secret"]
    assert webhook["status"] == "enabled", webhook
    assert secret.startswith("whsec_")
    assert secret not in json.dumps(webhook)
    contact = made(api.post("/api/v1/contacts", json={"email": "a@b.example", "score": 3}))
    with working(settings):
        eventually(lambda: len(receiver.requests) == 2, "a challenge and a delivery")
        path = f"/api/v1/webhooks/{webhook['id']}/deliveries"
        eventually(
            lambda: made(api.get(path, params={"status": "success"}), 200)["items"] != [],
            "a logged success",
        )
    challenge, delivery = receiver.requests
    assert challenge.headers["x-hubblewave-event"] == "verification"
    sent = json.loads(delivery.body)
    assert sent == {
        "event": "contact.created",
        "data": contact,
        "timestamp": sent["timestamp"],
        "webhookId": webhook["id"],
    }
    headers = delivery.headers
    assert headers["x-team"] == "sales"
    assert headers["x-hubblewave-event"] == "contact.created"
    hexed = hmac.new(secret.encode(), delivery.body, hashlib.sha256).hexdigest()
    assert headers["x-hubblewave-signature"] == f"sha256={hexed}"
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + delivery.body
    mac = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    (item,) = made(api.get(path), 200)["items"]
    assert headers["x-hubblewave-delivery"] == item["id"]
    assert headers["webhook-id"] == item["eventId"]
    detail = made(api.get(f"/api/v1/webhooks/deliveries/{item['id']}"), 200)
    assert detail["payload"] == sent
    (attempt,) = detail["attemptList"]
    assert attempt["statusCode"] == 200
    assert attempt["request"]["headers"]["X-Team"] == "***"
    assert attempt["response"]["body"] == '{"challenge": "none"}'
