"""The Salesforce sandbox, driven by simple-salesforce as it is and by plain HTTP where that cannot go."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceExpiredSession, SalesforceMalformedRequest

from hubblewave_pipelines.sandboxes.salesforce import cells, oauth
from hubblewave_pipelines.sandboxes.salesforce.model import full_id, id_of, with_check
from hubblewave_pipelines.sandboxes.salesforce.soql import parse
from hubblewave_pipelines.sandboxes.salesforce.stand_in import SalesforceSandbox
from hubblewave_pipelines.sandboxes.serving import Running
from tests.plugins.salesforce_client import sign_in, vendor_client
from tests.plugins.sandboxes import START

Serve = Callable[..., Running]
V = "/services/data/v60.0"


@pytest.fixture
def running(serve: Serve) -> Running:
    return serve("salesforce", records=2_500)


@pytest.fixture
def sf(running: Running) -> Salesforce:
    return vendor_client(running)


def _vendor(running: Running) -> SalesforceSandbox:
    vendor = running.sandbox.vendor
    assert isinstance(vendor, SalesforceSandbox)
    return vendor


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {sign_in(running)['access_token']}"}
    with httpx.Client(base_url=running.url, headers=headers) as client:
        yield client


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()[0]["errorCode"]


def _query(http: httpx.Client, soql: str) -> httpx.Response:
    return http.get(f"{V}/query", params={"q": soql})


def test_the_vendors_client_reads_describes_and_pages(running: Running, sf: Salesforce) -> None:
    assert sf.limits()["DailyApiRequests"]["Max"] == 100_000
    names = {found["name"] for found in sf.describe()["sobjects"]}
    assert {"Account", "Contact", "Attachment"} <= names
    fields = {field["name"]: field for field in sf.Account.describe()["fields"]}
    assert fields["RevenueBand__c"]["calculated"]
    assert fields["Name"]["nillable"] is False
    before = running.sandbox.traffic.total
    rows = sf.query_all("SELECT Id, Name, AnnualRevenue, SystemModstamp FROM Account")["records"]
    assert (len(rows), running.sandbox.traffic.total - before) == (2_500, 2)
    table = running.sandbox.stage.tables["Account"].rows
    for row in rows:
        held = table[row["Id"]]
        assert row["Name"] == held["Name"]
        revenue = held["AnnualRevenue"]
        assert row["AnnualRevenue"] == (None if revenue is None else float(revenue))
        assert row["SystemModstamp"] == f"{held['SystemModstamp']:%Y-%m-%dT%H:%M:%S}.000+0000"
    assert sf.query("SELECT COUNT() FROM Contact")["totalSize"] == 1_250
    assert sf.api_usage["api-usage"].total == 100_000


def test_the_vendors_client_writes_rows(running: Running, sf: Salesforce) -> None:
    made = sf.Account.create({"Name": "Żubr & Sons", "ExternalKey__c": "new/1", "Score__c": 1.5})
    assert made["success"]
    assert sf.Account.get(made["id"])["Score__c"] == 1.5
    assert sf.Account.update(made["id"][:15], {"Phone": "1"}) == 204
    assert sf.Contact.upsert("ExternalKey__c/new-c", {"LastName": "Ng"}) == 201
    assert sf.Contact.upsert("ExternalKey__c/new-c", {"LastName": "Ngo"}) == 200
    assert sf.Contact.get_by_custom_id("ExternalKey__c", "new-c")["LastName"] == "Ngo"
    for wrong in ({"Phone": "1"}, {"Name": "x", "Nope": 1}, {"Name": "x", "RevenueBand__c": "A"}):
        with pytest.raises(SalesforceMalformedRequest):
            sf.Account.create(wrong)
    end = running.sandbox.clock.now() + timedelta(minutes=2)
    start = end - timedelta(minutes=5)
    assert made["id"] in sf.Account.updated(start, end)["ids"]
    assert sf.Account.delete(made["id"]) == 204
    gone = sf.Account.deleted(start, end)
    assert [entry["id"] for entry in gone["deletedRecords"]] == [made["id"]]
    found = f"SELECT IsDeleted FROM Account WHERE Id = '{made['id']}'"
    assert sf.query(found)["totalSize"] == 0
    assert sf.query(found, include_deleted=True)["records"][0]["IsDeleted"] is True


def test_the_vendors_bulk_client_reads_and_loads(running: Running, sf: Salesforce) -> None:
    query = "SELECT Id, Name, Description, Active__c, LastAudit__c FROM Account"
    pages = list(sf.bulk2.Account.query(query, max_records=1_000))
    rows = [row for page in pages for row in csv.DictReader(io.StringIO(page, newline=""))]
    assert (len(pages), len(rows)) == (3, 2_500)
    table = running.sandbox.stage.tables["Account"].rows
    for row in rows:
        held = table[row["Id"]]
        assert (row["Name"], row["Description"]) == (held["Name"], held["Description"] or "")
        assert row["Active__c"] == str(held["Active__c"]).lower()
    records = [{"ExternalKey__c": f"L-{n}", "LastName": f"Läng {n}"} for n in range(20)]
    result = sf.bulk2.Contact.upsert(
        records=[*records, {"ExternalKey__c": "", "LastName": "x"}],
        external_id_field="ExternalKey__c",
        wait=0.1,
    )[0]
    assert (result["numberRecordsProcessed"], result["numberRecordsFailed"]) == (21, 1)
    failed = list(
        csv.DictReader(io.StringIO(sf.bulk2.Contact.get_failed_records(result["job_id"])))
    )
    assert failed[0]["sf__Error"].startswith("MISSING_ARGUMENT")
    keys = [
        {"Id": row["Id"]}
        for row in sf.query_all("SELECT Id FROM Contact WHERE ExternalKey__c LIKE 'L-%'")["records"]
    ]
    assert len(keys) == 20
    assert sf.bulk2.Contact.delete(records=keys, wait=0.1)[0]["numberRecordsFailed"] == 0
    assert sf.query("SELECT COUNT() FROM Contact WHERE LastName LIKE 'Läng%'")["totalSize"] == 0


def test_a_session_ends_and_refresh_tokens_rotate(running: Running, sf: Salesforce) -> None:
    sessions = _vendor(running).sessions
    refresh = {"grant_type": "refresh_token", "refresh_token": oauth.REFRESH_TOKEN}
    second = sign_in(running, **refresh)["refresh_token"]
    assert second != oauth.REFRESH_TOKEN
    url = f"{running.url}/services/oauth2/token"
    again = httpx.post(url, data={**refresh, "client_id": oauth.CLIENT_ID})
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    sign_in(running, grant_type="refresh_token", refresh_token=second)
    sign_in(running, grant_type="password", username=oauth.USERNAME, password=oauth.PASSWORD)
    for wrong in (
        {"grant_type": "password", "username": "x", "password": "y"},
        {"grant_type": "client_credentials", "client_secret": "no"},
        {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c"},
        {"grant_type": "magic"},
    ):
        assert httpx.post(url, data={"client_id": oauth.CLIENT_ID, **wrong}).status_code == 400
    sessions.end_all()
    with pytest.raises(SalesforceExpiredSession):
        sf.query("SELECT Id FROM User")


MALFORMED = (
    "",
    "SELECT FROM Account",
    "SELECT Id FROM Account WHERE",
    "SELECT Id FROM Account WHERE SystemModstamp > 2026-01-01T00:00:00",
    "SELECT Id FROM Account WHERE Name = 'a' AND Phone = 'b' OR Phone = 'c'",
    "SELECT Id FROM Account WHERE Name = 'a\\q'",
    "SELECT Id, Id FROM Account",
    "SELECT Id FROM Account; DROP",
    "SELECT FIELDS(ALL) FROM Account",
    "SELECT MAX(Name) FROM Account",
    "SELECT Id FROM Account WHERE CreatedDate > 0001-01-01T00:00:00+14:00",
    "SELECT Id FROM Account WHERE CreatedDate = LAST_N_DAYS:99999999999",
    "SELECT Id FROM Account ORDER BY BillingAddress",
)
INVALID_FIELD = (
    "SELECT Nope FROM Account",
    "SELECT Id FROM Account WHERE SystemModstamp > '2026-01-01T00:00:00Z'",
    "SELECT Id FROM Account WHERE SystemModstamp > 2026-01-01",
    "SELECT Id FROM Account WHERE Description = 'a'",
    "SELECT Id FROM Account WHERE NumberOfEmployees = '1'",
    "SELECT Id FROM Account WHERE Id = 'short'",
)


def test_queries_that_are_refused(http: httpx.Client) -> None:
    for soql in MALFORMED:
        assert _code(_query(http, soql)) == (400, "MALFORMED_QUERY"), soql
    for soql in INVALID_FIELD:
        assert _code(_query(http, soql)) == (400, "INVALID_FIELD"), soql
    assert _code(_query(http, "SELECT Id FROM Nope")) == (400, "INVALID_TYPE")
    assert _code(http.get(f"{V}/query/01gnothing-2000")) == (400, "INVALID_QUERY_LOCATOR")
    assert _code(http.get(f"{V}/nothing")) == (404, "NOT_FOUND")
    assert _code(http.get("/services/data/v12.0/limits")) == (404, "NOT_FOUND")
    assert _code(http.get(f"{V}/sobjects/Nope/describe")) == (404, "NOT_FOUND")


def test_queries_answer_what_their_conditions_say(running: Running, http: httpx.Client) -> None:
    rows = list(running.sandbox.stage.tables["Account"].rows.values())
    revenue = Decimal(5_000_000)
    some = rows[7]["Id"]
    asked: dict[str, Callable[[dict[str, Any]], bool]] = {
        f"AnnualRevenue >= {revenue}": lambda r: (r["AnnualRevenue"] or Decimal(-1)) >= revenue,
        "Industry = 'bANKing'": lambda r: r["Industry"] == "Banking",
        "Industry != 'Banking'": lambda r: r["Industry"] != "Banking",
        "Industry = null": lambda r: r["Industry"] is None,
        "Industry IN ('Retail', 'Energy') AND Active__c = true": lambda r: (
            r["Industry"] in ("Retail", "Energy") and r["Active__c"]
        ),
        "NOT (Industry NOT IN ('Retail') OR Active__c = false)": lambda r: (
            r["Industry"] == "Retail" and r["Active__c"]
        ),
        "Name LIKE '%Café%'": lambda r: "Café" in r["Name"],
        f"Id > '{some}'": lambda r: r["Id"] > some,
        f"Id = '{some[:15]}'": lambda r: r["Id"] == some,
        "SystemModstamp >= 2026-01-10T02:00:00+02:00": lambda r: (
            r["SystemModstamp"] >= START.replace(day=10, hour=0)
        ),
        "Founded__c < 2020-02-29": lambda r: (
            r["Founded__c"] is not None and r["Founded__c"].isoformat() < "2020-02-29"
        ),
        "SystemModstamp = LAST_N_DAYS:3": lambda r: False,
    }
    for where, holds in asked.items():
        answer = _query(http, f"SELECT COUNT() FROM Account WHERE {where}").json()
        assert answer["totalSize"] == sum(1 for row in rows if holds(row)), where
    ordered = _query(
        http,
        "SELECT Industry, Name FROM Account ORDER BY Industry DESC NULLS FIRST, Name LIMIT 400",
    ).json()["records"]
    expected = sorted(rows, key=lambda r: r["Name"])
    expected.sort(key=lambda r: r["Industry"] or "", reverse=True)
    expected.sort(key=lambda r: r["Industry"] is not None)
    assert [row["Name"] for row in ordered] == [row["Name"] for row in expected[:400]]


def test_long_transactions_hold_back_what_is_covered(running: Running, http: httpx.Client) -> None:
    vendor, clock = _vendor(running), running.sandbox.clock
    clock.run(0)
    key = vendor.org.table("Account").keys()[0]
    began = clock.now().replace(microsecond=0)
    vendor.org.edit(
        vendor.sobject("Account"), key, {"Phone": "late"}, began, began + timedelta(minutes=3)
    )
    clock.advance(timedelta(minutes=2))
    span = {
        "start": (began - timedelta(minutes=1)).isoformat(),
        "end": (clock.now() + timedelta(minutes=2)).isoformat(),
    }
    about = f"{V}/sobjects/Account"

    def covered() -> dict[str, Any]:
        found: dict[str, Any] = http.get(f"{about}/updated/", params=span).json()
        return found

    assert covered() == {"ids": [], "latestDateCovered": f"{began:%Y-%m-%dT%H:%M:%S}.000+0000"}
    clock.advance(timedelta(minutes=1))
    assert covered()["ids"] == [key]
    stamp = _query(http, f"SELECT SystemModstamp FROM Account WHERE Id = '{key}'").json()
    assert stamp["records"][0]["SystemModstamp"] == f"{began:%Y-%m-%dT%H:%M:%S}.000+0000"
    for wrong in (
        {"start": span["start"]},
        {"start": span["end"], "end": span["start"]},
        {"start": "2020-01-01T00:00:00Z", "end": span["end"]},
    ):
        assert _code(http.get(f"{about}/updated/", params=wrong)) == (
            400,
            "INVALID_REPLICATION_DATE",
        )
    vendor.delete("Account", key, clock.now())
    clock.advance(timedelta(days=16))
    http.headers["Authorization"] = f"Bearer {sign_in(running)['access_token']}"
    late = {"start": (clock.now() - timedelta(days=20)).isoformat(), "end": clock.now().isoformat()}
    gone = http.get(f"{about}/deleted/", params=late).json()
    assert (gone["deletedRecords"], gone["earliestDateAvailable"] > late["start"]) == ([], True)
    assert key not in vendor.org.table("Account").rows


def test_a_bulk_job_goes_through_its_states_and_stays_as_it_was(
    running: Running, http: httpx.Client
) -> None:
    vendor, clock = _vendor(running), running.sandbox.clock
    clock.run(0)
    jobs = f"{V}/jobs/query"
    ask = {"operation": "query", "query": "SELECT Id, Phone FROM Contact ORDER BY Id"}
    job = http.post(jobs, json=ask).json()
    assert (job["state"], _code(http.get(f"{jobs}/{job['id']}/results"))) == (
        "UploadComplete",
        (400, "API_ERROR"),
    )
    assert http.delete(f"{jobs}/{job['id']}").status_code == 400
    clock.advance(timedelta(seconds=0.1))
    assert http.get(f"{jobs}/{job['id']}").json()["state"] == "InProgress"
    clock.advance(timedelta(seconds=1))
    done = http.get(f"{jobs}/{job['id']}").json()
    assert (done["state"], done["numberRecordsProcessed"]) == ("JobComplete", 1_250)
    first = http.get(f"{jobs}/{job['id']}/results", params={"maxRecords": 1_000})
    assert first.headers["content-encoding"] == "gzip"
    assert first.headers["sforce-numberofrecords"] == "1000"
    locator = first.headers["sforce-locator"]
    last = vendor.org.table("Contact").keys()[-1]
    vendor.edit("Contact", last, {"Phone": "changed"}, clock.now())
    second = http.get(f"{jobs}/{job['id']}/results", params={"locator": locator})
    assert (second.headers["sforce-locator"], "changed" in second.text) == ("null", False)
    parts = http.get(f"{jobs}/{job['id']}/resultPages").json()["resultPages"]
    rows = sum(int(http.get(p["resultLink"]).headers["sforce-numberofrecords"]) for p in parts)
    assert (len(parts), rows) == (5, 1_250)
    other = f"/services/data/v61.0/jobs/query/{job['id']}"
    assert http.get(other).status_code == 409
    for query in (
        "SELECT COUNT() FROM Account",
        "SELECT BillingAddress FROM Account",
        "SELECT x FROM Account",
    ):
        assert http.post(jobs, json={**ask, "query": query}).status_code == 400
    clock.advance(timedelta(days=7))
    http.headers["Authorization"] = f"Bearer {sign_in(running)['access_token']}"
    assert http.get(f"{jobs}/{job['id']}").status_code == 404


def test_collections_have_one_outcome_per_record(http: httpx.Client) -> None:
    account = {"attributes": {"type": "Account"}}
    path = f"{V}/composite/sobjects"
    made = http.post(path, json={"records": [{**account, "Name": "a"}, {**account}]}).json()
    assert [outcome["success"] for outcome in made] == [True, False]
    assert made[1]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    ups = {"records": [{**account, "ExternalKey__c": f"k{n % 2}", "Name": "n"} for n in range(3)]}
    outcomes = http.patch(f"{path}/Account/ExternalKey__c", json=ups).json()
    assert [outcome["created"] for outcome in outcomes] == [True, True, False]
    ids = [made[0]["id"], id_of("001", 9_999_999), outcomes[0]["id"]]
    read = http.post(f"{path}/Account", json={"ids": ids, "fields": ["Id", "Name"]}).json()
    assert [row and row["Name"] for row in read] == ["a", None, "n"]
    gone = http.delete(path, params={"ids": ",".join([ids[0], ids[1]])}).json()
    assert [outcome["success"] for outcome in gone] == [True, False]
    odd = http.post(path, json={"records": [1, {"attributes": "Account"}]}).json()
    assert [outcome["errors"][0]["statusCode"] for outcome in odd] == ["INVALID_TYPE"] * 2
    assert http.post(f"{path}/Account", json={"ids": 1, "fields": "Id"}).status_code == 400
    assert http.post(f"{path}/Account", json={"ids": [1], "fields": ["Id"]}).json() == [None]
    many = {"records": [{**account, "Name": "x"}] * 201}
    assert _code(http.post(path, json=many)) == (400, "EXCEEDED_ID_LIMIT")
    since = {"If-Unmodified-Since": "Wed, 01 Jan 2020 00:00:00 GMT"}
    row = f"{V}/sobjects/Account/{ids[2]}"
    assert http.patch(row, json={"Phone": "1"}, headers=since).status_code == 412
    assert http.patch(row, json={"Phone": "1"}).status_code == 204


def test_a_days_requests_are_counted_and_run_out(serve: Serve) -> None:
    running = serve("salesforce", records=1, extra={"dailyRequests": 3})
    headers = {"Authorization": f"Bearer {sign_in(running)['access_token']}"}
    with httpx.Client(base_url=running.url, headers=headers) as http:
        for used in (1, 2, 3):
            answer = http.get(f"{V}/limits")
            assert answer.headers["sforce-limit-info"] == f"api-usage={used}/3"
        assert answer.json()["DailyApiRequests"] == {"Max": 3, "Remaining": 0}
        assert _code(http.get(f"{V}/limits")) == (403, "REQUEST_LIMIT_EXCEEDED")


def test_ids_numbers_and_the_seed(serve: Serve) -> None:
    assert with_check("001D000000IqhSL") == "001D000000IqhSLIAZ"  # as Salesforce documents it
    assert full_id("001D000000IqhSL") == full_id("001D000000IqhSLIAZ")
    with pytest.raises(ValueError, match="001D"):
        full_id("001D000000IqhSLIAA")
    ids = [id_of("001", n) for n in (1, 9, 10, 35, 36, 61, 62, 3_843, 3_844)]
    assert ids == sorted(ids)
    shown = [cells.double(Decimal(text)) for text in ("0", "5", "-12.50", "12500000", "0.00012")]
    assert shown == ["0.0", "5.0", "-12.5", "1.25E7", "1.2E-4"]
    assert json.loads(cells.double(Decimal("9999999999999.99"))) == 9999999999999.99
    assert parse("select Id from Account where Name='O\\'Neill'").sobject == "Account"
    first, second, other = (
        serve("salesforce", records=50, seed=seed).sandbox.stage.tables for seed in (5, 5, 6)
    )
    assert first["Contact"].rows == second["Contact"].rows != other["Contact"].rows
