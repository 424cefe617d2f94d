"""docs/reference/connectors.md says what the code does: its example is taken, and every word it needs is there."""

import json
import re
from pathlib import Path

from hubblewave_pipelines.connectors.custom import TYPE, connect
from hubblewave_pipelines.connectors.custom.config import FORMATS, PAGINATION
from hubblewave_pipelines.core.bucket import Pace
from hubblewave_pipelines.core.connector import KNOWN, parse_connector
from hubblewave_pipelines.core.credentials import CredentialKind, credentials_schema
from hubblewave_pipelines.core.egress import Allow
from hubblewave_pipelines.core.stream import Level, Window
from hubblewave_pipelines.outbound.asked import Limits
from hubblewave_pipelines.settings import Settings
from tests.plugins.receiver import receiving, reply
from tests.plugins.sessions import plain_session

PAGE = (Path(__file__).parents[2] / "docs/reference/connectors.md").read_text()
WORDS = set(re.findall(r"[A-Za-z_]+", PAGE))
EXAMPLE = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])


def test_the_example_is_taken_and_reads_what_its_api_has() -> None:
    wish = parse_connector(EXAMPLE, {"custom": TYPE}, Allow())
    assert wish.pace == {"rate": 5, "burst": 10, "reserve": 0.1}
    orders = {
        "data": {"items": [{"id": 7, "number": "A", "total": 1.10, "shipTo": {"city": "Bern"}}]}
    }
    answer = reply(body=json.dumps(orders).encode(), Content_Type="application/json")
    with receiving(answer) as system:
        base = system.url.removesuffix("/hook")
        assert wish.credentials is not None
        with plain_session(base, dict(wish.credentials.given)) as session:
            connector = connect(wish.config, session)
            plan = connector.plan(
                connector.describe("orders"), ["number", "total", "city"], Window()
            )
            (page,) = connector.read(plan, plan.slices[0], None)
    assert page.columns["city"] == ["Bern"]
    assert page.columns["id"] == ["7"]
    assert system.requests[0].path == "/v1/orders"


def test_every_member_kind_style_format_and_setting_is_on_the_page() -> None:
    assert set(KNOWN) <= WORDS
    assert {kind.value for kind in CredentialKind} <= WORDS
    for branch in credentials_schema(*CredentialKind)["oneOf"]:  # type: ignore[union-attr]
        assert set(branch["properties"]) <= WORDS, branch["title"]  # type: ignore[index, call-overload, arg-type]
    for style in PAGINATION["oneOf"]:
        assert {style["title"], *style["properties"]} <= WORDS
    assert set(FORMATS) <= WORDS
    assert {level.value for level in Level} <= WORDS
    stream = TYPE.config["properties"]["streams"]["items"]["properties"]  # type: ignore[index, call-overload]
    assert set(stream) | set(stream["cursor"]["properties"]) <= WORDS  # type: ignore[index, call-overload, arg-type, operator]
    named = set(re.findall(r"HUBBLEWAVE_([A-Z_]+[A-Z])", PAGE))
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_the_numbers_on_the_page_are_those_of_the_code() -> None:
    limits, pace = Limits(), Pace()
    assert f"up to {limits.retries.max_attempts} times" in PAGE
    assert f"{limits.connect:.0f} s to connect, {limits.read:.0f} s between bytes" in PAGE
    assert (limits.total, limits.patience, limits.max_body) == (300, 300, 64 * 1024 * 1024)
    assert (pace.rate, pace.burst, pace.reserve) == (10, 10, 0.1)
