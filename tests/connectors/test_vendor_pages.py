"""The pages of the connectors to Jira, SAP and ServiceNow say what the code does: examples, members, switches, figures."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubblewave_pipelines.connectors.registry import manners, module
from hubblewave_pipelines.core.connector import parse_connector
from hubblewave_pipelines.core.egress import Allow
from hubblewave_pipelines.core.stream import Level
from hubblewave_pipelines.sandboxes.registry import build
from hubblewave_pipelines.sandboxes.serving import Running
from hubblewave_pipelines.sandboxes.vendor import Options
from tests.plugins.sessions import LOOPBACK, plain_session

FOLDER = Path(__file__).parents[2] / "docs/reference"
VENDORS = ("jira", "sap", "servicenow")
Serve = Callable[..., Running]


def _page(vendor: str) -> str:
    return (FOLDER / f"connectors-{vendor}.md").read_text()


class _Asked(dict[str, Any]):
    """Switches that remember which of them were looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return default


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_example_is_taken_and_a_connector_of_it_works(serve: Serve, vendor: str) -> None:
    kind = module(vendor).TYPE
    example = json.loads(re.findall(r"```json\n(.*?)```", _page(vendor), re.DOTALL)[0])
    wish = parse_connector(example, {vendor: kind}, Allow())
    running = serve(vendor, records=10, start=None)
    given = running.sandbox.vendor.connector(running.url)
    assert parse_connector({"name": "Sandbox", **given}, {vendor: kind}, LOOPBACK).type == vendor
    with plain_session(running.url, given["credentials"], manners=manners(vendor)) as session:
        report = module(vendor).connect({**wish.config, "baseUrl": running.url}, session).check()
    assert report.level is Level.OK, report.findings


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_member_and_switch_is_on_the_page(vendor: str) -> None:
    page = _page(vendor)
    members: dict[str, Any] = dict(module(vendor).TYPE.config["properties"])  # type: ignore[arg-type]
    for name, member in members.items():
        assert f"`{name}`" in page, name
        if isinstance(member.get("default"), int) and not isinstance(member["default"], bool):
            assert re.search(rf"`{name}` \| {member['default']} \|", page), name
    asked = _Asked()
    build(vendor, Options(records=1, extra=asked))
    switches = re.findall(r"^\| `([a-z_]+)=", page, re.MULTILINE)
    assert set(switches) == asked.names
