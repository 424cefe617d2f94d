"""One webhook, one record, one delivery: through the API, the queue and the worker to a real receiver."""

import base64
import hashlib
import hmac
import json

import httpx
from standardwebhooks import Webhook as Verifier

from hubblewave_pipelines.settings import Settings
from tests.plugins.receiver import Receiver
from tests.plugins.stack import eventually
from tests.plugins.working import working
from tests.webhooks.conftest import made


def test_F17_by_polling_alone_a_record_that_is_created_reaches_the_receiver_signed(
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
    assert Verifier(secret).verify(delivery.body, headers)["event"] == "contact.created"
    (item,) = made(api.get(path), 200)["items"]
    assert headers["x-hubblewave-delivery"] == item["id"]
    assert headers["webhook-id"] == item["eventId"]
    detail = made(api.get(f"/api/v1/webhooks/deliveries/{item['id']}"), 200)
    assert detail["payload"] == sent
    (attempt,) = detail["attemptList"]
    assert attempt["statusCode"] == 200
    assert attempt["request"]["headers"]["X-Team"] == "***"
    assert attempt["response"]["body"] == "{}"
