"""What every request passes: ids, headers, CORS, the log line, metrics, the last resort."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.settings import Settings
from tests.facade.conftest import api_process

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "private, no-store",
    "referrer-policy": "no-referrer",
}


@pytest.fixture
def client(admin: httpx.Client) -> httpx.Client:
    return admin


def test_a_request_keeps_its_id_and_gets_one_without(client: httpx.Client) -> None:
    given = client.get("/health", headers={"X-Request-Id": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    made = client.get("/health").headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)
    odd = client.get("/nowhere", headers={"X-Request-Id": "a b<script>"})
    assert odd.json()["requestId"] == odd.headers["x-request-id"] != "a b<script>"


@pytest.mark.parametrize("path", ["/health", "/api/v1/api-keys", "/api/v1/nothing", "/"])
def test_every_answer_carries_the_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert SECURITY.items() <= dict(headers).items()
    assert "default-src 'none'" in headers["content-security-policy"]


class TestCors:
    @pytest.fixture
    def api_settings(self, api_settings: Settings) -> Settings:
        return api_settings.model_copy(update={"cors_origins": ["https://app.example.org"]})

    def test_only_listed_origins_may_read(self, client: httpx.Client) -> None:
        listed = client.get("/health", headers={"Origin": "https://app.example.org"})
        assert listed.headers["access-control-allow-origin"] == "https://app.example.org"
        assert "ETag" in listed.headers["access-control-expose-headers"]
        other = client.get("/health", headers={"Origin": "https://evil.example.org"})
        assert "access-control-allow-origin" not in other.headers
        assert "Origin" in other.headers["vary"]

    def test_a_preflight_needs_no_credential(self, client: httpx.Client) -> None:
        asked = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "PATCH"}
        with httpx.Client(base_url=client.base_url) as nameless:
            answer = nameless.options("/api/v1/customers", headers=asked)
            assert answer.status_code == 204
            assert "PATCH" in answer.headers["access-control-allow-methods"]
            assert "If-Match" in answer.headers["access-control-allow-headers"]
            assert "Idempotency-Key" in answer.headers["access-control-allow-headers"]
            asked["Origin"] = "https://evil.example.org"
            refused = nameless.options("/api/v1/customers", headers=asked)
            assert not [name for name in refused.headers if name.startswith("access-control")]

    def test_only_a_preflight_answers_what_is_allowed(self, client: httpx.Client) -> None:
        key = client.post("/api/v1/api-keys", json={"name": "a", "scopes": ["read"]}).json()
        listed = {"Origin": "https://app.example.org"}
        gone = client.delete(f"/api/v1/api-keys/{key['id']}", headers=listed)
        assert gone.status_code == 204
        assert "access-control-allow-methods" not in gone.headers


class TestCorsForAll:
    @pytest.fixture
    def api_settings(self, api_settings: Settings) -> Settings:
        return api_settings.model_copy(update={"cors_origins": ["*"]})

    def test_null_is_nobody_even_where_everybody_may_read(self, client: httpx.Client) -> None:
        anybody = client.get("/health", headers={"Origin": "https://any.example.org"})
        assert anybody.headers["access-control-allow-origin"] == "https://any.example.org"
        assert "access-control-allow-credentials" not in anybody.headers
        null = client.get("/health", headers={"Origin": "null"})
        assert "access-control-allow-origin" not in null.headers


def test_metrics_name_routes_and_never_paths(client: httpx.Client) -> None:
    client.get("/api/v1/secretplural")
    client.get("/api/v1/api-keys/abcdefgh")
    client.request("BREW", "/api/v1/secretplural")
    text = client.get("/metrics").text
    assert 'route="/api/v1/{plural}"' in text
    assert 'route="/api/v1/api-keys/{key_id}"' in text
    assert "secretplural" not in text
    assert "BREW" not in text


def test_what_fails_unexpectedly_says_nothing_of_its_inside(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise KeyError("password=hunter2")

    monkeypatch.setattr("api.context.begin", broken)
    answer = client.get("/api/v1/api-keys")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "hunter2" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    monkeypatch.undo()
    assert client.get("/api/v1/api-keys").status_code == 200


def test_every_request_is_one_json_line_without_query_or_credential(
    database_url: str, tmp_path: Path, key_for: Any, tenant: Any
) -> None:
    key = key_for(tenant, "read")
    headers = {"X-API-Key": key, "X-Request-Id": "line-1"}
    with api_process(database_url, tmp_path) as (url, log):
        answer = httpx.get(f"{url}/api/v1/customers?filter[name]=private", headers=headers)
        assert answer.status_code == 404
        assert httpx.get(f"{url}/health/ready").json() == {"status": "ready"}
        text = log.read_text()
    assert "private" not in text
    assert key not in text
    lines = [json.loads(line) for line in text.splitlines()]
    found = next(line for line in lines if line.get("request_id") == "line-1")
    expected = {
        "event": "request",
        "method": "GET",
        "route": "/api/v1/{plural}",
        "path": "/api/v1/customers",
        "status": 404,
        "tenant": "default",
    }
    assert expected.items() <= found.items()
    assert found["ms"] > 0
