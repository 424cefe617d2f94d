"""A record's history and restoring its versions, as clients see them."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Tenant

OWNER: dict[str, Any] = {
    "name": "Owner",
    "pluralName": "Owners",
    "fields": [{"name": "name", "type": "text"}],
}
PET: dict[str, Any] = {
    "name": "Pet",
    "pluralName": "Pets",
    "fields": [
        {"name": "name", "type": "text", "required": True},
        {"name": "tag", "type": "text", "unique": True},
        {"name": "price", "type": "decimal", "min": "0"},
        {"name": "born", "type": "datetime"},
        {"name": "extra", "type": "json"},
    ],
    "relationships": [
        {"name": "owner", "type": "manyToOne", "targetEntity": "Owner", "onDelete": "setNull"}
    ],
}
PETS = "/api/v1/pets"
ABSENT = "0190a9a0-0000-7000-8000-000000000000"


@pytest.fixture
def client(admin: httpx.Client, owner_database: Database, tenant: Tenant) -> httpx.Client:
    define(owner_database, tenant, OWNER, PET)
    return admin


def made(client: httpx.Client, plural: str = "pets", **body: Any) -> str:
    answer = client.post(f"/api/v1/{plural}", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def events(client: httpx.Client, record: str, **params: Any) -> list[dict[str, Any]]:
    answer = client.get(f"{PETS}/{record}/history", params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def changed(event: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {change["field"]: (change["from"], change["to"]) for change in event["changes"]}


def test_history_says_what_changed_when_and_by_whom(client: httpx.Client) -> None:
    record = made(client, name="Rex", price="1.50", born="2020-02-03T04:05:06Z")
    client.patch(f"{PETS}/{record}", json={"name": "Max", "extra": {"a": [1]}})
    assert client.delete(f"{PETS}/{record}").status_code == 204
    deleted, updated, created = events(client, record)
    assert [e["kind"] for e in (deleted, updated, created)] == ["deleted", "updated", "created"]
    assert [e["version"] for e in (deleted, updated, created)] == [3, 2, 1]
    assert changed(created) == {
        "name": (None, "Rex"),
        "price": (None, "1.50"),
        "born": (None, "2020-02-03T04:05:06.000000Z"),
    }
    assert changed(updated) == {"name": ("Rex", "Max"), "extra": (None, {"a": [1]})}
    assert changed(deleted)["extra"] == ({"a": [1]}, None)
    key = client.headers["x-api-key"].split("_")[2]
    assert {str(e["by"]) for e in (deleted, updated, created)} == {
        str({"type": "apiKey", "id": key, "name": "test"})
    }
    assert deleted["at"] > updated["at"] > created["at"]


def test_a_reference_set_null_by_a_delete_is_in_the_history(client: httpx.Client) -> None:
    owner = made(client, "owners", name="Ada")
    record = made(client, name="Rex", ownerId=owner)
    assert client.delete(f"/api/v1/owners/{owner}").status_code == 204
    newest = events(client, record)[0]
    assert (newest["version"], newest["kind"]) == (2, "updated")
    assert changed(newest) == {"ownerId": (owner, None)}
    assert newest["by"]["type"] == "apiKey"
    assert client.get(f"{PETS}/{record}").headers["etag"] == '"2"'


def test_pages_of_history_concatenated_equal_the_whole_while_it_grows(client: httpx.Client) -> None:
    record = made(client, name="0")
    for number in range(1, 7):
        client.patch(f"{PETS}/{record}", json={"name": str(number)})
    client.delete(f"{PETS}/{record}")
    client.post(f"{PETS}/{record}/restore", json={"version": 3})
    whole = events(client, record)
    assert [e["version"] for e in whole] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    for size in (1, 2, 3, 8, 9):
        found, after, page = [], None, 0
        while True:
            params = {"pageSize": size} | ({} if after is None else {"after": after})
            answer = client.get(f"{PETS}/{record}/history", params=params).json()
            assert len(answer["items"]) <= size
            found += answer["items"]
            client.patch(f"{PETS}/{record}", json={"name": f"later {size} {page}"})
            page += 1
            after = answer["pageInfo"]["endCursor"]
            assert answer["pageInfo"]["hasNextPage"] == (after is not None)
            if after is None:
                break
        newest = max(e["version"] for e in found)
        assert [e["version"] for e in found] == list(range(newest, 0, -1))
        assert found[-9:] == whole


def test_a_version_is_restored_as_a_new_one(client: httpx.Client) -> None:
    record = made(client, name="Rex", tag="a", price="1.50")
    client.put(f"{PETS}/{record}", json={"name": "Max"})
    answer = client.post(f"{PETS}/{record}/restore", json={"version": 1})
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == '"3"'
    assert answer.json() | {"name": "Rex", "tag": "a", "price": "1.50", "version": 3} == (
        answer.json()
    )
    assert client.get(f"{PETS}/{record}").json() == answer.json()
    # The present version is there already: nothing is written.
    again = client.post(f"{PETS}/{record}/restore", json={"version": 3})
    assert (again.status_code, again.json()) == (200, answer.json())


def test_a_deleted_record_comes_back_with_its_id_and_a_higher_version(client: httpx.Client) -> None:
    record = made(client, name="Rex")
    before = client.get(f"{PETS}/{record}").json()
    client.delete(f"{PETS}/{record}")
    answer = client.post(f"{PETS}/{record}/restore", json={"version": 1})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{PETS}/{record}"
    now = client.get(f"{PETS}/{record}").json()
    assert now == answer.json()
    assert now == before | {"version": 3, "updatedAt": now["updatedAt"]}
    assert [e["kind"] for e in events(client, record)] == ["restored", "deleted", "created"]


def test_a_restore_obeys_if_match_and_the_rules_of_today(
    client: httpx.Client, connect: Any, key_for: Any, tenant: Tenant
) -> None:
    owner = made(client, "owners", name="Ada")
    record = made(client, name="Rex", tag="a", ownerId=owner)
    path = f"{PETS}/{record}/restore"
    client.patch(f"{PETS}/{record}", json={"tag": "b", "ownerId": None})
    stale = client.post(path, json={"version": 1}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "record.version_conflict")
    other = made(client, name="Max", tag="a")
    taken = client.post(path, json={"version": 1}, headers={"If-Match": '"2"'})
    assert (taken.status_code, taken.json()["errors"][0]["pointer"]) == (409, "#/tag")
    client.delete(f"{PETS}/{other}")
    client.delete(f"/api/v1/owners/{owner}")
    gone = client.post(path, json={"version": 1})
    assert (gone.status_code, gone.json()["errors"][0]["pointer"]) == (422, "#/ownerId")
    client.delete(f"{PETS}/{record}")
    absent = client.post(path, json={"version": 2}, headers={"If-Match": '"2"'})
    assert absent.status_code == 412
    reader = connect(key_for(tenant, "read"))
    assert reader.post(path, json={"version": 2}).status_code == 403
    assert reader.get(f"{PETS}/{record}/history").status_code == 200
    assert client.post(path, json={"version": 2}).status_code == 201


def test_a_field_required_since_takes_its_default_in_a_restore(client: httpx.Client) -> None:
    record = made(client, name="Rex")
    client.patch(f"{PETS}/{record}", json={"name": "Max"})
    size = {"name": "size", "type": "text", "required": True, "default": "100 %"}
    changed = client.put("/api/v1/entities/Pet", json={**PET, "fields": [*PET["fields"], size]})
    assert changed.status_code == 200, changed.text
    answer = client.post(f"{PETS}/{record}/restore", json={"version": 1})
    assert answer.status_code == 200, answer.text
    assert answer.json()["size"] == "100 %"
    assert answer.json()["name"] == "Rex"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ([], 422),
        ({"version": "1"}, 422),
        ({"version": True}, 422),
        ({"version": 0}, 422),
        ({"version": 1.5}, 422),
        ({"version": 2**63}, 422),
        ({"version": 1, "x": 2}, 422),
        ({"version": 2**63 - 1}, 404),
        ({"version": 7}, 404),
    ],
    ids=repr,
)
def test_a_bad_restore_is_refused_and_changes_nothing(
    client: httpx.Client, body: Any, status: int
) -> None:
    record = made(client, name="Rex")
    answer = client.post(f"{PETS}/{record}/restore", json=body)
    assert answer.status_code == status, answer.text
    assert client.get(f"{PETS}/{record}").json()["version"] == 1


def test_what_never_was_has_no_history(client: httpx.Client, other_admin: httpx.Client) -> None:
    record = made(client, name="Rex")
    for path in (f"{PETS}/{ABSENT}/history", f"{PETS}/x/history", "/api/v1/nothing/x/history"):
        assert client.get(path).status_code == 404
    assert client.post(f"{PETS}/{ABSENT}/restore", json={"version": 1}).status_code == 404
    assert client.delete(f"{PETS}/{record}/history").status_code == 405
    assert other_admin.get(f"{PETS}/{record}/history").status_code == 404


def test_another_tenants_history_is_as_if_it_did_not_exist(
    client: httpx.Client, other_admin: httpx.Client, owner_database: Database, other_tenant: Tenant
) -> None:
    define(owner_database, other_tenant, OWNER, PET)
    record = made(client, name="Rex")
    client.patch(f"{PETS}/{record}", json={"name": "Max"})
    assert other_admin.get(f"{PETS}/{record}/history").status_code == 404
    answer = other_admin.post(f"{PETS}/{record}/restore", json={"version": 1})
    assert answer.status_code == 404
    cursor = client.get(f"{PETS}/{record}/history", params={"pageSize": 1}).json()
    theirs = made(other_admin, name="Theirs")
    after = {"after": cursor["pageInfo"]["endCursor"]}
    for stranger, path in ((other_admin, theirs), (client, made(client, name="Other"))):
        refused = stranger.get(f"{PETS}/{path}/history", params=after)
        assert (refused.status_code, refused.json()["code"]) == (400, "request.cursor_mismatch")


@pytest.mark.parametrize(
    "params",
    [{"after": "x"}, {"after": "é"}, {"after": ""}, {"pageSize": "0"}, {"page": "1"}],
    ids=repr,
)
def test_bad_parameters_of_history_are_refused(client: httpx.Client, params: Any) -> None:
    record = made(client, name="Rex")
    assert client.get(f"{PETS}/{record}/history", params=params).status_code == 400


edits: st.SearchStrategy[list[tuple[str, Any]]] = st.lists(
    st.one_of(
        st.tuples(
            st.just("patch"),
            st.fixed_dictionaries(
                {},
                optional={
                    "name": st.sampled_from(["a", "b"]),
                    "price": st.sampled_from(["1", "1.0", "2"]) | st.none(),
                    "extra": st.sampled_from([None, {"k": 1}, [], 0]),
                },
            ).filter(bool),
        ),
        st.tuples(st.just("delete"), st.none()),
        st.tuples(st.just("restore"), st.integers(1, 8)),
    ),
    max_size=10,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=edits)
def test_the_history_of_any_edits_equals_what_was_seen(
    client: httpx.Client, edits: list[tuple[str, Any]]
) -> None:
    """The oracle reads the record after each edit and compares it with what it was before."""
    fields = ("name", "tag", "price", "born", "extra", "ownerId")
    record = made(client, name="a")
    path = f"{PETS}/{record}"
    seen: dict[int, dict[str, Any]] = {}
    expected: list[tuple[str, int, dict[str, tuple[Any, Any]]]] = []
    nothing = dict.fromkeys(fields)
    state: dict[str, Any] | None = None
    version = 0

    def note(kind: str, new: dict[str, Any] | None, at: int) -> None:
        nonlocal state, version
        old, now = state or nothing, new or nothing
        differing = {f: (old[f], now[f]) for f in fields if old[f] != now[f]}
        expected.insert(0, (kind, at, differing))
        state, version = new, at
        if new is not None:
            seen[at] = new

    def read() -> dict[str, Any]:
        got: dict[str, Any] = client.get(path).json()
        return {f: got[f] for f in fields}

    note("created", read(), 1)
    for what, detail in edits:
        if what == "delete":
            status = client.delete(path).status_code
            assert status == (404 if state is None else 204)
            if state is not None:
                note("deleted", None, version + 1)
        elif what == "patch":
            status = client.patch(path, json=detail).status_code
            assert status == (404 if state is None else 200)
            if state is not None:
                note("updated", read(), version + 1)
        else:
            was_there, present = state is not None, state is not None and detail == version
            answer = client.post(f"{path}/restore", json={"version": detail})
            if detail not in seen:
                assert answer.status_code == 404
            elif not present:
                assert answer.status_code == (200 if was_there else 201), answer.text
                assert {f: answer.json()[f] for f in fields} == seen[detail]
                note("updated" if was_there else "restored", read(), version + 1)
    found = events(client, record)
    assert [(e["kind"], e["version"], changed(e)) for e in found] == expected
