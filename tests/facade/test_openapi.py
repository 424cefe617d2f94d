"""The document of a tenant: valid in both forms, true of the server, changed with the definitions."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from openapi_spec_validator import validate

from api import records
from api.openapi import Served
from api.openapi import document as pieces_of
from hubblewave_pipelines.core.definition import parse_definition
from hubblewave_pipelines.core.entity import Catalog, Entity, FieldKind
from tests.facade.conftest import Connect, Standing
from tests.plugins import fuzz

ADDRESS = "/api/v1/openapi.json"
UUID = "0198c0de-0000-7000-8000-000000000001"
_RULES: dict[FieldKind, dict[str, Any]] = {
    FieldKind.ENUM: {"enum": ["new", "won't do"], "default": "new"},
    FieldKind.TEXT: {"maxLength": 50, "description": "What it is called."},
    FieldKind.INTEGER: {"min": 0, "max": 1000, "example": 7},
    FieldKind.DECIMAL: {"min": 0},
    FieldKind.DATE: {"min": "2000-01-01"},
}
PRODUCT = {
    "name": "Product",
    "pluralName": "Products",
    "description": "A thing for sale.",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True, "example": "A-1"},
        *({"name": f"a{kind.title()}", "type": kind, **_RULES.get(kind, {})} for kind in FieldKind),
        {"name": "rank", "type": "integer", "computed": True},
    ],
}
ORDER = {
    "name": "Order",
    "pluralName": "orders",
    "fields": [{"name": "total", "type": "decimal", "required": True}],
    "relationships": [
        {"name": "main", "type": "manyToOne", "targetEntity": "Product"},
        {"name": "others", "type": "manyToMany", "targetEntity": "Product"},
    ],
}


@pytest.fixture(scope="module")
def client(standing: Standing) -> httpx.Client:
    found = standing.client()
    for definition in (PRODUCT, ORDER):
        made = found.post("/api/v1/entities", json=definition)
        assert made.status_code == 201, made.text
    return found


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    answer = client.get(ADDRESS)
    assert answer.status_code == 200, answer.text
    return answer.json()


def filled(path: str) -> str:
    """A path of the document with something in each of its places."""
    return "/api/v1" + re.sub(r"\{(\w+)\}", lambda m: "Order" if m[1] == "name" else UUID, path)


@pytest.mark.parametrize(("asked", "form"), [("", "3.0.3"), ("3.0.3", "3.0.3"), ("3.1", "3.1.0")])
def test_the_document_is_valid_in_every_form(client: httpx.Client, asked: str, form: str) -> None:
    found = client.get(ADDRESS, params={"version": asked} if asked else {}).json()
    assert found["openapi"] == form
    validate(found)
    assert ("nullable" in str(found)) == form.startswith("3.0")


def test_unknown_forms_and_parameters_are_refused(client: httpx.Client) -> None:
    answer = client.get(ADDRESS, params={"version": "2.0", "pretty": "1"})
    assert answer.status_code == 400
    assert {fault["parameter"] for fault in answer.json()["errors"]} == {"version", "pretty"}
    with httpx.Client(base_url=client.base_url) as nameless:
        assert nameless.get(ADDRESS).status_code == 401


def test_every_path_answers_exactly_the_methods_the_document_names(
    client: httpx.Client, document: dict[str, Any]
) -> None:
    wrong = {}
    for path, item in document["paths"].items():
        answer = client.request("TRACE", filled(path))
        allowed = set(answer.headers.get("allow", "").split(", ")) - {"HEAD"}
        if answer.status_code != 405 or allowed != {method.upper() for method in item}:
            wrong[path] = (answer.status_code, sorted(allowed), sorted(item))
    assert wrong == {}


def test_every_route_of_the_application_is_in_the_document(
    standing: Standing, document: dict[str, Any]
) -> None:
    from api import docs, entities, imports, keys

    fixed = {
        route.path_format for m in (docs, entities, imports, keys) for route in m.router.routes
    }
    assert fixed - document["paths"].keys() == set()
    routes = {f"/orders{route.replace('{relation}', 'others')}" for route in records.offered()}
    assert routes - document["paths"].keys() == set()


def test_a_part_of_the_document_is_whole_in_itself(client: httpx.Client) -> None:
    whole = client.get(ADDRESS).json()
    for form in ("3.0.3", "3.1"):
        found = client.get(ADDRESS, params={"entity": "Order", "version": form}).json()
        validate(found)
        assert {path.split("/")[1] for path in found["paths"]} == {"orders"}
        assert [tag["name"] for tag in found["tags"]] == ["Order"]
    part = client.get(ADDRESS, params={"entity": "Order"}).json()
    assert part["paths"] == {k: v for k, v in whole["paths"].items() if k.startswith("/orders")}
    schemas = part["components"]["schemas"]
    for name, schema in schemas.items():
        assert schema == whole["components"]["schemas"][name], name
    assert {"Order", "Order_Where", "Product_Where"} <= schemas.keys()
    assert {"Product_Create", "platform_Import"} & schemas.keys() == set()
    both = client.get(f"{ADDRESS}?entity=Order&entity=Product").json()
    assert both == client.get(f"{ADDRESS}?entity=Product,Order").json()
    assert {path.split("/")[1] for path in both["paths"]} == {"orders", "products"}
    for bad, code in (("Ordr", "unknown"), ("", "unknown"), (",".join(["Order"] * 101), "range")):
        answer = client.get(ADDRESS, params={"entity": bad})
        assert answer.status_code == 400, answer.text
        [fault] = answer.json()["errors"]
        assert (fault["parameter"], fault["code"]) == ("entity", code)
    assert "Order" in client.get(ADDRESS, params={"entity": "Ordr"}).json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0, identity", False),
        ("br", False),
    ],
    ids=["gzip", "weighed", "any", "none", "plain", "refused", "another"],
)
def test_the_document_is_sent_compressed_to_whoever_takes_it(
    client: httpx.Client, document: dict[str, Any], accepted: str, packed: bool
) -> None:
    answer = client.get(ADDRESS, headers={"Accept-Encoding": accepted})
    assert answer.json() == document
    assert (answer.headers.get("content-encoding") == "gzip") == packed
    assert "Accept-Encoding" in answer.headers["vary"]


def query_names(operation: dict[str, Any]) -> set[str]:
    return {p["name"] for p in operation["parameters"] if p.get("in") == "query"}


def test_every_parameter_of_a_list_is_known_to_the_server(
    client: httpx.Client, document: dict[str, Any]
) -> None:
    given = {
        "page": "1",
        "pageSize": "5",
        "sort": "-total,id",
        "fields": "id,total",
        "expand": "main",
        "filter": None,
        "where": '{"total": {"gte": "1"}}',
        "q": "word",
        "count": "exact",
        "after": "no cursor",
        "before": "no cursor",
        "deleted": "include",
        "asOf": "2026-01-31T08:30:00Z",
    }
    documented = query_names(document["paths"]["/orders"]["get"])
    assert documented == given.keys()
    for name, value in given.items():
        if value is None:
            answer = client.get("/api/v1/orders", params={"filter[total]": "12.5"})
        else:
            answer = client.get("/api/v1/orders", params={name: value})
        if name in ("after", "before"):
            assert answer.json()["code"] == "request.cursor_mismatch"
        elif name == "q":
            assert "not a parameter" not in answer.text  # an order has no text to look into
        else:
            assert answer.status_code == 200, (name, answer.text)


def test_the_server_knows_no_parameter_that_the_document_does_not(
    client: httpx.Client, document: dict[str, Any]
) -> None:
    documented = query_names(document["paths"]["/orders"]["get"])
    for name in ("limit", "offset", "order", "select", "include", "deletedAt", "expanded"):
        assert name not in documented
        assert client.get("/api/v1/orders", params={name: "1"}).status_code == 400


def test_the_examples_are_accepted(client: httpx.Client, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    product = client.post("/api/v1/products", json=schemas["Product_Create"]["example"])
    assert product.status_code == 201, product.text
    order = client.post("/api/v1/orders", json=schemas["Order_Create"]["example"])
    assert order.status_code == 201, order.text
    assert client.delete(f"/api/v1/products/{product.json()['id']}").status_code == 204
    assert client.delete(f"/api/v1/orders/{order.json()['id']}").status_code == 204


def test_schemas_say_what_the_definition_says(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    create = schemas["Product_Create"]
    assert create["required"] == ["code"]
    assert "rank" not in create["properties"]
    assert create["additionalProperties"] is False
    read = schemas["Product"]["properties"]
    assert read["rank"] == {
        "type": "integer",
        "format": "int64",
        "nullable": True,
        "readOnly": True,
    }
    assert read["aEnum"]["enum"] == ["new", "won't do", None]
    assert read["aText"] == {
        "type": "string",
        "maxLength": 50,
        "nullable": True,
        "description": "What it is called.",
    }
    assert create["properties"]["aEnum"]["default"] == "new"
    assert read["aInteger"]["minimum"] == 0
    assert read["aInteger"]["maximum"] == 1000
    where = schemas["Order_Where"]["properties"]
    assert where["others"]["properties"].keys() == {"some", "none", "every"}
    assert where["main"] == {"$ref": "#/components/schemas/Product_Where"}
    assert document["components"]["securitySchemes"].keys() == {"ApiKeyAuth", "OAuth2"}


def test_a_changed_definition_shows_at_once_and_to_its_tenant_alone(
    admin: httpx.Client, other_admin: httpx.Client
) -> None:
    before = admin.get(ADDRESS).json()
    assert "/orders" not in before["paths"]
    plain = {**ORDER, "relationships": []}
    defined = admin.post("/api/v1/entities", json=plain).json()
    assert "/orders" in admin.get(ADDRESS).json()["paths"]
    more = {**defined, "fields": [*defined["fields"], {"name": "note", "type": "text"}]}
    assert admin.put("/api/v1/entities/Order", json=more).status_code == 200
    schemas = admin.get(ADDRESS).json()["components"]["schemas"]
    assert "note" in schemas["Order"]["properties"]
    assert "/orders" not in other_admin.get(ADDRESS).json()["paths"]
    assert admin.delete("/api/v1/entities/Order?force=true").status_code == 204
    assert "/orders" not in admin.get(ADDRESS).json()["paths"]


class TestPage:
    def test_the_page_needs_neither_a_key_nor_another_server(self, connect: Connect) -> None:
        client = connect(None)
        page = client.get("/api/docs")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "'unsafe-eval'" not in page.headers["content-security-policy"]
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        loaded = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
        assert len(loaded) == 4
        for address in loaded:
            asset = client.get(address)
            assert asset.status_code == 200, address
            assert asset.headers["content-type"].startswith(("text/javascript", "text/css"))
            assert asset.headers["cache-control"] == "public, max-age=3600"
        assert "http" not in page.text

    @pytest.mark.parametrize("name", ["nothing.js", "..%2fdocs.py", "index.html"])
    def test_nothing_else_is_served_beside_it(self, connect: Connect, name: str) -> None:
        answer = connect(None).get(f"/api/docs/{name}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_requests_made_from_the_document_find_no_server_error(
    client: httpx.Client, standing: Standing, document: dict[str, Any], tmp_path: Path
) -> None:
    """A bounded pass over an entity with relations; proof_schemathesis makes the long one."""
    assert "/orders" in document["paths"]
    given = ["--phases", "examples,coverage", "--max-time", "10", "--seed", "1"]
    given += ["--include-path-regex", "^/orders"]
    ran = fuzz.run(f"{standing.url}{ADDRESS}", standing.key, tmp_path, *given)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert fuzz.cases(ran.stdout) > 0, ran.stdout  # how many depends on the machine


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/orders/aggregate", {"aggregate[sum]": "total", "groupBy": "mainId"}),
        ("/orders/aggregate", {"aggregate[max]": "total", "page": "1", "filter[total]": "1"}),
        ("/orders/changes", {"limit": "5", "wait": "1", "fields": "id"}),
        ("/products", {"q": "word", "filter[code]": "A"}),
    ],
    ids=["sums", "extremes", "changes", "words"],
)
def test_other_lists_know_their_parameters(
    client: httpx.Client, document: dict[str, Any], path: str, given: dict[str, str]
) -> None:
    documented = query_names(document["paths"][path]["get"])
    assert {name.partition("[")[0] for name in given} <= documented
    answer = client.get(f"/api/v1{path}", params=given)
    assert answer.status_code == 200, answer.text


def test_a_part_of_many_entities_does_not_grow_with_them() -> None:
    tenant, entities = uuid4(), list[Entity]()
    for number in range(6):
        before = {"name": "before", "type": "manyToOne", "targetEntity": f"Thing{number - 1}"}
        body = {
            "name": f"Thing{number}",
            "pluralName": f"Things{number}",
            "fields": [{"name": "code", "type": "text"}],
            "relationships": [before] if number else [],
        }
        known = Catalog(tenant, number, tuple(entities))
        entities.append(parse_definition(body, tenant_schema="t_aaaaaaaa", catalog=known))
    served = Served([], records.offered())
    only = frozenset({"Thing5"})
    for version in ("3.0.3", "3.1.0"):
        pieces = pieces_of(
            Catalog(tenant, 6, tuple(entities)),
            served,
            server="/",
            base="",
            version=version,
            only=only,
        )
        found = json.loads(b"".join(pieces))
        validate(found)
        schemas = found["components"]["schemas"]
        assert "properties" in schemas["Thing4_Where"]
        assert schemas["Thing3_Where"]["description"] == "Ask for the entity Thing3, too."
        assert not [name for name in schemas if name.startswith(("Thing2", "Thing1", "Thing0"))]
