"""Exports over HTTP: asked for, followed, downloaded in parts and by link, cancelled, expired."""

import csv
import hashlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from hubblewave_pipelines.core.errors import ExportFailed
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.transfer.exports import run_export
from hubblewave_pipelines.transfer.spool import clear_exports
from tests.facade.conftest import settings_for

EXPORTS = "/api/v1/exports"
ITEM = {
    "name": "Item",
    "pluralName": "Items",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "stock", "type": "integer"},
    ],
}


@pytest.fixture
def api_settings(database_url: str, data_dir: Path) -> Settings:
    place = f"file://{data_dir}/out/{{tenant}}/"
    return settings_for(database_url, data_dir, file_locations=[place])


@pytest.fixture
def items(admin: httpx.Client) -> httpx.Client:
    assert admin.post("/api/v1/entities", json=ITEM).status_code == 201
    rows = [{"code": f"c{n:03}", "stock": n} for n in range(100)]
    assert admin.post("/api/v1/items/bulk", json={"items": rows}).status_code == 200
    return admin


@pytest.fixture
def work_off(
    worker_database: Database, api_settings: Settings, tenant: Tenant
) -> Callable[[str], str]:
    """Does what the Dagster run does for one export; its status."""

    def work(export_id: str) -> str:
        return run_export(
            worker_database,
            api_settings,
            tenant.id,
            UUID(export_id),
            run_id=str(uuid4()),
            still_held=lambda: None,
            progress=lambda _: None,
        ).status

    return work


@pytest.fixture
def exported(items: httpx.Client, work_off: Callable[[str], str]) -> Callable[..., dict[str, Any]]:
    """Asks for an export and has it done."""

    def export(**body: Any) -> dict[str, Any]:
        response = items.post(EXPORTS, json={"entity": "Item", **body})
        assert response.status_code == 202, response.text
        assert work_off(response.json()["id"]) == "completed"
        found: dict[str, Any] = items.get(f"{EXPORTS}/{response.json()['id']}").json()
        return found

    return export


def test_an_export_is_asked_for_followed_and_downloaded(
    items: httpx.Client,
    work_off: Callable[[str], str],
    owner_database: Database,
    data_dir: Path,
) -> None:
    body = {"entity": "items", "fields": ["code", "stock"], "where": {"stock": {"lt": 3}}}
    headers = {"Idempotency-Key": "nightly"}
    asked = items.post(EXPORTS, json={**body, "sort": "-stock"}, headers=headers)
    again = items.post(EXPORTS, json={**body, "sort": "-stock"}, headers=headers)
    assert (asked.status_code, again.json()) == (202, asked.json())
    job = asked.json()
    assert (job["status"], job["progress"], job["downloadUrl"]) == ("pending", 0, None)
    assert items.get(asked.headers["location"]).json() == job
    with owner_database.transaction() as tx:
        [request] = tx.all(statement("select kind, asset_key from hubblewave.work_requests"))
    assert request == ("export", ["export", "default", "items"])
    early = items.get(f"{EXPORTS}/{job['id']}/download")
    assert (early.status_code, early.json()["code"]) == (409, "resource.conflict")

    assert work_off(job["id"]) == "completed"
    done = items.get(f"{EXPORTS}/{job['id']}").json()
    assert (done["status"], done["totalRecords"], done["progress"]) == ("completed", 3, 100)
    assert done["manifest"]["query"] == {
        **{k: body[k] for k in ("fields", "where")},
        "sort": "-stock",
    }
    file = items.get(done["downloadUrl"])
    assert file.text == 'code,stock\n"c002",2\n"c001",1\n"c000",0\n'
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.headers["etag"] == f'"{hashlib.sha256(file.content).hexdigest()}"'
    [on_disk] = (data_dir / "spool" / "exports").iterdir()
    assert on_disk.stat().st_size == done["fileSize"] == len(file.content)
    shown = items.get(f"/api/v1/jobs/{job['id']}").json()
    assert (shown["kind"], shown["status"], shown["url"]) == (
        "export",
        "completed",
        f"{EXPORTS}/{job['id']}",
    )
    with owner_database.transaction() as tx:
        events = tx.all(
            statement("select type, data::json from hubblewave.events where type like 'export.%%'")
        )
    assert [(kind, data["totalRecords"]) for kind, data in events] == [("export.completed", 3)]


