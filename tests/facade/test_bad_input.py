"""Whatever is sent, the answer is a problem document with its place, and never a 500."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.storage.ddl import define

THING = {
    "name": "Thing",
    "pluralName": "Things",
    "fields": [
        {"name": "name", "type": "text"},
        {"name": "count", "type": "integer"},
        {"name": "score", "type": "number"},
        {"name": "on", "type": "date"},
        {"name": "flag", "type": "boolean"},
        {"name": "data", "type": "json"},
        {"name": "tier", "type": "enum", "enum": ["gold", "silver"]},
        {"name": "ref", "type": "uuid"},
    ],
}
ABSENT = "0190a9a0-0000-7000-8000-000000000000"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client(standing: Any) -> Iterator[httpx.Client]:
    define(standing.owner, standing.tenant, THING)
    with standing.client() as client:
        yield client


@pytest.fixture(autouse=True)
def emptied(client: httpx.Client) -> Iterator[None]:
    """Each test finds no thing."""
    yield
    for thing in client.get("/api/v1/things").json()["items"]:
        client.delete(f"/api/v1/things/{thing['id']}")


def check_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail", "code", "instance"} <= problem.keys()
    assert not {"select", "hubblewave.", "psycopg"} & set(problem["detail"].lower().split())
    return problem


BODIES: list[tuple[bytes, int, str | None]] = [
    (b"", 400, None),
    (b"{", 400, None),
    (b'{"name":"a"} x', 400, None),
    (b'{"name":"\xff"}', 400, None),
    (b"\xef\xbb\xbf{}", 400, None),
    (b'{"name":"\\ud800"}', 400, "#/name"),
    (b'{"data":{"a":["\\udfff"]}}', 400, "#/data/a/0"),
    (b'{"name":"a\\u0000b"}', 422, "#/name"),
    (b'{"data":{"\\u0000":1}}', 400, "#/data"),
    (b'{"name":"a","name":"b"}', 400, "#/name"),
    (b'{"data":{"x":{"a":1,"a":2}}}', 400, "#/data/x/a"),
    (b'{"data":' + b"[" * 70 + b"]" * 70 + b"}", 400, None),
    (b'{"data":' + b"[" * 200_000 + b"]" * 200_000 + b"}", 400, None),
    (b'{"score":NaN}', 400, None),
    (b'{"score":-Infinity}', 400, None),
    (b'{"score":1e400}', 422, "#/score"),
    (b'{"data":[1e400]}', 422, "#/data"),
    (b'{"count":9223372036854775808}', 422, "#/count"),
    (b'{"count":' + b"9" * 400 + b"}", 422, "#/count"),
    (b'{"count":' + b"9" * 5000 + b"}", 400, None),
    (b'{"count":1.0}', 422, "#/count"),
    (b'{"count":true}', 422, "#/count"),
    (b'{"count":"1"}', 422, "#/count"),
    (b'{"name":1}', 422, "#/name"),
    (b'{"flag":"true"}', 422, "#/flag"),
    (b'{"on":"2026-02-30"}', 422, "#/on"),
    (b'{"tier":"lead"}', 422, "#/tier"),
    (b'{"ref":"x"}', 422, "#/ref"),
    (b'{"constructor":1}', 422, "#/constructor"),
    (b'{"a/b~c":1}', 422, "#/a~1b~0c"),
    (b"[]", 422, "#"),
    (b"null", 422, "#"),
    (b'"x"', 422, "#"),
]


@pytest.mark.parametrize(("body", "status", "pointer"), BODIES, ids=lambda v: repr(v)[:40])
def test_a_bad_body_is_refused_with_its_place(
    client: httpx.Client, body: bytes, status: int, pointer: str | None
) -> None:
    problem = check_problem(client.post("/api/v1/things", content=body, headers=JSON), status)
    if pointer is not None:
        assert pointer in [error["pointer"] for error in problem["errors"]]
    assert client.get("/api/v1/things").json()["items"] == []


PARAMETERS = [
    "pagesize=1",
    "page=0",
    "page=-1",
    "page=x",
    "page=99999999999999999999",
    "page=1&page=2",
    "pageSize=0",
    "pageSize=1001",
    "page=100000&pageSize=1000",
    "sort=nme",
    "sort=",
    "sort=data",
    "sort=name,-name",
    "sort=name.nullsSecond",
    "fields=",
    "fields=name,secret",
    "count=all",
    "filter=x",
    "filter[]=x",
    "filter[name=x",
    "filter[nme]=x",
    "filter[name][likes]=x",
    "filter[name][like]=x\\",
    "filter[score][between]=1",
    "filter[name][startsWith][x]=1",
    "filter[flag][between]=true,false",
    "filter[name][eq][x]=x",
    "filter[count]=x",
    "filter[count]=99999999999999999999",
    "filter[count][contains]=1",
    "filter[flag][gt]=true",
    "filter[flag]=maybe",
    "filter[data]=x",
    "filter[on]=yesterday",
    "filter[id]=x",
    "filter[ref]=x",
    "filter[tier]=lead",
    "filter[name][in]=",
    "filter[name][in]=a\\",
    "filter[name]=a&filter[name]=b",
    "filter[name]=%00",
    "filter[name][isNull]=perhaps",
    "where=x",
    "where=[]",
    'where={"name":null}',
    'where={"nme":"x"}',
    'where={"name":{}}',
    'where={"name":{"in":[]}}',
    'where={"name":{"in":"x"}}',
    'where={"name":{"eq":1}}',
    'where={"and":[]}',
    'where={"and":{"name":"x"}}',
    'where={"count":1,"count":2}',
    "where=" + '{"not":' * 10 + '{"name":"x"}' + "}" * 10,
    "where=" + "[" * 5000,
    "after=x",
    "after=",
    "after=%FF",
    "after=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "after=x&before=y",
    "after=x&page=2",
]


@pytest.mark.parametrize("query", PARAMETERS, ids=lambda q: q[:40])
def test_a_bad_parameter_is_refused(client: httpx.Client, query: str) -> None:
    problem = check_problem(client.get(f"/api/v1/things?{query}"), 400)
    if problem["code"] != "request.cursor_mismatch":
        assert all(error["parameter"] and error["detail"] for error in problem["errors"])


def test_a_misspelt_parameter_gets_a_suggestion(client: httpx.Client) -> None:
    problem = check_problem(client.get("/api/v1/things?pagesize=1&filter[scor]=1"), 400)
    details = {error["parameter"]: error["detail"] for error in problem["errors"]}
    assert "did you mean pageSize?" in details["pagesize"]
    assert "did you mean score?" in details["filter[scor]"]


def test_a_filter_of_too_many_conditions_is_refused(client: httpx.Client) -> None:
    where = json.dumps({"or": [{"count": number} for number in range(201)]})
    check_problem(client.get("/api/v1/things", params={"where": where}), 400)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/v1",
        "/api/v1/",
        "/api/v2/things",
        "/api/v1/nothings",
        "/api/v1/things/",
        f"/api/v1/things/{ABSENT}",
        f"/api/v1/things/{ABSENT}/more",
        "/api/v1/things/not-a-uuid",
        "/api/v1/things/%00",
        "/api/v1/%F0%9F%92%A9",
        "/api/v1/e_abcdefgh",
    ],
)
def test_an_unknown_path_is_not_found(client: httpx.Client, path: str) -> None:
    check_problem(client.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/api/v1/things", "GET, HEAD, POST"),
        ("TRACE", "/api/v1/things", "GET, HEAD, POST"),
        ("QUERY", "/api/v1/things", "GET, HEAD, POST"),
        ("POST", f"/api/v1/things/{ABSENT}", "GET, HEAD, PUT, PATCH, DELETE"),
        ("PUT", "/api/v1/api-keys", "GET, POST"),
        ("POST", "/health", "GET"),
    ],
)
def test_a_method_that_is_not_offered_names_those_that_are(
    client: httpx.Client, method: str, path: str, allow: str
) -> None:
    answer = client.request(method, path)
    check_problem(answer, 405)
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "media", [None, "text/plain", "application/x-www-form-urlencoded", "application/json;charset=x"]
)
def test_another_content_type_is_refused(client: httpx.Client, media: str | None) -> None:
    headers = {} if media is None else {"Content-Type": media}
    check_problem(client.post("/api/v1/things", content=b"{}", headers=headers), 415)


def test_a_json_patch_is_refused_and_a_merge_patch_taken(client: httpx.Client) -> None:
    path = client.post("/api/v1/things", json={"name": "a"}).headers["location"]
    patch = {"Content-Type": "application/json-patch+json"}
    check_problem(client.patch(path, content=b"[]", headers=patch), 415)
    merge = {"Content-Type": "application/merge-patch+json; charset=utf-8"}
    assert client.patch(path, content=b'{"name":null}', headers=merge).json()["name"] is None
    check_problem(client.patch(path, json={}), 422)


def test_an_accept_header_that_cannot_be_met_is_refused(client: httpx.Client) -> None:
    check_problem(client.get("/api/v1/things", headers={"Accept": "text/html"}), 406)
    for accept in ("*/*", "application/*;q=0.5", "text/html, application/json"):
        assert client.get("/api/v1/things", headers={"Accept": accept}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "hw_live_nonsense"},
        {"X-API-Key": ""},
        {"X-API-Key": "hw_live_aaaaaaaa_" + "A" * 43 + "00000000"},
        {"Authorization": "Basic eDp5"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
    ],
    ids=str,
)
def test_a_request_without_a_good_credential_is_refused(
    client: httpx.Client, headers: dict[str, str]
) -> None:
    nameless = httpx.Client(base_url=client.base_url)
    for method, path in (("GET", "/api/v1/things"), ("GET", "/api/v1/api-keys")):
        answer = nameless.request(method, path, headers=headers)
        assert check_problem(answer, 401)["code"] == "auth.unauthenticated"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    nameless.close()


def test_a_bearer_token_is_as_good_as_the_header(client: httpx.Client) -> None:
    key = client.headers["X-API-Key"]
    with httpx.Client(base_url=client.base_url) as other:
        answer = other.get("/api/v1/things", headers={"Authorization": f"bearer {key}"})
        assert answer.status_code == 200
        both = {"Authorization": f"Bearer {key}", "X-API-Key": "hw_live_other"}
        check_problem(other.get("/api/v1/things", headers=both), 401)


@pytest.mark.parametrize("path", ["/api/v1/things", "/api/v1/api-keys"])
def test_a_body_over_the_limit_is_refused(client: httpx.Client, path: str) -> None:
    big = b'{"name":"' + b"x" * 10_000_000 + b'"}'

    def chunks() -> Any:
        for start in range(0, len(big), 1 << 16):
            yield big[start : start + (1 << 16)]

    check_problem(client.post(path, content=big, headers=JSON), 413)
    check_problem(client.post(path, content=chunks(), headers=JSON), 413)
    bomb = gzip.compress(b'{"name":"' + b"x" * 200_000_000 + b'"}', 9)
    assert len(bomb) < 1_000_000
    zipped = {**JSON, "Content-Encoding": "gzip"}
    check_problem(client.post(path, content=bomb, headers=zipped), 413)


def test_a_compressed_body_is_read(client: httpx.Client) -> None:
    zipped = {**JSON, "Content-Encoding": "gzip"}
    body = gzip.compress(b'{"name":"packed"}')
    assert client.post("/api/v1/things", content=body, headers=zipped).status_code == 201
    check_problem(client.post("/api/v1/things", content=body[:-6], headers=zipped), 400)
    check_problem(client.post("/api/v1/things", content=b"{}", headers=zipped), 400)
    check_problem(client.post("/api/v1/things", content=body + b"x", headers=zipped), 400)
    brotli = {**JSON, "Content-Encoding": "br"}
    check_problem(client.post("/api/v1/things", content=b"{}", headers=brotli), 415)


def test_parameters_on_a_write_are_refused(client: httpx.Client) -> None:
    check_problem(client.post("/api/v1/things?atomic=true", json={"name": "a"}), 400)
    assert client.get("/api/v1/things").json()["items"] == []
