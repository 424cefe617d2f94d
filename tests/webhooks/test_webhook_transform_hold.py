"""A transform that fails every time: the webhook is disabled with the reason, nothing more is lost."""

import httpx

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.results import TRANSFORM_FAILURES
from hubblewave_pipelines.storage.tenants import Tenant
from tests.plugins.receiver import Receiver, receiving
from tests.plugins.stack import eventually
from tests.plugins.working import working
from tests.webhooks.conftest import Switch, bodies, emit, made, rows, subscribe

BROKEN = "(event) => { if (event.data.n > 0) throw new Error('no'); return event; }"
MENDED = "(event) => ({ n: event.data.n })"
EVENTS = 300


def test_W17_a_transform_that_always_fails_disables_its_webhook_and_holds_the_rest(
    api: httpx.Client,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    hook = subscribe(api, receiver.url, transform=BROKEN)
    path = f"/api/v1/webhooks/{hook['id']}"
    letters = "select count(*) from hubblewave.webhook_dead_letters"
    with receiving(Switch()) as admins, working(settings):
        subscribe(api, admins.url, "webhook.disabled")
        emit(owner_database, tenant, EVENTS)
        eventually(lambda: made(api.get(path), 200)["status"] == "disabled", "it is disabled")
        assert made(api.get(path), 200)["disabledReason"] == "transform"
        eventually(lambda: len(bodies(admins)) == 1, "the admins are told")
        assert bodies(admins)[0]["data"]["reason"] == "transform"
        working_on = "select 1 from hubblewave.webhook_deliveries where state = 'sending'"
        eventually(lambda: rows(owner_database, working_on) == [], "what was claimed has ended")
        ((failed,),) = rows(owner_database, letters)
        assert TRANSFORM_FAILURES <= failed <= 2 * settings.webhook_endpoint_in_flight + 20
        # Enabled as it is: one probe fails, and it is disabled again.
        made(api.post(f"{path}/enable"), 200)
        eventually(
            lambda: (
                rows(owner_database, letters) == [(failed + 1,)]
                and made(api.get(path), 200)["status"] == "disabled"
            ),
            "one probe",
        )
        made(api.patch(path, json={"transform": MENDED}), 200)
        made(api.post(f"{path}/enable"), 200)
        eventually(lambda: len(bodies(receiver)) == EVENTS - failed - 1, "what was held is sent")
        count = "select transform_failures from hubblewave.webhook_health where webhook_id = %s"
        assert rows(owner_database, count, hook["id"]) == [(0,)]
        redrive = {"filter": {"reason": "transform_failed"}}
        made(api.post("/api/v1/webhooks/dead-letters/redrive", json=redrive), 202)
        eventually(lambda: len(bodies(receiver)) == EVENTS, "and what had failed")
    assert sorted(body["n"] for body in bodies(receiver)) == list(range(1, EVENTS + 1))


def test_a_transform_that_fails_for_some_events_disables_nothing(
    api: httpx.Client,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    often = "(event) => { if (event.data.n % 2) throw new Error('odd'); return event; }"
    hook = subscribe(api, receiver.url, transform=often)
    with working(settings):
        emit(owner_database, tenant, 60)
        ended = "select count(*) from hubblewave.webhook_delivery_log"
        eventually(lambda: rows(owner_database, ended) == [(60,)], "all are over")
    shown = made(api.get(f"/api/v1/webhooks/{hook['id']}"), 200)
    assert (shown["status"], shown["health"]["succeeded"]) == ("enabled", 30)
    assert len(bodies(receiver)) == 30
