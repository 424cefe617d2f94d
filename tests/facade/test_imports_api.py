"""Imports over HTTP: what is accepted, what is refused with which answer, what can be followed."""

import csv
import io
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from hubblewave_pipelines.storage.database import Database, statement

PART: dict[str, Any] = {
    "name": "Part",
    "pluralName": "Parts",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "partName", "type": "text"},
        {"name": "stock", "type": "integer"},
    ],
}


@pytest.fixture
def parts(admin: httpx.Client) -> httpx.Client:
    assert admin.post("/api/v1/entities", json=PART).status_code == 201
    return admin


def send(client: httpx.Client, content: bytes | str, **form: Any) -> httpx.Response:
    data = {k: v if isinstance(v, str) else json.dumps(v) for k, v in form.items()}
    body = content.encode() if isinstance(content, str) else content
    return client.post(
        "/api/v1/imports",
        files={"file": ("../../parts.csv", body, "text/csv")},
        data={"entity": "Part", **data},
    )


def pointers(response: httpx.Response) -> set[str]:
    return {e.get("pointer", e.get("parameter")) for e in response.json()["errors"]}


def test_an_accepted_file_waits_as_a_job_and_a_work_request(
    parts: httpx.Client, owner_database: Database, data_dir: Path
) -> None:
    response = send(parts, "Code,part name,other\nA,x,y\n")
    assert response.status_code == 202
    job = response.json()
    assert job["status"] == "pending"
    assert job["fileName"] == "parts.csv"
    assert [m["targetField"] for m in job["mapping"]] == ["code", "partName"]
    assert parts.get(response.headers["location"]).json() == job
    assert parts.get("/api/v1/imports").json()["items"] == [job]
    with owner_database.transaction() as tx:
        asked = tx.all(
            statement("select kind, ref_id::text, asset_key, state from hubblewave.work_requests")
        )
    assert asked == [("import", job["id"], ["import", "default", "parts"], "requested")]
    (spooled,) = (data_dir / "spool").iterdir()
    assert spooled.read_text().startswith("Code,")
    assert stat.S_IMODE((data_dir / "spool").stat().st_mode) == 0o700


