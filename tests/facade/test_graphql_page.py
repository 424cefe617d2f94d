"""docs/reference/graphql.md does what it says, and the page for browsers is all here."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx

from hubblewave_pipelines.settings import Settings
from tests.facade.conftest import serving
from tests.facade.test_graphql import define

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "graphql.md"
EXAMPLE = re.compile(r"```graphql\n(.*?)```\n```json\n(.*?)```", re.DOTALL)


def without_request(found: Any) -> Any:
    """The answer without what differs from request to request."""
    for error in found.get("errors", ()):
        error["extensions"].pop("requestId")
        error.pop("locations", None)
    return found


def test_every_example_of_the_page_is_answered_as_it_says(admin: httpx.Client) -> None:
    define(admin)
    examples = EXAMPLE.findall(PAGE.read_text())
    assert len(examples) == PAGE.read_text().count("```graphql") > 5
    for document, answer in examples:
        body = {"query": document, "variables": {"most": "50"} if "$most" in document else {}}
        found = admin.post("/graphql", json=body).json()
        assert without_request(found) == json.loads(answer), document


def test_the_pages_client_follows_orders(api_settings: Settings, admin: httpx.Client) -> None:
    define(admin)
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    example: dict[str, Any] = {}
    exec(code, example)
    start = admin.get("/api/v1/orders/changes?since=now").json()["next"]
    key = admin.headers["x-api-key"]

    async def follow() -> list[Any]:
        heard: list[Any] = []
        followed = example["orders"](url.replace("http", "ws"), key, start)
        async for order in followed:
            heard.append(order)
            if len(heard) == 3:
                break
        await followed.aclose()
        return heard

    with serving(api_settings) as url:
        for number in ("A-1", "A-2", "A-3"):
            made = admin.post("/api/v1/orders", json={"number": number, "total": "1.50"})
            assert made.status_code == 201, made.text
        heard = asyncio.run(follow())
    assert heard == [{"number": f"A-{n}", "total": "1.50"} for n in (1, 2, 3)]


def test_the_browsers_page_and_all_it_loads_come_from_here(api_settings: Settings) -> None:
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    shown = api_settings.model_copy(update={"graphql_introspection": True})
    with serving(shown) as url, httpx.Client(base_url=url, headers=browser) as client:
        page = client.get("/graphql")
        assert page.headers["content-type"].startswith("text/html")
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(loaded) == 8
        assert all(address.startswith("/graphql/page/") for address in loaded)
        for address in loaded:
            assert client.get(address).status_code == 200, address
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert client.get("/graphql/page/other.js").status_code == 404
    with serving(api_settings) as url, httpx.Client(base_url=url, headers=browser) as client:
        assert client.get("/graphql").status_code == 401
        assert client.get("/graphql/page/page.js").status_code == 404
