"""Webhooks as people configure them: what is refused, what is shown, how secrets are replaced."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from tests.facade.conftest import make_key, serving, settings_for
from tests.plugins.receiver import Receiver, Request, receiving
from tests.plugins.stack import eventually
from tests.plugins.working import ALLOW, working
from tests.webhooks.conftest import bodies, emit, made, rows, run_sql, say, subscribe

HOOKS = "/api/v1/webhooks"


def refusal(answer: httpx.Response, status: int) -> dict[str, str]:
    """Code by pointer of every fault."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    return {fault["pointer"]: fault["code"] for fault in answer.json()["errors"]}


def test_every_fault_of_a_webhook_is_named_at_once(api: httpx.Client) -> None:
    body = {
        "url": "https://example.com/x",
        "events": ["contact.created", "contct.*", "no type", 7],
        "secret": "short",
        "ordering": "sometimes",
        "filter": {"score": {"gte": "x"}},
        "nonsense": 1,
    }
    found = refusal(api.post(HOOKS, json=body), 422)
    assert found["#/events"] == "type"
    body["events"] = ["contact.created", "contct.*", "no type"]
    found = refusal(api.post(HOOKS, json=body), 422)
    assert found == {
        "#/events/1": "unknown",
        "#/events/2": "format",
        "#/secret": "format",
        "#/ordering": "enum",
        "#/nonsense": "unknown",
        "#/filter": found["#/filter"],
    }
    assert refusal(api.post(HOOKS, json={}), 422) == {"#/url": "required", "#/events": "required"}
    assert made(api.get(HOOKS), 200)["items"] == []


def test_W1_an_address_that_is_not_public_is_refused(
    api: httpx.Client, settings: Settings, owner_database: Database, tenant: Tenant
) -> None:
    strict = settings.model_copy(update={"egress_allow": ""})
    key = {"X-API-Key": make_key(owner_database, tenant)}
    with serving(strict) as base:
        for url in ("http://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/", "ftp://x/"):
            body = {"url": url, "events": ["*"]}
            answer = httpx.post(base + HOOKS, headers=key, json=body, timeout=30)
            assert refusal(answer, 422) == {"#/url": "blocked"}, url


CONFIGS: list[Any] = [
    {"maxAttempts": 0},
    {"maxAttempts": 21},
    {"maxAttempts": "10"},
    {"maxAttempts": 2.5},
    {"backoffMultiplier": 11},
    {"backoffMultiplier": 0.5},
    {"backoffMultiplier": "2"},
    {"backoffMultiplier": True},
    {"preset": "forever"},
    {"preset": "standard", "maxAttempts": 3},
    [],
]


def test_W24_a_retry_config_out_of_bounds_is_refused(api: httpx.Client) -> None:
    for config in CONFIGS:
        body = {"url": "https://example.com", "events": ["*"], "retryConfig": config}
        found = refusal(api.post(HOOKS, json=body), 422)
        assert all(at.startswith("#/retryConfig") for at in found), config
    text = '{"url":"https://example.com","events":["*"],"retryConfig":{"backoffMultiplier":NaN}}'
    answer = api.post(HOOKS, content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


HEADERS: list[dict[str, Any]] = [
    {"Host": "example.com"},
    {"Connection": "close"},
    {"Content-Length": "3"},
    {"webhook-id": "x"},
    {"X-HubbleWave-Signature": "x"},
    {"X-A": "a\r\nX-B: b"},
    {"X-A": "a\n"},
    {"X A": "a"},
    {"X-A": "é"},
    {"X-A": "x" * 65_536},
    {"X-A": "a", "x-a": "b"},
    {f"X-{n}": "a" for n in range(100)},
    {"X-A": 7},
]


def test_W16_a_header_that_could_do_harm_is_refused(api: httpx.Client) -> None:
    for headers in HEADERS:
        body = {"url": "https://example.com", "events": ["*"], "headers": headers}
        found = refusal(api.post(HOOKS, json=body), 400)
        assert all(at.startswith("#/headers") for at in found), str(headers)[:60]


def test_headers_and_secrets_are_stored_sealed_and_never_shown(
    api: httpx.Client, receiver: Receiver, owner_database: Database
) -> None:
    hook = subscribe(api, receiver.url, headers={"X-Token": "canary-7f3a"}, secret="k" * 20)
    assert hook["plain"] == "k" * 20
    shown = api.get(f"{HOOKS}/{hook['id']}").text + api.get(HOOKS).text
    shown += api.patch(f"{HOOKS}/{hook['id']}", json={"name": "renamed"}).text
    assert "canary" not in shown
    assert "k" * 20 not in shown
    assert json.loads(api.get(f"{HOOKS}/{hook['id']}").text)["headers"] == {"X-Token": "***"}
    stored = rows(
        owner_database,
        "select headers_sealed, sealed from hubblewave.webhooks w"
        " join hubblewave.webhook_secrets s on s.webhook_id = w.id",
    )
    assert all(text.startswith("hw1.") for text in stored[0])
    made(api.patch(f"{HOOKS}/{hook['id']}", json={"headers": None}), 200)
    assert made(api.get(f"{HOOKS}/{hook['id']}"), 200)["headers"] == {}


def test_W6_a_receiver_that_does_not_echo_the_challenge_stays_unverified(
    api: httpx.Client, settings: Settings, owner_database: Database, tenant: Tenant
) -> None:
    how = ""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        word = json.loads(request.body).get("challenge", "")
        match how:
            case "wrong":
                say(writer, json.dumps({"challenge": word[::-1]}).encode())
            case "html":
                say(writer, f'<p>{{"challenge": "{word}"}}</p>'.encode())
            case "list":
                say(writer, json.dumps([word]).encode())
            case "huge":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 2_000_000)
            case "redirect":
                say(writer, b"", "302 Found", "Location: http://127.0.0.1:1/\r\n")
            case _:
                writer.close()

    with receiving(answer) as receiver:
        for how in ("wrong", "html", "list", "huge", "redirect", "closed"):
            body = {"url": receiver.url, "events": ["import.completed"]}
            webhook = made(api.post(HOOKS, json=body))["webhook"]
            assert webhook["status"] == "unverified", how
            assert webhook["verification"]["verified"] is False
        tested = made(api.post(f"{HOOKS}/{webhook['id']}/test"), 200)
        assert tested["response"] == {"headers": None, "body": None}
        before = len(receiver.requests)
        emit(owner_database, tenant, 3)
        unfanned = "select 1 from hubblewave.events where fanned_at is null"
        with working(settings):
            eventually(lambda: rows(owner_database, unfanned) == [], "fanned out")
        assert len(receiver.requests) == before


