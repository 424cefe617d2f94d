"""Pairs of a manyToMany over HTTP: linking twice is one link, from whichever side."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Tenant

TAG = {"name": "Tag", "pluralName": "Tags", "fields": [{"name": "word", "type": "text"}]}
POST = {
    "name": "Post",
    "pluralName": "Posts",
    "fields": [{"name": "title", "type": "text"}],
    "relationships": [
        {"name": "tags", "type": "manyToMany", "targetEntity": "Tag"},
        {"name": "similar", "type": "manyToMany", "targetEntity": "Post"},
        {"name": "answers", "type": "manyToOne", "targetEntity": "Post"},
    ],
}
BACK = {"name": "posts", "type": "manyToMany", "targetEntity": "Post", "field": "tags"}
ABSENT = "0190a9a0-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def client(standing: Any) -> Iterator[httpx.Client]:
    define(standing.owner, standing.tenant, TAG, POST)
    with standing.client() as client:
        back = {**TAG, "relationships": [BACK]}
        assert client.put("/api/v1/entities/Tag", json=back).status_code == 200
        yield client


@pytest.fixture
def post(client: httpx.Client) -> str:
    made = client.post("/api/v1/posts", json={"title": "p"})
    return str(made.headers["location"])


@pytest.fixture
def tag(client: httpx.Client) -> str:
    made = client.post("/api/v1/tags", json={"word": "t"})
    return str(made.headers["location"])


def related(client: httpx.Client, path: str) -> list[str]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def id_of(path: str) -> str:
    return path.rsplit("/", 1)[1]


def test_linking_twice_is_one_link_and_unlinking_twice_is_none(
    client: httpx.Client, post: str, tag: str
) -> None:
    pair = f"{post}/tags/{id_of(tag)}"
    assert [client.put(pair).status_code for _ in range(2)] == [204, 204]
    assert related(client, f"{post}/tags") == [id_of(tag)]
    assert related(client, f"{tag}/posts") == [id_of(post)]
    assert [client.delete(pair).status_code for _ in range(2)] == [204, 204]
    assert related(client, f"{post}/tags") == []


def test_a_pair_made_from_one_side_is_ended_from_the_other(
    client: httpx.Client, post: str, tag: str
) -> None:
    assert client.put(f"{tag}/posts/{id_of(post)}").status_code == 204
    assert related(client, f"{post}/tags") == [id_of(tag)]
    assert client.delete(f"{post}/tags/{id_of(tag)}").status_code == 204
    assert related(client, f"{tag}/posts") == []


def test_a_link_within_one_entity_has_a_direction(client: httpx.Client, post: str) -> None:
    other = client.post("/api/v1/posts", json={"title": "q"}).headers["location"]
    assert client.put(f"{post}/similar/{id_of(other)}").status_code == 204
    assert related(client, f"{post}/similar") == [id_of(other)]
    assert related(client, f"{other}/similar") == []


def test_deleting_a_record_ends_its_pairs(client: httpx.Client, post: str, tag: str) -> None:
    client.put(f"{post}/tags/{id_of(tag)}")
    assert client.delete(tag).status_code == 204
    assert related(client, f"{post}/tags") == []


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_what_is_not_there_is_named(client: httpx.Client, post: str, tag: str, method: str) -> None:
    def detail(path: str) -> str:
        refused = client.request(method, path)
        assert refused.status_code == 404, refused.text
        return str(refused.json()["detail"])

    assert detail(f"{post}/tags/{ABSENT}") == f"There is no Tag {ABSENT}."
    assert detail(f"{post}/tags/x") == "There is no Tag x."
    assert detail(f"/api/v1/posts/{ABSENT}/tags/{id_of(tag)}") == f"There is no Post {ABSENT}."
    assert detail(f"/api/v1/posts/x/tags/{id_of(tag)}") == "There is no Post x."
    assert "did you mean" in detail(f"{post}/tgas/{id_of(tag)}")
    assert "change answersId of the Post" in detail(f"{post}/answers/{id_of(post)}")
    assert detail(f"/api/v1/nothings/{ABSENT}/tags/{ABSENT}").startswith("There is nothing at")


def test_a_pair_answers_put_and_delete(client: httpx.Client, post: str, tag: str) -> None:
    refused = client.post(f"{post}/tags/{id_of(tag)}")
    assert (refused.status_code, refused.headers["allow"]) == (405, "PUT, DELETE")
    assert client.put(f"{post}/tags/{id_of(tag)}?x=1").status_code == 400
    assert client.get(f"{post}/tags/{id_of(tag)}/more").status_code == 404


def test_another_tenants_records_cannot_be_linked(
    admin: httpx.Client, other_admin: httpx.Client, owner_database: Database,
    tenant: Tenant, other_tenant: Tenant,
) -> None:  # fmt: skip
    for whose in (tenant, other_tenant):
        define(owner_database, whose, TAG, POST)
    post = admin.post("/api/v1/posts", json={"title": "p"}).headers["location"]
    own = other_admin.post("/api/v1/posts", json={"title": "p"}).headers["location"]
    tag = id_of(admin.post("/api/v1/tags", json={"word": "t"}).headers["location"])
    assert other_admin.put(f"{post}/tags/{tag}").status_code == 404
    assert other_admin.put(f"{own}/tags/{tag}").status_code == 404
