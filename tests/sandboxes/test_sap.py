"""The SAP sandbox, driven by pyodata as it is; and by bare HTTP where pyodata has no words for it."""

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from email.message import Message
from email.parser import Parser
from typing import Any
from urllib.parse import quote

import httpx
import pyodata
import pytest
import requests
from lxml import etree

from hubblewave_pipelines.sandboxes.sap.logon import PASSWORD, USER
from hubblewave_pipelines.sandboxes.serving import Running
from tests.plugins.sandboxes import START
from tests.plugins.sap_system import V2, V4, Serve

ORDERS = f"{V2}/API_SALES_ORDER_SRV"
PARTNERS = f"{V2}/API_BUSINESS_PARTNER"
PRODUCTS = f"{V2}/API_PRODUCT_SRV"


@pytest.fixture
def run(serve: Serve) -> Running:
    return serve("sap", records=1_200)


def _pyodata(run: Running, service: str) -> tuple[Any, requests.Session]:
    session = requests.Session()
    session.auth = (USER, PASSWORD)
    # Gateway writes the host that it believes to have, and pyodata follows no other
    url = run.url.replace("127.0.0.1", "localhost")
    return pyodata.Client(f"{url}{service}", session), session


def _arm(session: requests.Session, run: Running, service: str) -> None:
    url = run.url.replace("127.0.0.1", "localhost") + service + "/"
    answer = session.get(url, headers={"X-CSRF-Token": "Fetch", "Accept": "application/json"})
    session.headers["X-CSRF-Token"] = answer.headers["x-csrf-token"]


@pytest.fixture
def http(run: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=run.url, auth=(USER, PASSWORD)) as client:
        yield client


