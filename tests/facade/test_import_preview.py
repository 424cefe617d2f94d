"""A preview shows what an import would do and does nothing; refused rows are mended and come in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.transfer import files

PART = {
    "name": "Part",
    "pluralName": "Parts",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "stock", "type": "integer", "min": 0},
        {"name": "price", "type": "decimal"},
        {"name": "since", "type": "date"},
        {"name": "note", "type": "text"},
    ],
}
WORK = Callable[[str], str]


@pytest.fixture
def parts(admin: httpx.Client) -> httpx.Client:
    assert admin.post("/api/v1/entities", json=PART).status_code == 201
    return admin


def send(
    client: httpx.Client, content: bytes, name: str, to: str = "", **parts: Any
) -> httpx.Response:
    form = {key: (None, json.dumps(value)) for key, value in parts.items()}
    form["entity"] = (None, "Part")
    sent = {"file": (name, content), **form}
    return client.post(f"/api/v1/imports{to}", files=sent)


def test_a_preview_shows_columns_mapping_and_outcomes_and_writes_nothing(
    parts: httpx.Client, data_dir: Path
) -> None:
    assert parts.post("/api/v1/parts", json={"code": "B", "stock": 1}).status_code == 201
    before = parts.get("/api/v1/parts").json()["items"]
    content = b"Code;Stck;PRICE;Since;Unknown\nA;5;1,50;31.01.2026;x\nB;1;2,00;01.02.2026;y\nC;-1;x;31.02.2026;\n"
    options = {"uniqueFields": ["code"], "duplicateStrategy": "merge"}
    found = send(parts, content, "p.csv", "/preview", options=options).json()
    assert found["detected"]["delimiter"] == ";"
    assert [(c["name"], c["type"]) for c in found["columns"]] == [
        ("Code", "text"),
        ("Stck", "integer"),
        ("PRICE", "text"),
        ("Since", "text"),
        ("Unknown", "text"),
    ]
    sure = {s["sourceField"]: (s["targetField"], s["confidence"]) for s in found["suggestions"]}
    assert (sure["Code"], sure["PRICE"]) == (("code", 1.0), ("price", 1.0))
    assert sure["Stck"][0] == "stock"
    assert 0.6 <= sure["Stck"][1] < 1
    assert "Unknown" not in sure
    mapping = [
        {"sourceField": "Code", "targetField": "code"},
        {"sourceField": "Stck", "targetField": "stock"},
        {"sourceField": "PRICE", "targetField": "price", "transform": {"number": {"decimal": ","}}},
        {"sourceField": "Since", "targetField": "since", "transform": {"date": "%d.%m.%Y"}},
    ]
    found = send(parts, content, "p.csv", "/preview", mapping=mapping, options=options).json()
    assert found["problems"] == []
    assert [(row["row"], row["outcome"]) for row in found["rows"]] == [
        (1, "created"),
        (2, "updated"),
        (3, "failed"),
    ]
    assert found["rows"][0]["values"] == {
        "code": "A",
        "stock": 5,
        "price": "1.50",
        "since": "2026-01-31",
    }
    wrong = {(e["field"], e["code"]) for e in found["rows"][2]["errors"]}
    assert wrong == {("stock", "range"), ("price", "type"), ("since", "format")}
    assert parts.get("/api/v1/parts").json()["items"] == before
    assert parts.get("/api/v1/imports").json()["items"] == []
    assert list((data_dir / "spool").iterdir()) == []


def test_a_preview_tells_problems_beside_what_it_found(parts: httpx.Client) -> None:
    rows = [{"nummer": n, "stock": n} for n in range(3)]
    found = send(parts, files.xlsx(rows), "p.xlsx", "/preview", options={"uniqueFields": ["x"]})
    body = found.json()
    assert found.status_code == 200
    assert body["detected"]["format"] == "xlsx"
    assert {p["code"] for p in body["problems"]} == {"required", "unknown"}
    assert body["rows"] == []
    assert [c["examples"] for c in body["columns"]] == [["0", "1", "2"]] * 2
    unreadable = send(parts, b"PAR1 and nothing more", "p.parquet", "/preview")
    assert (unreadable.status_code, unreadable.json()["code"]) == (422, "import.failed")


def test_the_schema_of_transforms_is_served(parts: httpx.Client) -> None:
    answer = parts.get("/api/v1/imports/transforms")
    assert answer.headers["content-type"].startswith("application/schema+json")
    jsonschema.Draft202012Validator.check_schema(answer.json())
    assert {"trim", "lookup", "expression"} <= answer.json()["$defs"].keys()


def test_transformations_are_folded_into_the_mapping(parts: httpx.Client, work_off: WORK) -> None:
    options = {"transformations": [{"field": "code", "transform": ["trim", "upper"]}]}
    job = send(parts, b"code,stock\n a ,1\n", "p.csv", options=options).json()
    assert job["mapping"][0]["transform"] == [{"trim": True}, {"upper": True}]
    assert work_off(job["id"]) == "completed"
    assert parts.get("/api/v1/parts").json()["items"][0]["code"] == "A"
    wrong = send(
        parts, b"code\na\n", "p.csv", options={"transformations": [{"field": "no", "transform": 1}]}
    )
    assert wrong.status_code == 422
    assert [e["pointer"] for e in wrong.json()["errors"]] == ["#/options/transformations/0/field"]


@pytest.mark.parametrize(
    ("name", "write", "options"),
    [
        ("p.csv", files.csv, {"encoding": "windows-1252"}),
        ("p.json", lambda rows: b'{"list": ' + files.json_array(rows) + b"}", {"recordPath": "list"}),
        ("p.xml", files.xml, {}),
        ("p.xlsx", files.xlsx, {"sheet": "Data"}),
        ("p.parquet", files.parquet, {}),
    ],
)  # fmt: skip
def test_refused_rows_of_every_format_are_mended_and_uploaded_as_they_are(
    parts: httpx.Client, work_off: WORK, name: str, write: Any, options: dict[str, Any]
) -> None:
    rows = [
        {"code": "A", "stock": "1", "note": 'a; b, "c"\nd'},
        {"code": "B", "stock": "wrong", "note": "x" * 5_000 + ', "é"'},
        {"code": "C", "stock": "wrong", "note": None},
    ]
    content = write(rows)
    if name == "p.csv":
        content = content.decode().encode("cp1252")
    form = {
        "mapping": [
            {"sourceField": "code", "targetField": "code", "transform": "lower"},
            {"sourceField": "stock", "targetField": "stock"},
            {"sourceField": "note", "targetField": "note"},
        ],
        "options": options,
    }
    first = send(parts, content, name, **form).json()
    assert work_off(first["id"]) == "partial"
    rejects = parts.get(f"/api/v1/imports/{first['id']}/rejects").content
    mended = rejects.replace(b"wrong", b"8")
    second = send(parts, mended, "rejects.csv", **form)
    assert second.status_code == 202, second.text
    assert work_off(second.json()["id"]) == "completed"
    found = {r["code"]: (r["stock"], r["note"]) for r in parts.get("/api/v1/parts").json()["items"]}
    assert found["a"] == (1, rows[0]["note"])
    assert found["b"] == (8, rows[1]["note"])
    assert found["c"] == (8, None)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../x.csv", "x.csv"),
        ("..\\..\\x.csv", "x.csv"),
        ("a" * 300 + ".csv", "a" * 251 + ".csv"),
        ("x\u202evsc.exe.csv", "xvsc.exe.csv"),
        ("quo\"te's.csv", "quo%22te's.csv"),  # as the client writes it
    ],
)
def test_i8_a_file_name_is_shown_and_never_used(
    parts: httpx.Client, data_dir: Path, name: str, shown: str
) -> None:
    job = send(parts, b"code\nA\n", name).json()
    assert job["fileName"] == shown
    (kept,) = (data_dir / "spool").iterdir()
    assert len(kept.stem) == 32
    answer = parts.get(f"/api/v1/imports/{job['id']}/rejects")
    disposition = answer.headers["content-disposition"]
    assert disposition == f'attachment; filename="import-{job["id"]}-rejects.csv"'
