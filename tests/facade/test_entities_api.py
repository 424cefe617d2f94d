"""Entity definitions over HTTP: create, read, replace, preview, remove, and every refusal."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.tenants import Tenant

ENTITIES = "/api/v1/entities"
CONTACT: dict[str, Any] = {
    "name": "Contact",
    "pluralName": "Contacts",
    "description": "A person",
    "fields": [
        {"name": "email", "type": "email", "required": True, "unique": True},
        {"name": "tier", "type": "enum", "enum": ["gold", "silver"], "default": "silver"},
    ],
}


def wider(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**CONTACT, "fields": [*CONTACT["fields"], *fields], **more}


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert "select" not in found["detail"].lower()
    return found


def pointers(found: dict[str, Any]) -> set[str]:
    return {error["pointer"] for error in found["errors"]}


def test_a_defined_entity_serves_records_at_once(admin: httpx.Client) -> None:
    answer = admin.post(ENTITIES, json=CONTACT)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{ENTITIES}/Contact"
    assert answer.json()["slug"] == "contacts"
    created = admin.post("/api/v1/contacts", json={"email": "a@example.org"})
    assert created.status_code == 201, created.text
    assert created.json()["tier"] == "silver"
    assert admin.get(answer.headers["location"]).json() == answer.json()


def test_what_get_shows_put_takes_back_unchanged(
    admin: httpx.Client, owner_database: Database
) -> None:
    admin.post(ENTITIES, json=CONTACT)
    shown = admin.get(f"{ENTITIES}/Contact").json()
    answer = admin.put(f"{ENTITIES}/Contact", json=shown)
    assert (answer.status_code, answer.json()) == (200, shown)
    with owner_database.transaction() as tx:
        assert tx.one(statement("select count(*) from hubblewave.schema_changes")) == (1,)


def test_the_list_is_paged_and_ordered_by_name(admin: httpx.Client) -> None:
    for name in ("bee", "Ant", "Cow"):
        body = {"name": name, "pluralName": f"{name}s", "fields": []}
        assert admin.post(ENTITIES, json=body).status_code == 201
    first = admin.get(ENTITIES, params={"pageSize": 2}).json()
    assert [e["name"] for e in first["items"]] == ["Ant", "bee"]
    assert (first["pageInfo"]["totalItems"], first["pageInfo"]["hasNextPage"]) == (3, True)
    second = admin.get(ENTITIES, params={"pageSize": 2, "page": 2}).json()
    assert [e["name"] for e in second["items"]] == ["Cow"]
    problem(admin.get(ENTITIES, params={"pageSize": 0}), 400)
    problem(admin.get(ENTITIES, params={"sort": "name"}), 400)


def test_every_fault_of_a_definition_is_named_in_one_answer(admin: httpx.Client) -> None:
    body = {
        "name": "1",
        "pluralName": "webhooks",
        "fields": [{"name": "id", "type": "string"}, {"name": "A", "type": "text", "min": 1}],
        "relationships": [{"name": "a", "type": "manyToOne", "targetEntity": "Nobody"}],
    }
    found = problem(admin.post(ENTITIES, json=body), 422)
    assert found["code"] == "request.invalid"
    assert pointers(found) == {
        "#/name",
        "#/pluralName",
        "#/fields/0/name",
        "#/fields/0/type",
        "#/fields/1/min",
        "#/relationships/0/targetEntity",
        "#/relationships/0/name",
    }
    assert admin.get(ENTITIES).json()["items"] == []


BAD_BODIES = [
    (b"", 400),
    (b"{", 400),
    (b"null", 422),
    (b"[]", 422),
    (b'"Contact"', 422),
    (b'{"name":"A","name":"B"}', 400),
    (b'{"name":"\\u0000"}', 422),
    (b'{"name":"A","pluralName":"As","fields":[{"name":"f","type":"number","max":1e999}]}', 422),
    (b'{"name":"A","pluralName":"As","fields":[{"name":"f","type":"json","default":9e999}]}', 422),
    (
        b'{"name":"A","pluralName":"As","fields":[{"name":"f","type":"decimal","max":1'
        + b"0" * 400
        + b"}]}",
        201,
    ),
    (
        b'{"name":"A","pluralName":"As","fields":[{"name":"f","type":"json","default":[1'
        + b"0" * 40
        + b"]}]}",
        422,
    ),
    (b'{"name":"A","pluralName":"As","fields":' + b"[" * 100 + b"]" * 100 + b"}", 400),
]


@pytest.mark.parametrize(("body", "status"), BAD_BODIES, ids=lambda value: str(value)[:60])
def test_an_odd_body_gets_a_clear_answer(admin: httpx.Client, body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    answer = admin.post(ENTITIES, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert admin.get(ENTITIES).status_code == 200


def test_a_null_body_never_removes_an_entity(admin: httpx.Client) -> None:
    admin.post(ENTITIES, json=CONTACT)
    headers = {"Content-Type": "application/json"}
    problem(admin.put(f"{ENTITIES}/Contact", content=b"null", headers=headers), 422)
    assert admin.get(f"{ENTITIES}/Contact").status_code == 200


def test_a_body_that_is_not_json_is_refused_by_its_type(admin: httpx.Client) -> None:
    problem(admin.post(ENTITIES, content=b"a: 1", headers={"Content-Type": "text/yaml"}), 415)


def test_a_name_that_is_taken_is_a_conflict(admin: httpx.Client) -> None:
    admin.post(ENTITIES, json=CONTACT)
    found = problem(admin.post(ENTITIES, json={**CONTACT, "name": "CONTACT"}), 409)
    assert pointers(found) == {"#/name", "#/pluralName"}


def test_an_unknown_entity_is_not_found_with_the_nearest_name(admin: httpx.Client) -> None:
    admin.post(ENTITIES, json=CONTACT)
    found = problem(admin.get(f"{ENTITIES}/Contakt"), 404)
    assert 'did you mean "Contact"?' in found["detail"]
    problem(admin.put(f"{ENTITIES}/Nothing", json=CONTACT), 404)
    problem(admin.delete(f"{ENTITIES}/Nothing"), 404)


def test_unknown_parameters_are_refused(admin: httpx.Client) -> None:
    found = problem(admin.post(ENTITIES, params={"dryrun": "true"}, json=CONTACT), 400)
    assert found["errors"][0]["parameter"] == "dryrun"
    assert 'did you mean "dryRun"?' in found["errors"][0]["detail"]
    problem(admin.post(ENTITIES, params={"dryRun": "yes"}, json=CONTACT), 400)
    problem(admin.post(ENTITIES, params={"force": "true"}, json=CONTACT), 400)
    assert admin.get(ENTITIES).json()["items"] == []


def test_a_dry_run_says_the_steps_and_does_none(admin: httpx.Client) -> None:
    plan = admin.post(ENTITIES, params={"dryRun": "true"}, json=CONTACT)
    assert plan.status_code == 200
    assert plan.json()["steps"]
    assert admin.get(ENTITIES).json()["items"] == []
    admin.post(ENTITIES, json=CONTACT)
    body = wider({"name": "phone", "type": "text"})
    harmless = admin.put(f"{ENTITIES}/Contact", params={"dryRun": "true"}, json=body).json()
    assert (harmless["breaking"], harmless["rewrite"], harmless["destructive"]) == (False,) * 3
    assert {"description", "lock", "rewrite", "breaking"} <= harmless["steps"][0].keys()
    assert "sql" not in harmless["steps"][0]
    narrower = {**CONTACT, "fields": CONTACT["fields"][:1]}
    harmful = admin.put(f"{ENTITIES}/Contact", params={"dryRun": "true"}, json=narrower).json()
    assert harmful["breaking"]
    gone = admin.delete(f"{ENTITIES}/Contact", params={"dryRun": "true"}).json()
    assert gone["destructive"]
    problem(admin.put(f"{ENTITIES}/Contact", params={"dryRun": "true"}, json={}), 422)
    assert len(admin.get(f"{ENTITIES}/Contact").json()["fields"]) == 2


def test_a_change_the_records_do_not_allow_is_a_conflict(admin: httpx.Client) -> None:
    admin.post(ENTITIES, json=CONTACT)
    admin.post("/api/v1/contacts", json={"email": "a@example.org"})
    required = wider({"name": "phone", "type": "text", "required": True})
    for parameters in ({}, {"dryRun": "true"}):
        found = problem(admin.put(f"{ENTITIES}/Contact", json=required, params=parameters), 409)
        assert pointers(found) == {"#/fields/2/required"}
    other_type = {**CONTACT, "fields": [{"name": "email", "type": "integer"}]}
    problem(admin.put(f"{ENTITIES}/Contact", json=other_type), 409)
    problem(admin.delete(f"{ENTITIES}/Contact"), 409)
    assert admin.delete(f"{ENTITIES}/Contact", params={"force": "true"}).status_code == 204
    problem(admin.get("/api/v1/contacts"), 404)
    problem(admin.get(f"{ENTITIES}/Contact"), 404)


def test_a_renamed_entity_moves_with_its_records(admin: httpx.Client) -> None:
    shown = admin.post(ENTITIES, json=CONTACT).json()
    admin.post("/api/v1/contacts", json={"email": "a@example.org"})
    shown |= {"name": "Person", "pluralName": "People"}
    shown["fields"][0]["name"] = "mail"
    assert admin.put(f"{ENTITIES}/Contact", json=shown).status_code == 200
    (record,) = admin.get("/api/v1/people").json()["items"]
    assert record["mail"] == "a@example.org"
    problem(admin.get("/api/v1/contacts"), 404)


@pytest.mark.parametrize(("scope", "change"), [("read", 403), ("write", 403), ("admin", 201)])
def test_only_admins_change_definitions(
    connect: Callable[..., httpx.Client],
    key_for: Callable[..., str],
    tenant: Tenant,
    scope: str,
    change: int,
) -> None:
    client = connect(key_for(tenant, scope))
    assert client.post(ENTITIES, json=CONTACT).status_code == change
    assert client.get(ENTITIES).status_code == 200
    anonymous = connect(None)
    problem(anonymous.get(ENTITIES), 401)
    problem(anonymous.delete(f"{ENTITIES}/Contact"), 401)


def test_tenants_have_entities_of_the_same_name_and_never_meet(
    admin: httpx.Client, other_admin: httpx.Client
) -> None:
    admin.post(ENTITIES, json=CONTACT)
    problem(other_admin.get(f"{ENTITIES}/Contact"), 404)
    problem(other_admin.get("/api/v1/contacts"), 404)
    problem(other_admin.delete(f"{ENTITIES}/Contact"), 404)
    other_admin.post(ENTITIES, json={**CONTACT, "fields": []})
    assert len(admin.get(f"{ENTITIES}/Contact").json()["fields"]) == 2
    assert other_admin.get(f"{ENTITIES}/Contact").json()["fields"] == []


def test_a_method_that_is_not_offered_says_which_are(admin: httpx.Client) -> None:
    found = admin.patch(f"{ENTITIES}/Contact", json={})
    problem(found, 405)
    assert found.headers["allow"] == "DELETE, GET, PUT"


def test_the_ledger_knows_who_changed_what(admin: httpx.Client, owner_database: Database) -> None:
    admin.post(ENTITIES, json=CONTACT)
    with owner_database.transaction() as tx:
        row = tx.one(
            statement(
                "select c.state, k.name from hubblewave.schema_changes c "
                "join hubblewave.api_keys k on k.actor_id = c.requested_by"
            )
        )
    assert row == ("done", "test")