def _get(http: httpx.Client, path: str, **options: str) -> Any:
    query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
    answer = http.get(f"{path}?{query}", headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_pyodata_reads_metadata_pages_filters_and_counts(run: Running) -> None:
    client, _ = _pyodata(run, ORDERS)
    orders = client.entity_sets.A_SalesOrder
    kind = client.schema.entity_type("A_SalesOrderType")
    assert [prop.name for prop in kind.key_proprties] == ["SalesOrder"]
    assert kind.proprty("TotalNetAmount").label == "Net Value"
    assert not kind.proprty("OverallSDProcessStatus").filterable
    page = orders.get_entities().order_by("SalesOrder").count(inline=True).execute()
    seen, total = [one.SalesOrder for one in page], page.total_count
    while page.next_url:
        page = orders.get_entities().next_url(page.next_url).execute()
        seen += [one.SalesOrder for one in page]
    rows = run.sandbox.stage.tables["orders"].rows
    assert (total, seen) == (len(rows), sorted(rows, key=int))
    wanted = [
        key for key, row in rows.items() if row["LastChangeDateTime"] >= START - timedelta(days=30)
    ]
    request = orders.get_entities()
    since = (START - timedelta(days=30)).isoformat()
    found = request.filter(
        f"LastChangeDateTime ge datetimeoffset'{since}' and SalesOrder ne '1'"
    ).execute()
    assert sorted(one.SalesOrder for one in found) == sorted(wanted)
    assert request.count().execute() == len(wanted)
    one = orders.get_entity("9500").execute()
    amount = rows["9500"]["TotalNetAmount"]
    assert Decimal(str(one.TotalNetAmount)) == amount
    assert [item.SalesOrderItem for item in one.nav("to_Item").get_entities().execute()] == ["10"]


def test_pyodata_writes_under_tokens_and_tags_and_in_batches(run: Running) -> None:
    client, session = _pyodata(run, PRODUCTS)
    products = client.entity_sets.A_Product
    with pytest.raises(pyodata.exceptions.HttpError, match="403"):
        products.create_entity().set(Product="NEW 1/2", ProductType="FERT").execute()
    _arm(session, run, PRODUCTS)
    made = products.create_entity().set(Product="NEW 1/2", ProductType="FERT").execute()
    rows = run.sandbox.stage.tables["products"].rows
    assert (made.Product, rows["NEW%201%2F2"]["ProductType"]) == ("NEW 1/2", "FERT")
    key = next(row["Product"] for row in rows.values() if row["Product"].startswith("FG-"))
    for headers, status in (({}, 428), ({"If-Match": 'W/"stale"'}, 412)):
        change = products.update_entity(key).set(ProductDescription="changed")
        change.add_headers(headers)
        with pytest.raises(pyodata.exceptions.HttpError, match=str(status)):
            change.execute()
    change = products.update_entity(key).set(ProductDescription="changed")
    change.add_headers({"If-Match": products.get_entity(key).execute().etag})
    change.execute()
    assert products.get_entity(key).execute().ProductDescription == "changed"
    batch = client.create_batch()
    whole = client.create_changeset()
    whole.add_request(products.create_entity().set(Product="A", ProductType="ROH"))
    whole.add_request(products.create_entity().set(Product="B", ProductType="ROH"))
    batch.add_request(whole)
    batch.add_request(products.get_entities().filter("Product eq 'A'"))
    made_two, read = batch.execute()
    assert [one.Product for one in made_two] == ["A", "B"]
    assert [one.Product for one in read] == ["A"]
    broken = client.create_batch()
    half = client.create_changeset()
    half.add_request(products.create_entity().set(Product="C", ProductType="ROH"))
    half.add_request(products.create_entity().set(Product="A", ProductType="ROH"))
    broken.add_request(half)
    with pytest.raises(pyodata.exceptions.HttpError):
        broken.execute()
    assert "C" not in run.sandbox.stage.tables["products"].rows


def test_dates_decimals_and_numbers_are_written_as_gateway_writes_them(http: httpx.Client) -> None:
    row = _get(http, f"{ORDERS}/A_SalesOrder('9500')")["d"]
    assert isinstance(row["TotalNetAmount"], str)
    assert row["TotalNetAmount"].partition(".")[2].__len__() == 3
    assert row["LastChangeDateTime"].endswith("+0000)/")
    partners = _get(http, f"{PARTNERS}/A_BusinessPartner", **{"$top": "50"})["d"]["results"]
    assert {row["LastChangeDate"] is None for row in partners} == {True, False}
    assert any(row["Industry"].startswith("0") for row in partners)
    assert partners[0]["CreationTime"].startswith("PT")
    v4 = f"{V4}/SalesOrder('9500')"
    plain = json.loads(http.get(v4).text, parse_float=Decimal)
    exact = http.get(v4, headers={"Accept": "application/json;IEEE754Compatible=true"}).json()
    assert str(plain["TotalNetAmount"]) == exact["TotalNetAmount"] == row["TotalNetAmount"]
    assert plain["LastChangeDateTime"].endswith("Z")


def test_filters_are_parsed_and_refused_where_they_are_wrong(
    http: httpx.Client, run: Running
) -> None:
    rows = run.sandbox.stage.tables["partners"].rows.values()
    path = f"{PARTNERS}/A_BusinessPartner"
    cases = {
        "substringof('MÜLLER',SearchTerm1)": lambda r: "MÜLLER" in r["SearchTerm1"],
        "startswith(FirstName,'J') eq true": lambda r: r["FirstName"].startswith("J"),
        "not (BusinessPartnerCategory eq '1') and BusinessPartnerIsBlocked eq true": lambda r: (
            r["BusinessPartnerCategory"] != "1" and r["BusinessPartnerIsBlocked"]
        ),
        "LastName eq 'O''Brien' or LastName eq 'Smith & Sons'": lambda r: r["LastName"] in ("O'Brien", "Smith & Sons"),
        "LastChangeDate eq null": lambda r: r["LastChangeDate"] is None,
        "CreationDate ge datetime'2025-09-01T00:00:00'": lambda r: str(r["CreationDate"]) >= "2025-09-01",
        "CreationTime lt time'PT06H00M00S'": lambda r: r["CreationTime"].hour < 6,
        "BusinessPartner gt '0000001400' and BusinessPartner le '1500'": lambda r: (
            r["BusinessPartner"].isdigit() and 1400 < int(r["BusinessPartner"]) <= 1500
        ),
    }  # fmt: skip
    for text, fits in cases.items():
        found = _get(http, path, **{"$filter": text})["d"]["results"]
        assert sorted(one["BusinessPartner"] for one in found) == sorted(
            r["BusinessPartner"] for r in rows if fits(r)
        ), text
    for wrong in (
        "Nope eq 'x'",
        "LastName eq 5",
        "LastName",
        "LastName eq 'x' and",
        "LastName is 'x'",
        "(LastName eq 'x'",
    ):
        answer = http.get(f"{path}?$filter={quote(wrong)}")
        assert answer.status_code == 400, wrong
        assert answer.json()["error"]["message"]["lang"] == "en"
    hidden = http.get(
        f"{ORDERS}/A_SalesOrder?$filter={quote(chr(39).join(['OverallSDProcessStatus eq ', 'A', '']))}"
    )
    assert "not filterable" in hidden.json()["error"]["message"]["value"]
    plus = http.get(f"{V4}/SalesOrder?$filter=SalesOrder+eq+'9500'")
    assert (plus.status_code, isinstance(plus.json()["error"]["message"], str)) == (400, True)


def test_server_pages_end_with_an_empty_one_and_links_name_another_host(serve: Serve) -> None:
    run = serve("sap", records=400, extra={"page": 200})
    with httpx.Client(base_url=run.url, auth=(USER, PASSWORD)) as http:
        sizes, path = [], f"{ORDERS}/A_SalesOrder?$format=json&$select=SalesOrder"
        while path:
            page = http.get(path).json()["d"]
            sizes.append(len(page["results"]))
            link = page.get("__next", "")
            assert link == "" or link.startswith("http://localhost:")
            path = link.replace("localhost", "127.0.0.1")
        assert sizes == [200, 200, 0]
        page = http.get(f"{V4}/SalesOrder", headers={"Prefer": "odata.maxpagesize=150"})
        assert page.headers["preference-applied"] == "odata.maxpagesize=150"
        assert len(page.json()["value"]) == 150
        assert page.json()["@odata.nextLink"].startswith("SalesOrder?$skiptoken=")


@pytest.mark.parametrize("version", [2, 4], ids=["v2", "v4"])
def test_delta_links_tell_changes_and_deletes_at_least_once(
    run: Running, http: httpx.Client, version: int
) -> None:
    root, name = (PRODUCTS, "A_Product") if version == 2 else (V4, "SalesOrder")
    table = "products" if version == 2 else "orders"
    keys = list(run.sandbox.stage.tables[table].rows)

    def walk(path: str) -> tuple[list[Any], str]:
        rows: list[Any] = []
        while True:
            body = http.get(
                path, headers={"Prefer": "odata.track-changes", "Accept": "application/json"}
            ).json()
            page = body["d"] if version == 2 else body
            rows += page["results" if version == 2 else "value"]
            link = page.get("__next") or page.get("@odata.nextLink")
            done = page.get("__delta") or page.get("@odata.deltaLink")
            path = (link or done).replace("localhost", "127.0.0.1")
            path = path if path.startswith("http") else f"{root}/{path}"
            if done:
                return rows, path

    whole, delta = walk(f"{root}/{name}")
    assert len(whole) == len(keys)
    vendor = run.sandbox.vendor
    vendor.delete(table, keys[3], START)
    changed, delta = walk(delta)
    assert [row["id"].rpartition("(")[2] for row in changed if "id" in row] == [f"'{keys[3]}')"]
    again, delta = walk(delta)
    assert len(again) == 1  # the last change before the link comes again
    assert (
        http.get(f"{root}/{name}?{'!' if version == 2 else '$'}deltatoken=nonsense").status_code
        == 400
    )


def test_logon_client_tokens_and_their_expiry(run: Running, http: httpx.Client) -> None:
    assert httpx.get(f"{run.url}{ORDERS}/").status_code == 401
    assert http.get(f"{ORDERS}/?sap-client=200").status_code == 401
    fetched = http.get(f"{ORDERS}/", headers={"X-CSRF-Token": "Fetch"})
    token = {"X-CSRF-Token": fetched.headers["x-csrf-token"], "If-Match": "*"}
    order = f"{ORDERS}/A_SalesOrder('9501')"
    assert (
        http.patch(order, json={"PurchaseOrderByCustomer": "x"}, headers=token).status_code == 204
    )
    with httpx.Client(base_url=run.url, auth=(USER, PASSWORD)) as other:  # without its cookie
        refused = other.patch(order, json={}, headers=token)
    assert (refused.status_code, refused.headers["x-csrf-token"]) == (403, "Required")
    run.sandbox.clock.advance(timedelta(hours=1))
    assert http.patch(order, json={}, headers=token).headers["x-csrf-token"] == "Required"
    form = {
        "grant_type": "client_credentials",
        "client_id": "sb-hubblewave",
        "client_secret": "sandbox-secret",
    }
    bearer = httpx.post(f"{run.url}/sap/bc/sec/oauth2/token", data=form).json()["access_token"]
    held = {"Authorization": f"Bearer {bearer}"}
    assert httpx.get(f"{run.url}{ORDERS}/", headers=held).status_code == 200


def test_json_batches_keep_groups_whole(run: Running, http: httpx.Client) -> None:
    token = http.get(f"{V4}/", headers={"X-CSRF-Token": "Fetch"}).headers["x-csrf-token"]
    body = {
        "requests": [
            {"id": "1", "method": "GET", "url": "SalesOrder/$count"},
            {"id": "2", "atomicityGroup": "g", "method": "POST", "url": "SalesOrder", "body": {"SalesOrderType": "OR"}},
            {"id": "3", "atomicityGroup": "g", "method": "POST", "url": "SalesOrder", "body": {"Wrong": 1}},
            {"id": "4", "method": "GET", "url": "SalesOrder/$count", "dependsOn": ["3"]},
        ]
    }  # fmt: skip
    answer = http.post(f"{V4}/$batch", json=body, headers={"X-CSRF-Token": token}).json()[
        "responses"
    ]
    assert [(one["id"], one["status"]) for one in answer] == [("1", 200), ("3", 400), ("4", 424)]
    assert len(run.sandbox.stage.tables["orders"].rows) == 1_200


def test_metadata_of_v4_is_typed_and_annotated(http: httpx.Client) -> None:
    root = etree.fromstring(http.get(f"{V4}/$metadata").content)
    names = {"e": "http://docs.oasis-open.org/odata/ns/edm"}
    types = {p.get("Name"): p.get("Type") for p in root.findall(".//e:Property", names)}
    assert (types["LastChangeDateTime"], types["CreationDate"]) == (
        "Edm.DateTimeOffset",
        "Edm.Date",
    )
    terms = {note.get("Term") for note in root.findall(".//e:Annotation", names)}
    assert {
        "Common.Label",
        "Capabilities.ChangeTracking",
        "Capabilities.FilterRestrictions",
    } <= terms


def test_the_same_seed_gives_the_same_data_and_multipart_answers_parse(
    serve: Serve, http: httpx.Client
) -> None:
    first, second = (serve("sap", records=50, seed=7) for _ in range(2))
    assert [t.rows for t in first.sandbox.stage.tables.values()] == [
        t.rows for t in second.sandbox.stage.tables.values()
    ]
    token = http.get(f"{ORDERS}/", headers={"X-CSRF-Token": "Fetch"}).headers["x-csrf-token"]
    part = "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nGET A_SalesOrder('9500') HTTP/1.1\r\nAccept: application/json\r\n\r\n\r\n--b--\r\n"
    answer = http.post(
        f"{ORDERS}/$batch",
        content=part,
        headers={"X-CSRF-Token": token, "Content-Type": "multipart/mixed;boundary=b"},
    )
    assert answer.status_code == 202
    message: Message = Parser().parsestr(
        f"Content-Type: {answer.headers['content-type']}\n\n{answer.text}"
    )
    inner = message.get_payload()[0].get_payload()  # type: ignore[index,union-attr]
    assert str(inner).startswith("HTTP/1.1 200 OK")
