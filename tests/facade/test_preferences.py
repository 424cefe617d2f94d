"""Prefer, and If-None-Match on writes: what the answer shows, and what must not exist yet."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from api.preferences import preferred_return
from hubblewave_pipelines.storage.ddl import define

NOTE = {"name": "Note", "pluralName": "Notes", "fields": [{"name": "text", "type": "text"}]}
NOTES = "/api/v1/notes"
ABSENT = f"{NOTES}/0190a9a0-0000-7000-8000-000000000000"
MINIMAL = {"Prefer": "return=minimal"}
NONE_YET = {"If-None-Match": "*"}


@pytest.fixture(scope="module")
def client(standing: Any) -> Iterator[httpx.Client]:
    define(standing.owner, standing.tenant, NOTE)
    with standing.client() as client:
        yield client


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("return=minimal", "minimal"),
        ('Return = "representation"; x=1', "representation"),
        ("respond-async, wait=10, return=minimal", "minimal"),
        ("return=minimal, return=representation", "minimal"),
        ("return=all, handling=strict", None),
        ("", None),
        ("return", None),
    ],
)
def test_the_first_known_preference_counts(given: str, wanted: str | None) -> None:
    assert preferred_return(Headers({"prefer": given})) == wanted


def test_a_minimal_answer_names_the_record_and_does_not_show_it(client: httpx.Client) -> None:
    made = client.post(NOTES, json={"text": "a"}, headers=MINIMAL)
    assert (made.status_code, made.content, made.headers["etag"]) == (201, b"", '"1"')
    assert made.headers["preference-applied"] == "return=minimal"
    path = made.headers["location"]
    for method in ("PATCH", "PUT"):
        changed = client.request(method, path, json={"text": method}, headers=MINIMAL)
        assert (changed.status_code, changed.content) == (204, b"")
    assert client.get(path).json()["text"] == "PUT"
    assert changed.headers["etag"] == '"3"'
    shown = client.patch(path, json={"text": "b"}, headers={"Prefer": "return=representation"})
    assert shown.json()["text"] == "b"
    assert shown.headers["preference-applied"] == "return=representation"


def test_a_write_that_needs_the_record_heeds_if_none_match(client: httpx.Client) -> None:
    path = client.post(NOTES, json={"text": "a"}).headers["location"]
    for method, body in (("PATCH", {"text": "b"}), ("DELETE", None), ("PUT", {"text": "b"})):
        refused = client.request(method, path, json=body, headers=NONE_YET)
        assert refused.status_code == 412, (method, refused.text)
        listed = client.request(method, path, json=body, headers={"If-None-Match": '"1"'})
        assert listed.status_code == 400
    for method, body in (("PATCH", {"text": "b"}), ("DELETE", None)):
        assert client.request(method, ABSENT, json=body, headers=NONE_YET).status_code == 404
    assert client.get(path).json()["text"] == "a"
