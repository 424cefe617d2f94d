"""docs/reference/webhooks.md says what the code does: presets, members, classes, statuses, settings."""

import re
from pathlib import Path

import httpx
import pytest

from hubblewave_pipelines.core.backoff import PRESETS, RetryPolicy
from hubblewave_pipelines.core.event_types import FIXED
from hubblewave_pipelines.core.webhook import KNOWN
from hubblewave_pipelines.delivery.posting import ErrorClass
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.delivery_log import STATUSES
from hubblewave_pipelines.storage.tenants import Tenant
from tests.plugins.receiver import Receiver
from tests.webhooks.conftest import emit, subscribe

PAGE = (Path(__file__).parents[2] / "docs/reference/webhooks.md").read_text()


def span(policy: RetryPolicy) -> float:
    """Hours from the first attempt to the last."""
    return sum(policy.wait(n, 0.5) for n in range(1, policy.max_attempts)) / 3600


@pytest.mark.parametrize(
    ("preset", "hours"), [("default", 8.5 / 60), ("standard", 75), ("day", 24), ("week", 6 * 24)]
)
def test_the_presets_last_as_long_as_the_page_says(preset: str, hours: float) -> None:
    assert span(PRESETS[preset]) == pytest.approx(hours, rel=0.03)
    assert preset in PAGE


def test_waits_are_spread_bounded_and_heed_the_receiver_within_six_hours() -> None:
    policy = RetryPolicy(max_attempts=20, multiplier=10.0)
    assert (policy.wait(1, 0.0), policy.wait(1, 0.999999)) == (0.8, pytest.approx(1.2))
    assert policy.wait(19, 0.5) == 24 * 3600
    assert policy.wait(1, 0.5, 1e9) == 6 * 3600
    assert policy.wait(1, 0.5, 0.0) == 1.0
    assert policy.wait(15, 0.5, 60.0) == 24 * 3600


def test_every_member_class_status_type_and_setting_is_on_the_page() -> None:
    words = set(re.findall(r"[A-Za-z_]+", PAGE))
    assert set(KNOWN) <= words
    assert {kind.value for kind in ErrorClass} <= words
    assert set(STATUSES) <= words
    types = {
        f"{e.name.partition('.')[0]}.{verb}" for e in FIXED for verb in [e.name.partition(".")[2]]
    }
    assert all(
        kind.partition(".")[0] in words and kind.partition(".")[2] in words for kind in types
    )
    named = set(re.findall(r"HUBBLEWAVE_([A-Z_]+[A-Z])", PAGE))
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_the_api_shows_the_queue_to_prometheus(
    api: httpx.Client, receiver: Receiver, owner_database: Database, tenant: Tenant
) -> None:
    subscribe(api, receiver.url)
    emit(owner_database, tenant, 7)
    text = api.get("/metrics").text
    assert 'hubblewave_webhook_queue_depth{state="unfanned"} 7.0' in text
    assert 'hubblewave_webhook_queue_oldest_seconds{state="due"} 0.0' in text
