"""The HTTP sandbox, read by the custom connector in every style while its data change and its answers fail."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from hubblewave_pipelines.connectors.custom import TYPE, connect
from hubblewave_pipelines.core.json_schema import check_schema
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.core.stream import Window
from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.sandboxes.http.shop import STYLES
from hubblewave_pipelines.sandboxes.serving import Running
from tests.outbound.systems import FakeTime
from tests.plugins.sandboxes import START
from tests.plugins.sessions import plain_session

PAGINATION: dict[str, dict[str, Any]] = {
    "cursor": {"cursorPath": "next", "param": "cursor"},
    "link_header": {},
    "next_url": {"urlPath": "next"},
    "page": {"param": "page", "pageSize": 25, "pageSizeParam": "limit", "totalPath": "total"},
    "offset": {"param": "offset", "pageSize": 25, "pageSizeParam": "limit"},
    "keyset": {"param": "after"},
}


def set_faults(running: Running) -> None:
    """The next requests are lost, cut short, refused and put off, in turn."""
    kinds = ("reset_after", "truncate", "error_503", "throttle_seconds")
    running.sandbox.faults.set(
        *(Fault(FaultKind(kind), request=n + 1) for n, kind in enumerate(kinds))
    )


@pytest.mark.parametrize("style", STYLES)
def test_the_custom_connector_reads_every_style(serve: Callable[..., Running], style: str) -> None:
    running = serve("http", records=230)
    vendor = running.sandbox.vendor
    made = vendor.connector(running.url)
    stream_config = made["config"]["streams"][1]
    stream_config |= {"path": f"/api/orders/{style}"}
    stream_config["pagination"] = {"style": style, **PAGINATION[style]}
    reading = Reading()
    check_schema(reading, made["config"], TYPE.config, "#/config")
    check_schema(reading, made["credentials"], TYPE.credentials, "#/credentials")
    assert reading.faults == []
    clock = FakeTime()
    given = made["credentials"]
    with plain_session(running.url, given, budget=clock.budget, sleep=clock.sleep) as session:
        connector = connect(made["config"], session)
        assert connector.check().level != "error"
        stream = connector.describe("orders")
        edited = vendor.stage.tables["orders"].keys()[7]
        vendor.edit("orders", edited, {"note": "new"}, START - timedelta(seconds=5))
        plan = connector.plan(stream, ["name", "total", "city"], Window(None, START))
        set_faults(running)
        pages = list(connector.read(plan, plan.slices[0], None))
        assert session.retries == 4
        keys = [key for page in pages for key in page.columns["id"]]
        assert keys == vendor.stage.tables["orders"].keys()
        window = Window(START - timedelta(seconds=10), START)
        plan = connector.plan(stream, ["note"], window)
        pages = list(connector.read(plan, plan.slices[0], None))
        assert [cell for page in pages for cell in page.columns["note"]] == ["new"]
        vendor.delete("orders", edited, START)
        listed = [key for page in connector.keys(stream, None) for key in page.keys]
        assert listed == [key for key in keys if key != edited]
        assert connector.fetch(stream, ["name"], [edited, keys[0]]).columns["id"] == [keys[0]]
