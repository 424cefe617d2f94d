"""Definitions change while the API serves: no request is lost, and each sees one definition."""

import threading
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.core.query import Query
from hubblewave_pipelines.storage.compiler import select_page
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import apply_change, define
from hubblewave_pipelines.storage.tenants import Tenant

PATH = "/api/v1/parts"


def part(*names: str, **first: Any) -> dict[str, Any]:
    fields = [{"name": name, "type": "text"} for name in names]
    fields[0].update(first)
    return {"name": "Part", "pluralName": "Parts", "fields": fields}


class Traffic:
    """Clients that read and write until told to stop, and what they were answered."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self._stop = threading.Event()
        self.answers: list[httpx.Response] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(3)]

    def _run(self, number: int) -> None:
        with httpx.Client(base_url=self._url, headers={"X-API-Key": self._key}) as client:
            while not self._stop.is_set():
                made = client.post(PATH, json={"name": f"part {number}"})
                path = made.headers.get("location", PATH)
                patch = client.patch(path, json={"name": "changed"})
                self.answers += [made, patch, client.get(PATH), client.get(path)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_change_of_definition_loses_no_request(
    admin: httpx.Client, connect: Any, key_for: Any, tenant: Tenant, api_url: str
) -> None:
    entities = "/api/v1/entities"
    assert admin.post(entities, json=part("name")).status_code == 201
    with Traffic(api_url, key_for(tenant, "write")) as traffic:
        for definition in (
            part("name", "colour"),
            part("name", "colour", maxLength=40),
            part("name", "size", required=True, maxLength=40),
            part("name", "size", "colour", "weight"),
            part("name"),
        ):
            changed = admin.put(f"{entities}/Part", json=definition, timeout=60)
            assert changed.status_code == 200, changed.text
    assert len(traffic.answers) > 20
    lost = [answer.text for answer in traffic.answers if answer.status_code >= 300]
    assert lost == []


def publish_without_colour(owner: Database, tenant: Tenant, table: str, column: str) -> None:
    """The least that makes statements compiled before it fail: a column is gone for good."""
    fields = (
        "select jsonb_agg(f) from jsonb_array_elements(definition->'fields') f "
        "where f->>'name' <> 'colour'"
    )
    with owner.transaction() as tx:
        tx.run(statement(f"alter table {table} drop column {column}"))
        tx.run(
            statement(
                f"update hubblewave.entities set definition = "
                f"jsonb_set(definition, '{{fields}}', ({fields})) where tenant_id = %s",
                (tenant.id,),
            )
        )
        tx.run(
            statement(
                "update hubblewave.tenants set catalog_version = catalog_version + 1 where id = %s",
                (tenant.id,),
            )
        )


def test_a_request_compiled_for_an_older_shape_runs_again(
    admin: httpx.Client,
    owner_database: Database,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entity = define(owner_database, tenant, part("name", "colour")).named("Part")
    assert entity is not None
    assert admin.post(PATH, json={"name": "a"}).status_code == 201
    table, column = f"{entity.schema}.{entity.table}", entity.columns["colour"]
    compiled: list[Query] = []

    def overtaken(query: Query) -> Any:
        """Compiles; the first time, the definition changes before the statement can run."""
        compiled.append(query)
        if len(compiled) == 1:
            publish_without_colour(owner_database, tenant, table, column)
        return select_page(query)

    monkeypatch.setattr("api.lists.select_page", overtaken)
    answer = admin.get(PATH)
    assert answer.status_code == 200, answer.text
    assert "colour" not in answer.json()["items"][0]
    assert len(compiled) == 2


def test_a_request_for_an_entity_removed_under_it_is_not_found(
    admin: httpx.Client,
    owner_database: Database,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entity = define(owner_database, tenant, part("name")).named("Part")
    assert admin.get(PATH).status_code == 200
    compiled: list[Query] = []

    def overtaken(query: Query) -> Any:
        compiled.append(query)
        apply_change(owner_database, tenant, entity, None)
        return select_page(query)

    monkeypatch.setattr("api.lists.select_page", overtaken)
    assert admin.get(PATH).status_code == 404
    assert len(compiled) == 1
