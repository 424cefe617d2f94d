"""Requests that reached a real socket, verified by everyone's libraries and by the samples of the reference page."""

import asyncio
import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from hubblewave_pipelines.core.egress import parse_allow
from hubblewave_pipelines.core.signature import new_secret, sign
from hubblewave_pipelines.delivery.posting import open_session, post
from hubblewave_pipelines.delivery.transforms import TransformPool
from tests.plugins import node
from tests.plugins.receiver import Receiver, Request, receiving

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SIGNATURES = (REFERENCE / "webhook-signatures.md").read_text()
OLD, NEW = new_secret(), new_secret()
BODY = '{"event":"contact.created","data":{"name":"Zoë 🌊","n":1.50}, "timestamp":"2026"}'.encode()


def sample(language: str, page: str = SIGNATURES) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", page, re.S)
    return str(code)


def received(receiver: Receiver, keys: list[str], *, age: int = 0) -> Request:
    """What arrives when this body is signed with these secrets, `age` seconds ago, and posted."""
    now = int(datetime.now(UTC).timestamp()) - age
    headers = sign(
        keys, event="contact.created", delivery="d-1", message="0190-a", timestamp=now, body=BODY
    )

    async def run() -> None:
        async with open_session(parse_allow("127.0.0.1/32:*")) as session:
            assert (await post(session, receiver.url, headers, BODY, total=10)).ok

    asyncio.run(run())
    return receiver.requests[-1]


@pytest.fixture(scope="module")
def requests() -> dict[str, tuple[str, Request]]:
    """Requests with the secret to verify them with."""
    with receiving() as receiver:
        good = received(receiver, [NEW])
        rotating = received(receiver, [OLD, NEW])
        stale = received(receiver, [NEW], age=360)
    return {
        "good": (NEW, good),
        "another secret": (OLD, good),
        "rotating, old receiver": (OLD, rotating),
        "rotating, new receiver": (NEW, rotating),
        "of six minutes ago": (NEW, stale),
        "a changed body": (NEW, replace(good, body=good.body.replace(b"1.50", b"1.51"))),
        "the same JSON in other bytes": (NEW, replace(good, body=good.body.replace(b", ", b","))),
        "another id": (NEW, replace(good, headers={**good.headers, "webhook-id": "0190-b"})),
    }


# Who accepts what: the form that proves time, and the form that is over the body alone.
TIMED = {"good", "rotating, old receiver", "rotating, new receiver"}
BODY_ONLY = {"good", "rotating, old receiver", "of six minutes ago", "another id"}


def accepted(
    requests: Mapping[str, tuple[str, Request]], verify: Callable[[str, Request], Any]
) -> set[str]:
    found = set()
    for name, (secret, request) in requests.items():
        try:
            verify(secret, request)
        except (WebhookVerificationError, ValueError):
            continue
        found.add(name)
    return found


def test_W15_npm_libraries_and_the_javascript_sample_accept_and_refuse_alike(
    requests: dict[str, tuple[str, Request]], tmp_path: Path
) -> None:
    module, cases = tmp_path / "sample.mjs", tmp_path / "cases.json"
    module.write_text(sample("js"))
    given = [
        {"secret": secret, "headers": each.headers, "body": base64.b64encode(each.body).decode()}
        for secret, each in requests.values()
    ]
    cases.write_text(json.dumps(given))
    ran = node.run("verify_webhook.mjs", str(cases), str(module))
    assert ran.returncode == 0, ran.stderr
    results = dict(zip(requests, json.loads(ran.stdout), strict=True))
    for who, expected in {
        "standardwebhooks": TIMED,
        "svix": TIMED,
        "octokit": BODY_ONLY,
        "sample": TIMED,
        "sampleBodyOnly": BODY_ONLY,
    }.items():
        assert {name for name, by in results.items() if by[who]} == expected, who


def test_W15_pypi_standardwebhooks_and_the_python_sample_accept_and_refuse_alike(
    requests: dict[str, tuple[str, Request]],
) -> None:
    page: dict[str, Any] = {}
    exec(compile(sample("python"), "webhook-signatures.md", "exec"), page)
    forms: list[tuple[Callable[[str, Request], Any], set[str]]] = [
        (lambda secret, got: Webhook(secret).verify(got.body, got.headers), TIMED),
        (lambda secret, got: page["verify"](secret, got.headers, got.body), TIMED),
        (lambda secret, got: page["verify_body_only"](secret, got.headers, got.body), BODY_ONLY),
    ]
    for verify, expected in forms:
        assert accepted(requests, verify) == expected


def test_the_transform_of_the_page_makes_what_the_page_says() -> None:
    page = (REFERENCE / "webhook-transforms.md").read_text()
    (payload,) = re.findall(r"^for `(\{.*\})`$", page, re.M)

    async def run() -> bytes:
        pool = TransformPool()
        try:
            return await pool.check(sample("js", page), payload.encode())
        finally:
            await pool.close()

    assert json.loads(asyncio.run(run())) == json.loads(sample("json", page))