def test_refused_rows_are_listed_and_downloaded(
    parts: httpx.Client, work_off: Callable[[str], str]
) -> None:
    sent = send(parts, 'code,stock\nA,1\n,"x\n1"\nB,2\nC,3,4\n')
    assert work_off(sent.json()["id"]) == "partial"
    url = sent.headers["location"]
    job = parts.get(url).json()
    counts = ("totalRecords", "successRecords", "createdRecords", "failedRecords", "progress")
    assert [job[name] for name in counts] == [4, 2, 2, 2, 100]
    errors = parts.get(f"{url}/errors?pageSize=2").json()
    assert [(e["row"], e["field"]) for e in errors["items"]] == [(2, "code"), (2, "stock")]
    assert errors["pageInfo"]["totalItems"] == 3
    rejects = parts.get(f"{url}/rejects")
    assert rejects.headers["content-type"].startswith("text/csv")
    header, second, fourth = csv.reader(
        io.StringIO(rejects.text.removeprefix("\ufeff"), newline="")
    )
    assert header == ["_row", "_reason", "code", "stock"]
    assert (second[0], second[2:]) == ("2", ["", "x\n1"])
    assert (fourth[0], fourth[2:]) == ("4", ["C", "3", "4"])


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"entity": "Prat"}, {"entity"}),
        ({"entity": ""}, {"entity"}),
        ({"mapping": "{"}, {"mapping"}),
        ({"options": "[]"}, {"#/options"}),
        (
            {"mapping": [{"sourceField": "nope", "targetField": "code"}]},
            {"#/mapping/0/sourceField"},
        ),
        (
            {"mapping": [{"sourceField": "code", "targetField": "id"}, 5]},
            {"#/mapping/0/targetField", "#/mapping/1"},
        ),
        ({"mapping": [{"sourceField": "stock", "targetField": "stock"}]}, {"#/mapping"}),
        (
            {"options": {"batchSize": 0, "duplicateStrategy": "x", "wrong": 1}},
            {"#/options/batchSize", "#/options/duplicateStrategy", "#/options/wrong"},
        ),
        ({"options": {"uniqueFields": ["partName"]}}, {"#/options/uniqueFields/0"}),
        ({"options": {"detectDuplicates": True}}, {"#/options/uniqueFields"}),
        (
            {
                "mapping": [
                    {"sourceField": "code", "targetField": "code"},
                    {"sourceField": "stock", "targetField": "code"},
                ]
            },
            {"#/mapping/1/targetField"},
        ),
    ],
)
def test_a_wrong_form_is_refused_before_anything_is_kept(
    parts: httpx.Client, data_dir: Path, form: dict[str, Any], expected: set[str]
) -> None:
    response = send(parts, "code,stock\nA,1\n", **form)
    assert response.status_code == 422
    assert pointers(response) == expected
    assert parts.get("/api/v1/imports").json()["items"] == []
    assert list((data_dir / "spool").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a\0b,c\n", b"a,,b\n", b"code,code\n"])
def test_a_file_without_a_usable_header_is_refused(parts: httpx.Client, content: bytes) -> None:
    response = send(parts, content)
    assert (response.status_code, response.json()["code"]) == (422, "import.failed")


def test_a_wrong_delimiter_is_guessed_at_in_the_answer(parts: httpx.Client) -> None:
    mapping = [{"sourceField": "code", "targetField": "code"}]
    response = send(parts, "code;stock\nA;1\n", options={"delimiter": ","}, mapping=mapping)
    assert "options.delimiter" in response.json()["errors"][0]["detail"]


def test_a_form_without_file_or_with_strange_parts_is_refused(parts: httpx.Client) -> None:
    empty = parts.post("/api/v1/imports", files={"entity": (None, "Part")})
    assert (empty.status_code, pointers(empty)) == (422, {"file"})
    strange = parts.post("/api/v1/imports", files={"fiel": ("a.csv", b"a")})
    assert strange.status_code == 400
    assert parts.post("/api/v1/imports", json={}).status_code == 415
    cut = parts.post(
        "/api/v1/imports",
        content=b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na,b',
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert cut.status_code == 400


def test_a_pending_import_is_cancelled_at_once_and_can_be_retried(
    parts: httpx.Client, work_off: Callable[[str], str]
) -> None:
    url = send(parts, "code\nA\n").headers["location"]
    cancelled = parts.post(f"{url}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert parts.post(f"{url}/cancel").status_code == 409
    assert work_off(cancelled.json()["id"]) == "cancelled"
    again = parts.post(f"{url}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    assert parts.post(f"{url}/retry").status_code == 409
    assert work_off(again.json()["id"]) == "completed"
    assert parts.get(url).json()["createdRecords"] == 1


def test_an_import_whose_file_was_cleared_away_cannot_be_retried(
    parts: httpx.Client, data_dir: Path
) -> None:
    url = send(parts, "code\nA\n").headers["location"]
    cancelled = parts.post(f"{url}/cancel").json()
    (spooled,) = (data_dir / "spool").iterdir()
    spooled.unlink()
    refused = parts.post(f"{url}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "resource.conflict")
    assert "7 days" in refused.json()["detail"]
    assert parts.get(url).json() == cancelled
    assert parts.get(f"{url}/rejects").text == "\ufeff_row,_reason,code\r\n"


def test_another_tenant_sees_nothing_of_an_import(
    parts: httpx.Client, other_admin: httpx.Client
) -> None:
    url = send(parts, "code\nA\n").headers["location"]
    for path in (url, f"{url}/errors", f"{url}/rejects", "/api/v1/imports/nonsense"):
        assert other_admin.get(path).status_code == 404
    for action in ("cancel", "retry"):
        assert other_admin.post(f"{url}/{action}").status_code == 404
    assert other_admin.get("/api/v1/imports").json()["items"] == []
    assert parts.get(f"/api/v1/imports/{uuid4()}").status_code == 404
