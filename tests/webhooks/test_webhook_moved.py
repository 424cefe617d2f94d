"""A webhook whose address changes while a delivery is on its way: the new one gets nothing before it is verified."""

import httpx
import pytest

from hubblewave_pipelines.delivery.attempt import Lease
from hubblewave_pipelines.delivery.worker import Worker
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.results import Result
from tests.plugins.receiver import receiving
from tests.plugins.stack import eventually
from tests.plugins.working import working
from tests.webhooks.conftest import bodies, echo, made, run_sql, subscribe


def test_W6_a_claimed_delivery_does_not_go_to_an_address_that_nobody_verified(
    api: httpx.Client, owner_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, moved = Worker._attempt, list[str]()
    with receiving(echo) as first, receiving(echo) as second:
        webhook = subscribe(api, first.url, "contact.created")

        async def after_a_move(self: Worker, lease: Lease) -> Result | None:
            if not moved:
                moved.append(second.url)
                run_sql(
                    owner_database,
                    "update hubblewave.webhooks set url = %s, verified_at = null,"
                    " updated_at = clock_timestamp() where id = %s",
                    second.url,
                    webhook["id"],
                )
            return await attempt(self, lease)

        monkeypatch.setattr(Worker, "_attempt", after_a_move)
        made(api.post("/api/v1/contacts", json={"score": 1}))
        path = f"/api/v1/webhooks/{webhook['id']}"
        with working(settings):

            def refused() -> bool:
                items = made(api.get(f"{path}/deliveries"), 200)["items"]
                return bool(items) and items[0]["attempts"] == 1 and items[0]["status"] == "pending"

            eventually(refused, "an attempt that was not made")
            assert bodies(second) == []
            assert bodies(first) == []
            made(api.post(f"{path}/verify"), 200)
            eventually(lambda: len(bodies(second)) == 1, "the delivery after the verification")
    assert bodies(first) == []
