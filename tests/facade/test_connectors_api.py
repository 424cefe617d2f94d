"""Connectors over HTTP: every fault with its pointer, credentials that never come back, checks kept in rows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.connector_asks import Ask
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.sync.asking import run_ask
from tests.facade.conftest import settings_for
from tests.outbound.systems import answering, base
from tests.plugins.receiver import reply

PATH = "/api/v1/connectors"
PEOPLE = b'{"items":[{"id":1,"email":"a@x.example"}]}'
CONTACTS = {
    "name": "contacts",
    "path": "/contacts",
    "key": "id",
    "recordsPath": "items",
    "fields": [{"name": "email", "type": "email"}],
}


def wish(url: str = "https://crm.example", **more: Any) -> dict[str, Any]:
    return {
        "name": "CRM",
        "type": "custom",
        "config": {"baseUrl": url, "streams": [CONTACTS]},
        "credentials": {"kind": "bearer", "token": "open sesame"},
        **more,
    }


@pytest.fixture
def api_settings(database_url: str, data_dir: Any) -> Settings:
    return settings_for(database_url, data_dir, egress_allow="127.0.0.1/32:*")


@pytest.fixture
def answered(
    worker_database: Database, api_settings: Settings, tenant: Tenant
) -> Callable[[dict[str, Any]], Ask]:
    """Does what the Dagster run does for one check or discovery."""

    def run(ask: dict[str, Any]) -> Ask:
        return run_ask(
            worker_database,
            api_settings,
            tenant.id,
            UUID(ask["id"]),
            run_id="run-1",
            still_held=lambda: None,
        )

    return run


def asked(admin: httpx.Client, method: str, path: str, **given: Any) -> dict[str, Any]:
    answer = admin.request(method, f"{PATH}/{path}", headers={"Prefer": "wait=0"}, **given)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == answer.json()["url"]
    return dict(answer.json())


def test_credentials_go_in_and_never_come_out(
    admin: httpx.Client, owner_database: Database
) -> None:
    made = admin.post(PATH, json=wish(limits={"requestsPerSecond": 2.5}, inboundSecret="s" * 20))
    assert made.status_code == 201, made.text
    path = made.headers["location"]
    shown = admin.get(path).json()
    assert shown["credentials"]["kind"] == "bearer"
    assert shown["credentials"]["given"] == ["token"]
    assert shown["limits"] == {"requestsPerSecond": 2.5, "burst": 10, "reservePercent": 10}
    assert (shown["status"], shown["inboundSecretSet"]) == ("active", True)
    assert admin.patch(path, json={"name": "Renamed"}).json()["credentials"]["generation"] == 1
    changed = admin.patch(path, json={"credentials": {"kind": "bearer", "token": "other sesame"}})
    assert changed.json()["credentials"]["generation"] == 2
    assert changed.json()["name"] == "Renamed"
    texts = [made.text, changed.text, admin.get(path).text, admin.get(PATH).text]
    with owner_database.connect() as connection:
        texts += [
            str(connection.execute(f"select * from hubblewave.{table}").fetchall())
            for table in ("connectors", "connector_credentials", "events")
        ]
    assert "sesame" not in "".join(texts)
    assert "ssss" not in "".join(texts)
    assert admin.post(PATH, json=wish(name="renamed")).status_code == 409
    assert admin.delete(path).status_code == 204
    assert admin.get(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ([], ["#"]),
        ({}, ["#/name", "#/type"]),
        ({"name": "x", "type": "custom"}, ["#/config"]),
        (wish(type="salsforce"), ["#/type"]),
        (wish(nmae="x"), ["#/nmae"]),
        (wish(credentials={"kind": "bearer"}), ["#/credentials/token"]),
        (wish(credentials={"token": "x"}), ["#/credentials/kind"]),
        (wish(credentials={"kind": "basic", "username": "", "password": "x", "x": 1}),
         ["#/credentials/username", "#/credentials/x"]),
        (wish(config={"baseUrl": 7, "streams": []}), ["#/config/baseUrl", "#/config/streams"]),
        (wish(config={"baseUrl": "https://x.example", "streams": [
            {**CONTACTS, "pagination": {"style": "ofset"}},
            {**CONTACTS, "pagination": {"style": "offset", "param": "skip"}},
            {**CONTACTS, "cursor": {"field": "u", "format": "unix", "safeLagSeconds": -1}},
            {"path": 1, "pth": 2}]}),
         ["#/config/streams/0/pagination/style",
          "#/config/streams/1/pagination/pageSize", "#/config/streams/1/pagination/pageSizeParam",
          "#/config/streams/2/cursor/format", "#/config/streams/2/cursor/safeLagSeconds",
          "#/config/streams/2/cursor/startParam", "#/config/streams/3/fields",
          "#/config/streams/3/key", "#/config/streams/3/name", "#/config/streams/3/path",
          "#/config/streams/3/pth"]),
        (wish(limits={"burst": 0, "requestsPerSecond": True, "x": 1}),
         ["#/limits/burst", "#/limits/requestsPerSecond", "#/limits/x"]),
        (wish(status="error"), ["#/status"]),
        (wish(inboundSecret="short"), ["#/inboundSecret"]),
        (wish("https://10.0.0.1"), ["#/config/baseUrl"]),
        (wish("file:///etc/passwd"), ["#/config/baseUrl"]),
        (wish("https://169.254.169.254"), ["#/config/baseUrl"]),
        (wish(credentials={"kind": "client_credentials", "clientId": "c", "clientSecret": "s",
                           "tokenUrl": "https://192.168.0.1/token"}), ["#/credentials/tokenUrl"]),
    ],
)  # fmt: skip
def test_every_fault_is_told_with_its_pointer(
    standing: Any, body: Any, pointers: list[str]
) -> None:
    with standing.client() as admin:
        answer = admin.post(PATH, json=body)
        assert answer.status_code == 422, answer.text
        assert sorted(fault["pointer"] for fault in answer.json()["errors"]) == sorted(pointers)
        assert "sesame" not in answer.text
        assert admin.get(PATH).json()["items"] == []


def test_types_are_described_by_schemas_that_examples_pass(admin: httpx.Client) -> None:
    types = {each["name"]: each for each in admin.get(f"{PATH}/types").json()["items"]}
    assert "custom" in types
    for each in types.values():
        assert "baseUrl" in each["config"]["properties"], each["name"]
        assert each["credentials"]["oneOf"], each["name"]


def test_a_check_is_work_asked_for_and_its_report_is_kept(
    admin: httpx.Client, answered: Callable[[dict[str, Any]], Ask]
) -> None:
    json = {"Content_Type": "application/json"}
    with answering(
        reply(body=PEOPLE, **json), reply("401 No"), reply(body=PEOPLE, **json)
    ) as system:
        path = admin.post(PATH, json=wish(base(system))).headers["location"]
        id_ = path.rpartition("/")[2]
        ask = asked(admin, "POST", f"{id_}/check")
        assert asked(admin, "POST", f"{id_}/check")["id"] == ask["id"], "asked twice at once"
        answered(ask)
        report = admin.get(ask["url"]).json()
        assert (report["status"], report["result"]["level"]) == ("completed", "warning")
        assert {each["what"] for each in report["result"]["findings"]} >= {"reachable", "streams"}
        job = admin.get(f"/api/v1/jobs/{ask['id']}").json()
        assert (job["kind"], job["status"], job["url"]) == ("check", "completed", ask["url"])

        answered(asked(admin, "POST", f"{id_}/check"))
        connector = admin.get(path).json()
        assert connector["status"] == "error"
        assert connector["lastError"]["code"] == "vendor.unauthorized"
        assert "Check the user" in connector["lastCheck"]["findings"][0]["detail"]

        answered(asked(admin, "POST", f"{id_}/check"))
        connector = admin.get(path).json()
        assert (connector["status"], connector["lastError"]) == ("active", None)
    assert system.requests[0].headers["authorization"] == "Bearer open sesame"


def test_trouble_is_told_once_and_new_credentials_end_it(
    admin: httpx.Client, answered: Callable[[dict[str, Any]], Ask], owner_database: Database
) -> None:
    with answering(reply("401 No")) as system:
        path = admin.post(PATH, json=wish(base(system))).headers["location"]
        id_ = path.rpartition("/")[2]
        for _ in range(2):
            answered(asked(admin, "POST", f"{id_}/check"))
    with owner_database.connect() as connection:
        events = connection.execute(
            "select data::jsonb from hubblewave.events where type = 'connector.error'"
        ).fetchall()
    assert events == [({"connectorId": id_, "name": "CRM", "error": "vendor.unauthorized"},)]
    fresh = {"credentials": {"kind": "bearer", "token": "new sesame"}}
    assert admin.patch(path, json=fresh).json()["status"] == "active"
    assert admin.patch(path, json={"status": "inactive"}).json()["status"] == "inactive"
    assert admin.post(f"{path}/check").status_code == 409


def test_a_discovery_is_kept_until_it_is_asked_for_anew(
    admin: httpx.Client, answered: Callable[[dict[str, Any]], Ask]
) -> None:
    path = admin.post(PATH, json=wish()).headers["location"]
    id_ = path.rpartition("/")[2]
    answered(asked(admin, "GET", f"{id_}/discover", params={"stream": "contacts"}))
    kept = admin.get(f"{path}/discover", params={"stream": "contacts"})
    assert kept.status_code == 200
    (stream,) = kept.json()["result"]["streams"]
    assert [field["name"] for field in stream["fields"]] == ["email", "id"]
    ask = asked(admin, "GET", f"{id_}/discover", params={"stream": "contacts", "refresh": "true"})
    answered(ask)
    answered(asked(admin, "GET", f"{id_}/discover", params={"stream": "deals"}))
    deals = admin.get(f"{path}/discover?stream=deals", headers={"Prefer": "wait=0"}).json()
    assert deals["status"] == "pending", "what failed is asked again"
    for params in ({"stream": ""}, {"refresh": "yes"}, {"strm": "x"}):
        assert admin.get(f"{path}/discover", params=params).status_code == 400


def test_whoever_waits_is_answered_as_soon_as_it_is_known(
    admin: httpx.Client, owner_database: Database, tenant: Tenant, answered: Any
) -> None:
    path = admin.post(PATH, json=wish()).headers["location"]
    ask = asked(admin, "GET", f"{path.rpartition('/')[2]}/discover")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(admin.get, f"{path}/discover", headers={"Prefer": "wait=60"})
        answered(ask)
        assert waiting.result(timeout=70).json()["status"] == "completed"


def test_a_connector_that_jobs_use_is_removed_with_force_only(
    admin: httpx.Client, owner_database: Database, tenant: Tenant
) -> None:
    path = admin.post(PATH, json=wish()).headers["location"]
    with owner_database.connect() as connection:
        connection.execute(
            "insert into hubblewave.sync_jobs (tenant_id, connector_id, name, source_entity,"
            " entity_id, entity_name, field_mapping) values (%s, %s, 'contacts', 'c', 'e', 'E', '[]')",
            (tenant.id, path.rpartition("/")[2]),
        )
    refused = admin.delete(path)
    assert refused.status_code == 409
    assert "contacts" in refused.json()["detail"]
    assert admin.delete(f"{path}?force=true").status_code == 204
