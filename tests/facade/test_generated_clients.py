"""Clients that other people's generators make of a tenant's document: they compile, and they work."""

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.facade import rich
from tests.facade.conftest import Standing
from tests.plugins import node

TSC = "node_modules/typescript/bin/tsc"
TYPES = "node_modules/openapi-typescript/bin/cli.js"
COMPILED = {
    "compilerOptions": {
        "strict": True,
        "noUncheckedIndexedAccess": True,
        "exactOptionalPropertyTypes": True,
        "target": "es2022",
        "lib": ["es2022", "dom"],
        "module": "nodenext",
        "moduleResolution": "nodenext",
        "noEmitOnError": True,
        "types": [],
    },
    "files": ["roundtrip.ts"],
}


@pytest.fixture(scope="module")
def tenant(standing: Standing) -> Standing:
    with standing.client() as client:
        rich.define(client)
    return standing


def document(tenant: Standing, version: str) -> bytes:
    with tenant.client() as client:
        answer = client.get("/api/v1/openapi.json", params={"version": version})
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture
def typescript(tmp_path: Path) -> Path:
    """A directory of a TypeScript project that has the packages of tests/clients."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "node_modules").symlink_to(node.CLIENTS / "node_modules")
    (project / "package.json").write_text('{"type": "module"}')
    (project / "tsconfig.json").write_text(json.dumps(COMPILED))
    shutil.copy(node.CLIENTS / "roundtrip.ts", project)
    return project


def types_of(tenant: Standing, project: Path, version: str) -> str:
    """The TypeScript that openapi-typescript makes of the document in this form."""
    written = project / "openapi.json"
    written.write_bytes(document(tenant, version))
    # A property with a default may be left out of a body, which the generator doubts by default.
    ran = node.run(TYPES, str(written), "--default-non-nullable", "false")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.replace("(never | null)", "null")


def test_a_generated_typescript_client_is_strict_and_works(
    tenant: Standing, typescript: Path
) -> None:
    types = types_of(tenant, typescript, "3.0.3")
    assert types_of(tenant, typescript, "3.1") == types
    (typescript / "api.d.ts").write_text(types)
    ran = node.run(TSC, "-p", str(typescript))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    environment = {"API_URL": tenant.url, "API_KEY": tenant.key}
    ran = node.run(typescript / "roundtrip.js", environment=environment)
    assert ran.returncode == 0, ran.stderr
    saw = json.loads(ran.stdout)

    ada = saw["made"]["ada"]
    assert (saw["made"]["status"], saw["made"]["etag"]) == (201, '"1"')
    assert (ada["aDecimal"], ada["aEnum"], ada["aJson"]) == ("12.50", "new", {"deep": [1]})
    assert saw["boss"] is None
    assert (saw["patched"]["name"], saw["patched"]["version"]) == ("Ada L.", 2)
    assert saw["patched"]["aInteger"] is None
    assert saw["stale"] == {"status": 412, "code": "record.version_conflict"}
    assert saw["refused"]["status"] == 422
    assert {fault["pointer"] for fault in saw["refused"]["errors"]} == {"#/name", "#/tier"}
    assert saw["bulk"]["summary"] == {"total": 2, "succeeded": 1, "failed": 1}
    assert [item["status"] for item in saw["bulk"]["items"]] == [201, 409]
    assert saw["filtered"]["items"] == [{"id": ada["id"], "name": "Ada L."}]
    assert saw["filtered"]["pageInfo"]["totalItems"] == 1
    assert (saw["where"], saw["queried"], saw["children"]) == (["T-3"], ["T-1"], ["T-3"])
    assert (saw["deleted"], saw["gone"]["status"]) == (204, 404)
    with tenant.client() as client:
        assert [r["code"] for r in client.get("/api/v1/customers").json()["items"]] == ["T-1"]
        assert client.delete(f"/api/v1/customers/{ada['id']}").status_code == 204


@pytest.fixture
def generated(
    tenant: Standing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """The package that openapi-python-client makes, imported."""
    written = tmp_path / "openapi.json"
    written.write_bytes(document(tenant, "3.0.3"))
    program = str(Path(sys.executable).with_name("openapi-python-client"))
    quiet = tmp_path / "config.yml"
    quiet.write_text("post_hooks: []\n")  # no formatting
    options = ["--path", str(written), "--output-path", str(tmp_path / "made_client")]
    ran = subprocess.run(
        [program, "generate", *options, "--meta", "none", "--config", str(quiet)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Warning" not in ran.stdout, ran.stdout  # it leaves out what it cannot read
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("made_client")
    for name in [name for name in sys.modules if name.partition(".")[0] == "made_client"]:
        del sys.modules[name]


def test_a_generated_python_client_works(tenant: Standing, generated: ModuleType) -> None:
    client = generated.AuthenticatedClient(
        base_url=f"{tenant.url}/api/v1",
        token=tenant.key,
        prefix="",
        auth_header_name="X-API-Key",
        raise_on_unexpected_status=True,
    )

    def call(tag: str, name: str, *arguments: object, **named: object) -> Any:
        operation = importlib.import_module(f"made_client.api.{tag}.{name}")
        return operation.sync_detailed(*arguments, client=client, **named)

    models = importlib.import_module("made_client.models")
    tier = models.CustomerCreateTier
    body = models.CustomerCreate(code="P-1", name="Ada", tier=tier.PRO, a_decimal="12.50")
    made = call("customer", "create_customer", body=body)
    assert made.status_code == 201
    ada = made.parsed
    assert isinstance(ada, models.Customer)
    assert (ada.a_decimal, ada.tier, ada.version) == ("12.50", "pro", 1)

    again = call("customer", "create_customer", body=body)
    assert isinstance(again.parsed, models.PlatformProblem)
    assert (again.status_code, again.parsed.errors[0].pointer) == (409, "#/code")

    read = call("customer", "get_customer", ada.id, expand="parent,children")
    assert (read.parsed.name, read.parsed.parent, read.parsed.children.items) == ("Ada", None, [])

    patch, etag = models.CustomerPatch(name="Ada L."), made.headers["etag"]
    changed = call("customer", "patch_customer", ada.id, body=patch, if_match=etag)
    assert (changed.parsed.name, changed.parsed.version) == ("Ada L.", 2)
    stale = call("customer", "patch_customer", ada.id, body=patch, if_match=etag)
    assert (stale.status_code, stale.parsed.code) == (412, "record.version_conflict")

    order = {"total": "3.10", "customer_id": ada.id}
    orders = [models.OrderCreate(number=f"O-{n}", **order) for n in (1, 2)]
    bulk = call("order", "bulk_create_order", body=models.BulkCreateOrderBody(items=orders))
    assert [item.status for item in bulk.parsed.items] == [201, 201]

    where = models.OrderWhere.from_dict({"customer": {"code": {"eq": "P-1"}}})
    asked = models.QueryOrderBody(
        where=where, sort="-number", count=models.QueryOrderBodyCount.EXACT
    )
    listed = call("order", "query_order", body=asked).parsed
    assert [found.number for found in listed.items] == ["O-2", "O-1"]
    assert listed.page_info.total_items == 2
    page = call("order", "list_order", page_size=1, sort="number").parsed
    assert (page.items[0].number, page.page_info.has_next_page) == ("O-1", True)
    after = call("order", "list_order", after=page.page_info.end_cursor, sort="number")
    assert [found.number for found in after.parsed.items] == ["O-2"]

    refused = call("customer", "delete_customer", ada.id)
    assert (refused.status_code, type(refused.parsed)) == (409, models.PlatformProblem)
    for found in listed.items:
        assert call("order", "delete_order", found.id).status_code == 204
    assert call("customer", "delete_customer", ada.id).status_code == 204
    assert call("customer", "get_customer", ada.id).status_code == 404
