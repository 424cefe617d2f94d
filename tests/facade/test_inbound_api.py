"""Webhooks of external systems: signed or nobody's, stored before they are answered, many become one run."""

import hmac
import uuid
from datetime import UTC, datetime

import httpx
import pytest

from hubblewave_pipelines.core.signature import sign
from hubblewave_pipelines.storage import sync_runs
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.sync.inbox import ask_for_inbound
from tests.facade.conftest import Connect
from tests.facade.routes import CONNECTOR
from tests.facade.test_sync_jobs_api import THING, wish

SECRET = "a shared secret".replace(" ", "-") + "-of-ours"
BODY = b'{"webhookEvent":"jira:issue_updated","issue":{"id":"1"}}'


def hub(body: bytes = BODY, secret: str = SECRET, name: str = "X-Hub-Signature") -> dict[str, str]:
    return {name: "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()}


def standard(body: bytes = BODY, age: int = 0) -> dict[str, str]:
    stamp = int(datetime.now(UTC).timestamp()) - age
    made = sign([SECRET], event="e", delivery="d", message="m1", timestamp=stamp, body=body)
    return {name: value for name, value in made.items() if name.startswith("webhook-")}


@pytest.fixture
def inbox(admin: httpx.Client) -> str:
    """The path of a connector that takes webhooks."""
    body = {**CONNECTOR, "name": "Shop", "inboundSecret": SECRET}
    made = admin.post("/api/v1/connectors", json=body)
    assert made.status_code == 201, made.text
    return f"/api/v1/inbound/{made.json()['id']}"


def test_only_what_is_signed_gets_in_and_nobody_learns_which_connectors_there_are(
    admin: httpx.Client, connect: Connect, inbox: str
) -> None:
    other = admin.post("/api/v1/connectors", json={**CONNECTOR, "name": "Silent"}).json()["id"]
    stranger = connect(None)
    for headers in (
        hub(),
        hub(name="X-Hub-Signature-256"),
        hub(name="X-HubbleWave-Signature"),
        standard(),
    ):
        answer = stranger.post(inbox, content=BODY, headers=headers)
        assert answer.status_code == 202, answer.text
    wrong = [
        (inbox, {}),
        (inbox, hub(BODY + b" ")),
        (inbox, hub(secret="another-secret-of-nobody")),
        (inbox, {"X-Hub-Signature": "sha1=abc"}),
        (inbox, {**hub(), **hub(b"x", name="X-Hub-Signature-256")}),
        (inbox, standard(age=600)),
        (inbox, {**standard(), "webhook-id": "m2"}),
        (f"/api/v1/inbound/{other}", hub()),
        (f"/api/v1/inbound/{uuid.uuid4()}", hub()),
    ]
    told = set()
    for path, headers in wrong:
        answer = stranger.post(path, content=BODY, headers=headers)
        assert answer.status_code == 401, (headers, answer.text)
        told.add(answer.json()["detail"])
    assert len(told) == 1
    big = b"x" * (1024 * 1024 + 1)
    assert stranger.post(inbox, content=big, headers=hub(big)).status_code == 413
    path = inbox.replace("inbound", "connectors")
    assert admin.patch(path, json={"status": "inactive"}).status_code == 200
    assert stranger.post(inbox, content=BODY, headers=hub()).status_code == 401


def test_many_become_one_run_once_the_system_can_vouch_for_them(
    admin: httpx.Client,
    connect: Connect,
    inbox: str,
    worker_database: Database,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    assert admin.post("/api/v1/entities", json=THING).status_code == 201
    path = admin.post("/api/v1/sync-jobs", json=wish()).headers["location"]
    stranger = connect(None)

    def received(count: int) -> None:
        for n in range(count):
            body = BODY + b" " * n
            assert stranger.post(inbox, content=body, headers=hub(body)).status_code == 202

    def aged() -> None:
        with owner_database.connect() as connection:
            connection.execute(
                "update hubblewave.inbound_events set received_at = received_at - interval '2 min'"
            )

    received(3)
    assert ask_for_inbound(worker_database) == 0, "nobody vouches for what is that new"
    aged()
    assert ask_for_inbound(worker_database) == 1
    assert ask_for_inbound(worker_database) == 0
    received(2)
    aged()
    assert ask_for_inbound(worker_database) == 0, "the run that is open may be past them"
    (run,) = admin.get(f"{path}/runs").json()["items"]
    with worker_database.transaction(tenant.id) as tx:
        for step in sync_runs.end_run(tenant.id, uuid.UUID(run["id"]), "success"):
            tx.run(step)
    assert ask_for_inbound(worker_database) == 1
    assert len(admin.get(f"{path}/runs").json()["items"]) == 2
    with owner_database.connect() as connection:
        counts = connection.execute(
            "select count(*), count(handled_at) from hubblewave.inbound_events"
        ).fetchone()
    assert counts == (5, 5)