def test_what_failed_or_was_cancelled_is_retried_and_nothing_else(
    items: httpx.Client,
    work_off: Callable[[str], str],
    other_admin: httpx.Client,
    owner_database: Database,
) -> None:
    asked = items.post(EXPORTS, json={"entity": "Item", "fields": ["code"], "sort": "code"})
    url = asked.headers["location"]
    assert items.post(f"{url}/retry").status_code == 409
    assert items.post(f"{url}/cancel").json()["status"] == "cancelled"
    assert work_off(asked.json()["id"]) == "cancelled"
    assert other_admin.post(f"{url}/retry").status_code == 404
    items.post("/api/v1/items", json={"code": "added later"})
    again = items.post(f"{url}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    assert again.headers["location"] == url
    assert items.post(f"{url}/retry").status_code == 409
    assert work_off(asked.json()["id"]) == "completed"
    assert items.get(url).json()["totalRecords"] == 101  # the rows of now
    refused = items.post(f"{url}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "resource.conflict")

    bad = {"entity": "Item", "fields": ["code"], "options": {"encoding": "latin-1"}}
    items.post("/api/v1/items", json={"code": "\u65e5"})
    failing = items.post(EXPORTS, json=bad).headers["location"]
    with pytest.raises(ExportFailed):
        work_off(failing.rpartition("/")[2])
    assert items.get(failing).json()["error"]["code"] == "export.failed"
    with owner_database.transaction() as tx:
        assert tx.one(statement("select count(*) from hubblewave.work_requests")) == (3,)
    retried = items.post(f"{failing}/retry").json()
    assert (retried["status"], retried["error"], retried["completedAt"]) == ("pending", None, None)

    schedule = items.post(EXPORTS, json={"entity": "Item", "schedule": "0 3 * * *"})
    url = schedule.headers["location"]
    assert items.post(f"{url}/cancel").json()["status"] == "cancelled"
    assert "schedule" in items.post(f"{url}/retry").json()["detail"]


def test_a_download_heeds_ranges(
    exported: Callable[..., dict[str, Any]], items: httpx.Client
) -> None:
    url = exported(fields=["code"], sort="code")["downloadUrl"]
    whole = items.get(url)
    etag, size = whole.headers["etag"], len(whole.content)

    def part(spec: str, **more: str) -> httpx.Response:
        return items.get(url, headers={"Range": spec, **more})

    for spec, first, last in (
        ("bytes=0-9", 0, 9),
        ("bytes=10-", 10, size - 1),
        ("bytes=-7", size - 7, size - 1),
        (f"bytes=5-{size * 10}", 5, size - 1),
    ):
        answer = part(spec)
        assert answer.status_code == 206, spec
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert answer.content == whole.content[first : last + 1]
    joined = b"".join(part(f"bytes={at}-{at + 99}").content for at in range(0, size, 100))
    assert joined == whole.content
    assert part("bytes=0-9", **{"If-Range": etag}).status_code == 206
    changed = part("bytes=0-9", **{"If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    several = part("bytes=0-3,10-13")
    assert several.status_code == 206
    assert several.headers["content-type"].startswith("multipart/byteranges")
    assert whole.content[10:14] in several.content
    outside = part(f"bytes={size}-")
    assert (outside.status_code, outside.headers["content-range"]) == (416, f"bytes */{size}")
    assert outside.json()["code"] == "request.range_not_satisfiable"
    for nonsense in ("bytes=abc", "lines=1-2", "bytes=", "bytes=9-3-1"):
        ignored = part(nonsense)
        assert (ignored.status_code, ignored.content) == (200, whole.content)
    head = items.head(url)
    assert (head.status_code, head.headers["content-length"]) == (200, str(size))
    assert items.get(url, headers={"If-None-Match": etag}).status_code == 304


def test_I9_links_open_one_file_until_they_expire(
    exported: Callable[..., dict[str, Any]],
    items: httpx.Client,
    connect: Callable[..., httpx.Client],
    other_admin: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = exported(), exported()
    stranger = connect(None)
    made = items.post(f"{EXPORTS}/{first['id']}/link", json={"expiresIn": 60})
    assert made.status_code == 201
    link = made.json()["url"].partition("?link=")[2]
    url = f"{EXPORTS}/{first['id']}/download"
    opened = stranger.get(url, params={"link": link})
    assert (opened.status_code, opened.content) == (200, items.get(url).content)
    assert (
        stranger.get(url, params={"link": link}, headers={"Range": "bytes=0-3"}).status_code == 206
    )

    assert stranger.get(url).status_code == 401
    tenant, expires, mac = link.split(".")
    tampered = [
        f"{tenant}.{int(expires) + 1}.{mac}",
        f"{uuid4().hex}.{expires}.{mac}",
        f"{tenant}.{expires}.{'A' if mac[0] != 'A' else 'B'}{mac[1:]}",
        f"{tenant}.{expires}",
        "",
    ]
    for text in tampered:
        assert stranger.get(url, params={"link": text}).status_code == 403, text
    elsewhere = f"{EXPORTS}/{second['id']}/download"
    assert stranger.get(elsewhere, params={"link": link}).status_code == 403
    assert other_admin.get(url).status_code == 404
    assert other_admin.post(f"{EXPORTS}/{first['id']}/link").status_code == 404
    assert other_admin.get(f"/api/v1/jobs/{first['id']}").status_code == 404
    assert other_admin.get(EXPORTS).json()["items"] == []
    for wrong in ({"expiresIn": 0}, {"expiresIn": "60"}, {"expires": 5}, []):
        assert items.post(f"{EXPORTS}/{first['id']}/link", json=wrong).status_code == 422
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    gone = stranger.get(url, params={"link": link})
    assert (gone.status_code, gone.json()["code"]) == (410, "resource.gone")


def test_I8_a_files_name_is_text_and_never_a_path(
    exported: Callable[..., dict[str, Any]], items: httpx.Client, data_dir: Path
) -> None:
    names = {
        "../../x": 'attachment; filename="x.csv"',
        'a"b': "attachment; filename=\"a_b.csv\"; filename*=UTF-8''a%22b.csv",
        "übersicht": "attachment; filename=\"_bersicht.csv\"; filename*=UTF-8''%C3%BCbersicht.csv",
        "evil\u202evsc.exe": 'attachment; filename="evilvsc.exe.csv"',
        "a\r\nSet-Cookie: x": "attachment; filename=\"aSet-Cookie: x.csv\"; filename*=UTF-8''aSet-Cookie%3A%20x.csv",
        "n" * 200: f'attachment; filename="{"n" * 200}.csv"',
    }
    for given, expected in names.items():
        job = exported(options={"fileName": given}, limit=1)
        assert items.get(job["downloadUrl"]).headers["content-disposition"] == expected
    refused = items.post(EXPORTS, json={"entity": "Item", "options": {"fileName": "n" * 300}})
    assert refused.status_code == 422
    folder = data_dir / "spool" / "exports"
    assert all(path.name.endswith(".csv") and len(path.name) < 80 for path in folder.iterdir())


def test_bad_requests_name_every_fault(items: httpx.Client) -> None:
    body = {"entity": "Itm", "format": "cvs", "options": {"raw": 1}, "destination": "ftp://x/"}
    refused = items.post(EXPORTS, json=body)
    assert refused.status_code == 422
    assert {e["pointer"] for e in refused.json()["errors"]} == {
        "#/entity",
        "#/format",
        "#/options/raw",
    }
    for place in ("ftp://x/y", "file:///etc/", "relative", "file:///", "memory://x", "s3://a@b/c"):
        refused = items.post(EXPORTS, json={"entity": "Item", "destination": place})
        assert refused.status_code == 422, place
        assert refused.json()["errors"][0]["pointer"] == "#/destination"
    assert items.post(EXPORTS, json=[]).status_code == 400
    assert items.get(EXPORTS, params={"status": "done"}).status_code == 400
    for path in ("nonsense", str(uuid4())):
        for verb, rest in (("GET", ""), ("GET", "/download"), ("POST", "/cancel"), ("DELETE", "")):
            assert items.request(verb, f"{EXPORTS}/{path}{rest}").status_code == 404
        assert items.get(f"/api/v1/jobs/{path}").status_code == 404


def test_a_file_is_also_put_where_it_was_asked_to_go(
    exported: Callable[..., dict[str, Any]], items: httpx.Client, data_dir: Path
) -> None:
    place = data_dir / "out" / "default" / "nightly"
    job = exported(destination=f"{place}/", sort="code")
    assert job["deliveredTo"] == f"file://{place}/{job['fileName']}"
    content = (place / job["fileName"]).read_bytes()
    assert content == items.get(job["downloadUrl"]).content
    manifest = json.loads((place / f"{job['fileName']}.manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert (manifest["rowCount"], manifest["formulaGuard"]) == (100, True)
    for escape in (f"{place}/../../../x/", f"{data_dir}/out/other/"):
        refused = items.post(EXPORTS, json={"entity": "Item", "destination": escape})
        assert refused.status_code == 422
    (data_dir / "out" / "default" / "link").symlink_to("/tmp")
    led_out = items.post(EXPORTS, json={"entity": "Item", "destination": f"{place}/../link/"})
    assert led_out.status_code == 422


def test_what_is_over_cannot_be_cancelled_and_what_waits_can(
    exported: Callable[..., dict[str, Any]], items: httpx.Client, work_off: Callable[[str], str]
) -> None:
    done = exported()
    assert items.post(f"{EXPORTS}/{done['id']}/cancel").status_code == 409
    waiting = items.post(EXPORTS, json={"entity": "Item"}).json()
    assert items.delete(f"{EXPORTS}/{waiting['id']}").status_code == 409
    stopped = items.post(f"{EXPORTS}/{waiting['id']}/cancel")
    assert (stopped.status_code, stopped.json()["status"]) == (202, "cancelled")
    assert work_off(waiting["id"]) == "cancelled"
    assert items.delete(f"{EXPORTS}/{done['id']}").status_code == 204
    assert items.get(f"{EXPORTS}/{done['id']}").status_code == 404


def test_files_go_when_their_time_is_over(
    exported: Callable[..., dict[str, Any]],
    items: httpx.Client,
    owner_database: Database,
    worker_database: Database,
    data_dir: Path,
) -> None:
    old, young = exported(), exported()
    folder = data_dir / "spool" / "exports"
    orphan = folder / f"{uuid4()}-{uuid4().hex}.csv"
    orphan.write_bytes(b"of a run that was killed")
    (folder / "somebody-elses.txt").write_bytes(b"")
    with owner_database.transaction() as tx:
        tx.run(
            statement(
                "update hubblewave.export_jobs set expires_at = now() - interval '1 s' where id = %s",
                (old["id"],),
            )
        )
    assert clear_exports(worker_database, folder, unknown_seconds=3600).spent == 1
    assert clear_exports(worker_database, folder, unknown_seconds=0).unknown == 1
    left = sorted(path.name for path in folder.iterdir())
    assert len(left) == 2
    assert "somebody-elses.txt" in left
    gone = items.get(f"{EXPORTS}/{old['id']}/download")
    assert (gone.status_code, gone.json()["code"]) == (410, "resource.gone")
    assert items.get(f"{EXPORTS}/{old['id']}").json()["downloadUrl"] is None
    assert items.get(young["downloadUrl"]).status_code == 200


def test_a_schedule_is_an_export_that_makes_others(items: httpx.Client) -> None:
    body = {"entity": "Item", "schedule": "30 2 * * *", "timezone": "Europe/Berlin"}
    made = items.post(EXPORTS, json={**body, "format": "ndjson"})
    assert made.status_code == 202
    job = made.json()
    assert (job["status"], job["schedule"]) == ("scheduled", "30 2 * * *")
    assert job["nextRunAt"][11:16] in ("00:30", "01:30")
    assert items.get(EXPORTS, params={"status": "scheduled"}).json()["items"] == [job]
    assert items.get(EXPORTS, params={"scheduleId": job["id"]}).json()["items"] == []
    ended = items.post(f"{EXPORTS}/{job['id']}/cancel").json()
    assert (ended["status"], ended["nextRunAt"]) == ("cancelled", None)
    for cron in ("* * * *", "61 * * * *", "every day", 5):
        refused = items.post(EXPORTS, json={"entity": "Item", "schedule": cron})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == "#/schedule"


def test_the_cells_of_a_file_are_those_of_the_list(
    exported: Callable[..., dict[str, Any]], items: httpx.Client
) -> None:
    job = exported(options={"raw": True}, sort="code")
    rows = list(csv.DictReader(io.StringIO(items.get(job["downloadUrl"]).text)))
    listed = items.get("/api/v1/items", params={"sort": "code", "pageSize": 100}).json()["items"]
    assert rows == [{name: str(value) for name, value in item.items()} for item in listed]
