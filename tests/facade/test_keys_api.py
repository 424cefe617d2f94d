"""API keys over HTTP: shown once, scoped, expiring, revoked at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant

PATH = "/api/v1/api-keys"


def test_a_key_works_is_shown_once_and_is_revoked(admin: httpx.Client, connect: Any) -> None:
    answer = admin.post(PATH, json={"name": "reports", "scopes": ["read"]})
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"{PATH}/{made['id']}"
    assert made["key"].startswith(f"hw_live_{made['id']}_")
    shown = admin.get(f"{PATH}/{made['id']}").json()
    assert shown == {name: value for name, value in made.items() if name != "key"}
    assert made["key"] not in admin.get(PATH).text

    holder = connect(made["key"])
    assert holder.get("/api/v1/nothing").status_code == 404
    assert holder.get(PATH).status_code == 403
    assert admin.delete(f"{PATH}/{made['id']}").status_code == 204
    assert holder.get("/api/v1/nothing").status_code == 401
    revoked = admin.get(f"{PATH}/{made['id']}").json()["revokedAt"]
    assert revoked is not None
    assert admin.delete(f"{PATH}/{made['id']}").status_code == 204
    assert admin.get(f"{PATH}/{made['id']}").json()["revokedAt"] == revoked


def test_an_expired_key_is_refused(
    admin: httpx.Client, connect: Any, owner_database: Database
) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = admin.post(PATH, json={"name": "x", "scopes": ["read"], "expiresAt": later}).json()
    holder = connect(made["key"])
    assert holder.get("/api/v1/nothing").status_code == 404
    with owner_database.connect() as connection:
        connection.execute(
            "update hubblewave.api_keys set expires_at = now() - interval '1 s' where id = %s",
            (made["id"],),
        )
    assert holder.get("/api/v1/nothing").status_code == 401


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ([], ["#"]),
        ({}, ["#/name", "#/scopes"]),
        ({"name": "", "scopes": ["read"]}, ["#/name"]),
        ({"name": "x", "scopes": []}, ["#/scopes"]),
        ({"name": "x", "scopes": ["read", "root"]}, ["#/scopes"]),
        ({"name": "x", "scopes": [["read"]]}, ["#/scopes"]),
        ({"name": "x", "scopes": "read"}, ["#/scopes"]),
        ({"name": "x", "scopes": ["read"], "plan": "gold"}, ["#/plan"]),
        ({"name": "x", "scopes": ["read"], "plan": {}}, ["#/plan"]),
        ({"name": "x", "scopes": ["read"], "expiresAt": "soon"}, ["#/expiresAt"]),
        ({"name": "x", "scopes": ["read"], "expiresAt": "2001-01-01T00:00:00Z"}, ["#/expiresAt"]),
        ({"name": "x", "scopes": ["read"], "key": "mine"}, ["#/key"]),
    ],
    ids=str,
)
def test_a_bad_key_request_names_what_is_wrong(
    admin: httpx.Client, body: Any, pointers: list[str]
) -> None:
    refused = admin.post(PATH, json=body)
    assert refused.status_code == 422, refused.text
    assert [error["pointer"] for error in refused.json()["errors"]] == pointers


def test_keys_are_listed_in_pages(admin: httpx.Client) -> None:
    for number in range(4):
        admin.post(PATH, json={"name": f"key {number}", "scopes": ["read"]})
    answer = admin.get(PATH, params={"page": 2, "pageSize": 2}).json()
    assert [key["name"] for key in answer["items"]] == ["key 1", "key 2"]
    info = answer["pageInfo"]
    assert (info["totalItems"], info["totalPages"], info["hasNextPage"]) == (5, 3, True)
    assert admin.get(PATH, params={"page": 0}).status_code == 400
    assert admin.get(PATH, params={"pages": 1}).status_code == 400


def test_another_tenant_sees_no_key(
    admin: httpx.Client, other_admin: httpx.Client, other_tenant: Tenant
) -> None:
    made = admin.post(PATH, json={"name": "mine", "scopes": ["read"]}).json()
    assert other_admin.get(f"{PATH}/{made['id']}").status_code == 404
    assert other_admin.delete(f"{PATH}/{made['id']}").status_code == 404
    assert made["id"] not in other_admin.get(PATH).text