def test_a_changed_url_is_verified_anew(api: httpx.Client, receiver: Receiver) -> None:
    hook = subscribe(api, receiver.url)
    with receiving() as silent:
        moved = made(api.patch(f"{HOOKS}/{hook['id']}", json={"url": silent.url}), 200)
    assert moved["status"] == "unverified"
    back = made(api.patch(f"{HOOKS}/{hook['id']}", json={"url": receiver.url}), 200)
    assert back["status"] == "enabled"


def verifies(secret: str, request: Request) -> bool:
    try:
        Verifier(secret).verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


def test_W14_both_secrets_are_good_while_one_replaces_the_other(
    api: httpx.Client,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    hook = subscribe(api, receiver.url)
    path = f"{HOOKS}/{hook['id']}"
    old = hook["plain"]
    assert api.post(f"{path}/rotate-secret/commit").status_code == 409

    def delivered(count: int) -> Request:
        emit(owner_database, tenant, 1)
        eventually(lambda: len(bodies(receiver)) == count, "a delivery")
        return receiver.requests[-1]

    with working(settings):
        new = made(api.post(f"{path}/rotate-secret", json={"overlapHours": 1}), 200)["secret"]
        overlapping = delivered(1)
        assert (verifies(old, overlapping), verifies(new, overlapping)) == (True, True)
        assert overlapping.headers["webhook-signature"].count("v1,") == 2
        run_sql(
            owner_database,
            "update hubblewave.webhook_secrets set retires_at = now() - interval '1 s'"
            " where position = 0",
        )
        run_sql(owner_database, "update hubblewave.webhooks set updated_at = clock_timestamp()")
        expired = delivered(2)
        assert (verifies(old, expired), verifies(new, expired)) == (False, True)
        newest = made(api.post(f"{path}/rotate-secret"), 200)["secret"]
        shown = made(api.post(f"{path}/rotate-secret/commit"), 200)
        assert shown["nextSecret"] is None
        committed = delivered(3)
        assert [verifies(s, committed) for s in (old, new, newest)] == [False, False, True]


def test_a_test_delivery_is_signed_transformed_logged_and_counts_for_nothing(
    api: httpx.Client, receiver: Receiver
) -> None:
    code = "(event) => ({kind: event.event, text: event.data.message})"
    hook = subscribe(api, receiver.url, transform=code)
    answer = made(api.post(f"{HOOKS}/{hook['id']}/test"), 200)
    assert (answer["success"], answer["statusCode"]) == (True, 200)
    sent = receiver.requests[-1]
    assert json.loads(sent.body) == {"kind": "test", "text": "This is a test webhook delivery"}
    assert verifies(hook["plain"], sent)
    (item,) = made(api.get(f"{HOOKS}/{hook['id']}/deliveries"), 200)["items"]
    assert (item["id"], item["kind"], item["status"]) == (answer["deliveryId"], "test", "success")
    assert made(api.get(f"{HOOKS}/{hook['id']}"), 200)["health"]["succeeded"] == 0


def test_a_transform_that_cannot_run_is_refused_when_it_is_saved(api: httpx.Client) -> None:
    body = {"url": "https://example.com", "events": ["*"], "transform": "(e) => { nonsense("}
    assert refusal(api.post(HOOKS, json=body), 422).keys() == {"#/transform"}


def test_a_filter_lets_through_what_fits_and_only_of_one_entity(
    api: httpx.Client, receiver: Receiver, settings: Settings
) -> None:
    both = {"url": receiver.url, "events": ["contact.*", "import.*"], "filter": {"score": 1}}
    assert refusal(api.post(HOOKS, json=both), 422) == {"#/filter": "events"}
    wish = {"or": [{"score": {"gte": 10}}, {"note": {"icontains": "vip"}}]}
    subscribe(api, receiver.url, "contact.*", filter=wish)
    items = [{"score": 3}, {"score": 12}, {"note": "a VIP"}, {"note": "none"}]
    made(api.post("/api/v1/contacts/bulk", json={"items": items}), 200)
    with working(settings):
        eventually(lambda: len(bodies(receiver)) >= 2, "two deliveries")
    sent = [(body["data"]["score"], body["data"]["note"]) for body in bodies(receiver)]
    assert len(sent) == 2
    assert set(sent) == {(12, None), (None, "a VIP")}  # in whatever order they arrived


def test_another_tenant_sees_none_of_it(
    api: httpx.Client, receiver: Receiver, owner_database: Database, other_tenant: Tenant
) -> None:
    hook = subscribe(api, receiver.url)
    made(api.post(f"{HOOKS}/{hook['id']}/test"), 200)
    key = {"X-API-Key": make_key(owner_database, other_tenant)}
    (item,) = made(api.get(f"{HOOKS}/{hook['id']}/deliveries"), 200)["items"]
    for path in (hook["id"], f"{hook['id']}/deliveries", f"deliveries/{item['id']}"):
        assert api.get(f"{HOOKS}/{path}", headers=key).status_code == 404
    for path in (
        f"{hook['id']}/test",
        f"{hook['id']}/enable",
        f"deliveries/{item['id']}/redeliver",
    ):
        assert api.post(f"{HOOKS}/{path}", headers=key).status_code == 404
    assert api.delete(f"{HOOKS}/{hook['id']}", headers=key).status_code == 404
    reader = {"X-API-Key": make_key(owner_database, other_tenant, "read", "write")}
    assert api.get(HOOKS, headers=reader).status_code == 403


def test_the_catalogue_names_every_type_with_an_example_that_fits_its_schema(
    api: httpx.Client,
) -> None:
    import jsonschema

    page = made(api.get("/api/v1/event-types", params={"pageSize": 100}), 200)
    names = {event["name"] for event in page["items"]}
    assert {"contact.created", "contact.deleted", "import.failed", "webhook.disabled"} <= names
    for event in page["items"]:
        jsonschema.Draft202012Validator.check_schema(event["schema"])
        jsonschema.validate(event["example"], event["schema"])
    assert api.get("/api/v1/event-types/contact.updated").json()["entity"] == "Contact"
    assert api.get("/api/v1/event-types/nothing.at_all").status_code == 404


def test_a_key_that_is_missing_or_may_be_read_by_others_is_said_clearly(
    database_url: str, data_dir: Any, owner_database: Database, tenant: Tenant
) -> None:
    from hubblewave_pipelines.core.errors import Misconfigured
    from hubblewave_pipelines.storage.secret_keys import Secrets, key_file, make_key_file

    bare = settings_for(database_url, data_dir, egress_allow=ALLOW, secret_key=None)
    with pytest.raises(Misconfigured, match="HUBBLEWAVE_SECRET_KEY"):
        _ = Secrets(bare).envelope
    assert make_key_file(key_file(bare))
    assert not make_key_file(key_file(bare))
    assert key_file(bare).stat().st_mode & 0o777 == 0o600
    assert Secrets(bare).envelope is not None
    key_file(bare).chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        _ = Secrets(bare).envelope


def test_a_creation_that_is_sent_again_makes_one_webhook_and_shows_no_secret_twice(
    api: httpx.Client, receiver: Receiver, owner_database: Database
) -> None:
    key = {"Idempotency-Key": "crm"}
    body = {"url": receiver.url, "events": ["import.completed"]}
    first = api.post(HOOKS, json=body, headers=key)
    again = api.post(HOOKS, json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    secret = first.json()["secret"]
    assert secret.startswith("whsec_")
    assert again.json()["secret"] is None
    assert again.json()["webhook"]["id"] == first.json()["webhook"]["id"]
    assert len(receiver.requests) == 1  # one challenge
    assert made(api.get(HOOKS), 200)["pageInfo"]["totalItems"] == 1
    kept = rows(owner_database, "select body from hubblewave.idempotency_keys")
    assert [secret in text for (text,) in kept] == [False]
    other = api.post(HOOKS, json={**body, "name": "other"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "request.idempotency_mismatch")
    refused = api.post(HOOKS, json={**body, "url": "nowhere"}, headers={"Idempotency-Key": "2"})
    assert refused.status_code == 422
    mended = api.post(HOOKS, json=body, headers={"Idempotency-Key": "2"})
    assert mended.status_code == 201  # a refusal has used up no key
    assert mended.json()["secret"].startswith("whsec_")
