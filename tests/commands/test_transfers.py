"""`hubblewave import` and `hubblewave export` against a running platform."""

import csv
import json
import subprocess
import sys
import uuid
from pathlib import Path

import httpx
import pytest

from tests.plugins.stack import Up, eventually

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]


def hubblewave(stack: Up, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hubblewave_pipelines", *arguments]
    return subprocess.run(
        [*command, "--data-dir", str(stack.data_dir)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def entity(stack: Up) -> str:
    name = f"Cargo{uuid.uuid4().hex[:8]}"
    fields = [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "weight", "type": "decimal", "min": "0"},
    ]
    made = httpx.post(
        f"{stack.ready['api_url']}/api/v1/entities",
        json={"name": name, "pluralName": f"{name}s", "fields": fields},
        headers={"X-API-Key": stack.api_key},
    )
    assert made.status_code == 201, made.text
    return name


def test_a_file_goes_in_and_comes_out(stack: Up, entity: str, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("Code,kg\nA,1.50\nB,-2\nC,3\nD,\n")
    rejects = tmp_path / "rejects.csv"
    maps = ("--map", "Code=code", "--map", "kg=weight")
    done = hubblewave(stack, "import", str(source), entity, *maps, "--rejects", str(rejects))
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout.startswith("partial: 3 created, 0 updated, 0 unchanged, 0 skipped, 1 failed")
    assert list(csv.reader(rejects.open()))[1][2:] == ["B", "-2"]

    where = json.dumps({"weight": {"isNull": False}})
    asked = ("--where", where, "--fields", "code,weight", "--sort", "-weight", "--json")
    done = hubblewave(stack, "export", entity, str(target), *asked)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["totalRecords"] == 2
    assert target.read_text() == 'code,weight\n"C",3\n"A",1.50\n'

    packed = tmp_path / "all.ndjson.gz"
    assert hubblewave(stack, "export", entity, str(packed)).returncode == 0
    assert packed.read_bytes()[:2] == b"\x1f\x8b"
    again = hubblewave(stack, "import", str(target), entity, "--unique", "code", "--json")
    assert (again.returncode, json.loads(again.stdout)["skippedRecords"]) == (0, 2)


def test_a_watched_directory_is_imported_from(stack: Up, entity: str) -> None:
    folder = stack.data_dir / "files" / "default" / f"in-{entity}"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("code,weight\nA,1\nB,2\n")
    asked = ("--pattern", "*.csv", "--unique", "code", "--strategy", "update")
    done = hubblewave(stack, "watch", str(folder), entity, *asked)
    assert done.returncode == 0, done.stderr
    where, _, told = done.stdout.partition(" is watched: ")
    assert where == f"file://{folder.resolve()}/"
    path = told.split()[0]
    with httpx.Client(
        base_url=stack.ready["api_url"], headers={"X-API-Key": stack.api_key}, timeout=30
    ) as client:

        def imported() -> bool:
            found = client.get(path).json()
            assert found["lastError"] is None
            return any(file["importId"] for file in found["files"])

        eventually(imported, "the import of what arrived", seconds=240)
        [file] = client.get(path).json()["files"]
        url = f"/api/v1/imports/{file['importId']}"
        eventually(lambda: client.get(url).json()["status"] == "completed", "its end", seconds=240)
        assert client.get(url).json()["createdRecords"] == 2
        assert client.delete(path).status_code == 204
    refused = hubblewave(stack, "watch", "/etc", entity)
    assert refused.returncode == 1
    assert "HUBBLEWAVE_FILE_LOCATIONS" in refused.stderr


def test_what_the_api_refuses_is_said_with_its_place(stack: Up, tmp_path: Path) -> None:
    done = hubblewave(stack, "export", "Nothing", str(tmp_path / "x.csv"), "--json")
    assert done.returncode == 1
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "request.invalid"
    assert "#/entity" in error["detail"]
    assert not (tmp_path / "x.csv").exists()
    (tmp_path / "x.csv").write_text("a\n1\n")
    bad = hubblewave(stack, "import", str(tmp_path / "x.csv"), "Nothing", "--map", "a")
    assert (bad.returncode, bad.stdout) == (1, "")
