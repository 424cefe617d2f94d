"""Cursors are good in every API process of an installation and cannot be made outside of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.app import create_app
from hubblewave_pipelines.core.cursor import Seal
from hubblewave_pipelines.core.envelope import new_key
from hubblewave_pipelines.core.errors import Misconfigured
from hubblewave_pipelines.core.feed import START, Place, Tokens
from hubblewave_pipelines.core.parameters import parse_query
from hubblewave_pipelines.core.versions import Bookmarks
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.secret_keys import Secrets
from hubblewave_pipelines.storage.tenants import Tenant
from tests.facade.conftest import SECRET_KEY, api_process, serving, settings_for
from tests.plugins.socket_client import GraphqlSocket

NOTES = "/api/v1/notes"
NOTE = {"name": "Note", "pluralName": "Notes", "fields": [{"name": "text", "type": "text"}]}
SEARCH = (
    'query($c: String) { notes(after: $c, first: 1, sort: {field: "text"}) { items { text } } }'
)
SUBSCRIBE = "subscription($s: String) { noteCreated(since: $s) { text } }"


def walk(client: httpx.Client, record: str) -> dict[str, str]:
    """A cursor of every kind: list, history, feed."""
    page = client.get(NOTES, params={"pageSize": 1, "sort": "text"}).json()
    history = client.get(f"{NOTES}/{record}/history", params={"pageSize": 1}).json()
    feed = client.get(f"{NOTES}/changes", params={"limit": 1}).json()
    ends = {"list": page["pageInfo"]["endCursor"], "history": history["pageInfo"]["endCursor"]}
    return {**ends, "feed": feed["next"]}


def outcomes(
    client: httpx.Client, key: str, record: str, cursors: dict[str, str]
) -> list[tuple[str, Any]]:
    """What each way to use the cursors comes to: what was read after it, or the refusal's code."""

    def answered(path: str, **params: Any) -> Any:
        answer = client.get(path, params=params)
        if answer.status_code != 200:
            return answer.status_code, answer.json()["code"]
        return len(answer.json()["items"])

    found = [
        ("list", answered(NOTES, sort="text", after=cursors["list"])),
        ("history", answered(f"{NOTES}/{record}/history", after=cursors["history"])),
        ("feed", answered(f"{NOTES}/changes", since=cursors["feed"])),
    ]
    body = {"query": SEARCH, "variables": {"c": cursors["list"]}}
    page = client.post("/graphql", json=body).json()
    if "errors" in page:
        assert "cursor does not belong" in page["errors"][0]["message"]
        found.append(("graphql", page["errors"][0]["extensions"]["code"]))
    else:
        found.append(("graphql", page["data"]["notes"]["items"][0]["text"]))
    with GraphqlSocket(str(client.base_url).rstrip("/"), key) as socket:
        payload = {"query": SUBSCRIBE, "variables": {"s": cursors["feed"]}}
        socket.say({"type": "subscribe", "id": "s", "payload": payload})
        heard = socket.hear()
        told = heard["payload"]
        found.append(
            (
                "subscription",
                told["data"]["noteCreated"]["text"]
                if heard["type"] == "next"
                else told[0]["extensions"]["code"],
            )
        )
    return found


def test_processes_of_an_installation_take_each_others_cursors_and_no_others(
    database_url: str,
    data_dir: Path,
    tmp_path: Path,
    owner_database: Database,
    tenant: Tenant,
    key_for: Callable[..., str],
) -> None:
    catalog = define(owner_database, tenant, NOTE)
    entity = catalog.named("Note")
    assert entity is not None
    key = key_for(tenant)
    file = tmp_path / "elsewhere.key"
    file.write_text(f"{SECRET_KEY}\n")
    file.chmod(0o600)
    by_file = settings_for(database_url, data_dir, secret_key=None, secret_key_file=file)
    with (
        api_process(database_url, data_dir) as (first, _),
        serving(by_file) as second,
        serving(settings_for(database_url, data_dir, secret_key=new_key())) as foreign,
    ):
        one, two, three = (
            httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=30)
            for url in (first, second, foreign)
        )
        with one, two, three:
            texts = ["a", "b", "c"]
            ids = [one.post(NOTES, json={"text": text}).json()["id"] for text in texts]
            assert one.patch(f"{NOTES}/{ids[2]}", json={"text": "d"}).status_code == 200
            good = [
                ("list", 2),
                ("history", 1),
                ("feed", 2),
                ("graphql", "b"),
                ("subscription", "b"),
            ]
            made = walk(one, ids[2])
            assert walk(two, ids[2]).keys() == made.keys()
            assert outcomes(two, key, ids[2], made) == good
            assert outcomes(one, key, ids[2], walk(two, ids[2])) == good

            code = "request.cursor_mismatch"
            refused = [(name, (400, code)) for name in ("list", "history", "feed")]
            refused += [("graphql", code), ("subscription", code)]
            assert outcomes(three, key, ids[2], made) == refused

            def forged(secret: bytes) -> dict[str, str]:
                query = parse_query(entity, [("sort", "text")], secret=secret, catalog=catalog)
                return {
                    "list": Seal(secret, query).cursor(["a", ids[0]]),
                    "history": Bookmarks(secret, entity, UUID(ids[2])).mark(2),
                    "feed": Tokens(secret, entity).token(Place(1, START.id)),
                }

            # What anybody who can read the database could make once.
            public = f"{tenant.id} {tenant.schema}".encode()
            assert outcomes(one, key, ids[2], forged(public)) == refused
            own = forged(Secrets(by_file).cursor_secret(tenant.id))
            assert outcomes(one, key, ids[2], own)[0] == ("list", 2)


def test_each_tenant_has_a_secret_of_its_own_and_an_api_without_the_key_does_not_start(
    database_url: str, data_dir: Path, tenant: Tenant, other_tenant: Tenant
) -> None:
    secrets = Secrets(settings_for(database_url, data_dir))
    assert secrets.cursor_secret(tenant.id) != secrets.cursor_secret(other_tenant.id)
    assert len(secrets.cursor_secret(tenant.id)) == 32
    with pytest.raises(Misconfigured, match="HUBBLEWAVE_SECRET_KEY"):
        create_app(settings_for(database_url, data_dir, secret_key=None))
