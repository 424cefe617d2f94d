"""The ServiceNow sandbox, driven by pysnow and PySNC as they are; and what they cannot show."""

import json
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import requests
from pysnc import ServiceNowClient
from requests.adapters import HTTPAdapter

from hubblewave_pipelines.sandboxes.servicenow.signing import ACCOUNT, CLIENT
from hubblewave_pipelines.sandboxes.serving import Running
from tests.plugins.sandboxes import START

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pysnow's own imports are of another age
    import pysnow

Serve = Callable[..., Running]
TABLE = "/api/now/v2/table/incident"


def _http(running: Running) -> httpx.Client:
    return httpx.Client(base_url=running.url, auth=ACCOUNT)


def _pysnow(running: Running) -> Any:
    host = urlsplit(running.url).netloc
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pysnow.Client(host=host, user=ACCOUNT[0], password=ACCOUNT[1], use_ssl=False)


class _Plain(HTTPAdapter):
    """Carries what a client insists on sending by https to a sandbox that speaks http."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        assert request.url is not None
        request.url = request.url.replace("https://sandbox.example.com", self._url)
        return super().send(request, *args, **kwargs)


def _pysnc(running: Running) -> ServiceNowClient:
    session = requests.Session()
    session.auth = ACCOUNT
    session.mount("https://sandbox.example.com", _Plain(running.url))
    return ServiceNowClient("https://sandbox.example.com", session, auto_retry=False)


def _rows(client: httpx.Client, query: str, **params: Any) -> list[dict[str, Any]]:
    asked = {"sysparm_query": query, **{f"sysparm_{name}": v for name, v in params.items()}}
    answer = client.get(TABLE, params=asked)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["result"]
    return found


def test_pysnow_reads_and_writes(serve: Serve) -> None:
    running = serve("servicenow", records=120)
    incidents = _pysnow(running).resource(api_path="/table/incident")
    found = list(incidents.get(query="active=true^ORDERBYsys_id", limit=500).all())
    assert 0 < len(found) < 120
    assert all(row["active"] == "true" for row in found)
    streamed = list(incidents.get(query={"state": "7"}, stream=True).all())
    assert {row["state"] for row in streamed} == {"7"}
    builder = (
        pysnow.QueryBuilder()
        .field("priority")
        .equals([1, 2])
        .AND()
        .field("number")
        .starts_with("INC")
    )
    urgent = list(incidents.get(query=builder).all())
    assert {row["priority"] for row in urgent} == {"1", "2"}
    fresh = _pysnow(running).resource(api_path="/table/incident")
    made = fresh.create({"short_description": "a^b=c", "nonsense": "dropped"}).one()
    assert (made["short_description"], made["sys_mod_count"]) == ("a^b=c", "0")
    assert "nonsense" not in made
    changed = fresh.update(query={"sys_id": made["sys_id"]}, payload={"state": "2"}).one()
    assert (changed["state"], changed["sys_mod_count"]) == ("2", "1")
    assert fresh.delete(query={"sys_id": made["sys_id"]}) == {"status": "record deleted"}
    assert fresh.get(query={"sys_id": made["sys_id"]}).one_or_none() is None


def test_pysnow_takes_a_cancelled_transaction_for_a_whole_page(serve: Serve) -> None:
    running = serve("servicenow", records=40)
    httpx.post(f"{running.url}/__sandbox/faults", json={"faults": ["rows_and_error@1"]})
    answer = _pysnow(running).resource(api_path="/table/incident").get(query="")
    assert len([row for row in answer.all() if isinstance(row, dict)]) == 20
    httpx.post(f"{running.url}/__sandbox/faults", json={"faults": ["rows_and_error@1"]})
    with _http(running) as client:
        raw = client.get(TABLE)
        assert raw.status_code == 200
        assert "Transaction cancelled" in raw.json()["error"]["message"]
        assert isinstance(raw.json()["result"][-1], str)


def test_pysnc_pages_writes_and_sends_batches(serve: Serve) -> None:
    running = serve("servicenow", records=250)
    client = _pysnc(running)
    record = client.GlideRecord("incident", batch_size=100)
    record.add_query("number", "STARTSWITH", "INC")
    record.order_by("number")
    record.query()
    assert len(record) == record.get_row_count() == 250
    numbers = [str(one.number) for one in record]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 250
    one = client.GlideRecord("incident")
    assert one.get("number", "INC0000003")
    one.short_description = "by PySNC"
    assert one.update()
    made = client.GlideRecord("incident")
    made.initialize()
    made.short_description = "made"
    assert made.insert()
    many = client.GlideRecord("incident")
    many.add_query("number", "IN", "INC0000004,INC0000005")
    many.query()
    while many.next():
        many.state = "6"
    assert many.update_multiple()
    with _http(running) as http:
        rows = _rows(http, "numberININC0000003,INC0000004,INC0000005^ORDERBYnumber")
    assert rows[0]["short_description"] == "by PySNC"
    assert [row["state"] for row in rows[1:]] == ["6", "6"]


QUERIES: dict[str, Callable[[dict[str, str]], bool]] = {
    "state=1^ORstate=2^priority=1": lambda r: r["state"] in "12" and r["priority"] == "1",
    "state=1^NQpriority=1": lambda r: r["state"] == "1" or r["priority"] == "1",
    "short_descriptionLIKEvpn ^^ drops": lambda r: "VPN ^ drops" in r["short_description"],
    "short_descriptionSTARTSWITHcan": lambda r: r["short_description"].startswith("Can"),
    "due_dateISEMPTY": lambda r: r["due_date"] == "",
    "due_dateISNOTEMPTY": lambda r: r["due_date"] != "",
    "stateIN2,3": lambda r: r["state"] in "23",
    "stateNOT IN2,3": lambda r: r["state"] not in "23",
    "priority>1^priority<=3": lambda r: r["priority"] in "23",
    "priorityBETWEEN2@3": lambda r: r["priority"] in "23",
    "priority!=1": lambda r: r["priority"] != "1",
    "nonsense=1": lambda r: True,
    "stateWRONG1^priority=1": lambda r: r["priority"] == "1",
}


def test_encoded_queries_and_what_is_ignored_of_them(serve: Serve) -> None:
    with _http(serve("servicenow", records=100)) as client:
        every = _rows(client, "", exclude_reference_link="true")
        for query, wanted in QUERIES.items():
            found = {row["sys_id"] for row in _rows(client, query)}
            assert found == {row["sys_id"] for row in every if wanted(row)}, query
            assert found, query


def test_limit_comes_before_acls_and_counts_before_both(serve: Serve) -> None:
    running = serve("servicenow", records=300, extra={"hidden": 0.3})
    hidden = running.sandbox.vendor.hidden
    with _http(running) as client:
        answer = client.get(TABLE, params={"sysparm_limit": 100, "sysparm_query": "ORDERBYsys_id"})
        assert answer.headers["x-total-count"] == "300"
        assert 40 < len(answer.json()["result"]) < 100
        assert 'rel="next"' in answer.headers["link"]
        stats = client.get("/api/now/stats/incident", params={"sysparm_count": "true"})
        assert stats.json()["result"]["stats"]["count"] == "300"
        assert client.get(f"{TABLE}/{next(iter(hidden))}").status_code == 404
        tasks = client.get(
            "/api/now/v2/table/task", params={"sysparm_fields": "sys_id,sys_class_name"}
        )
        assert {row["sys_class_name"] for row in tasks.json()["result"]} == {"incident", "problem"}


def test_versions_types_and_display_values(serve: Serve) -> None:
    with _http(serve("servicenow", records=20)) as client:
        none = {"sysparm_query": "number=NONE"}
        assert client.get("/api/now/v1/table/incident", params=none).status_code == 404
        assert client.get("/api/now/table/incident", params=none).json() == {"result": []}
        assert client.get("/api/now/v2/table/nonsense").status_code == 400
        row = _rows(client, "caller_idISNOTEMPTY", limit=1)[0]
        assert set(row["caller_id"]) == {"link", "value"}
        whole = _rows(client, "caller_idISNOTEMPTY", limit=1, display_value="all")[0]
        assert whole["state"]["display_value"] != whole["state"]["value"]
        plain = _rows(client, "caller_idISNOTEMPTY", limit=1, exclude_reference_link="true")[0]
        assert all(isinstance(value, str) for value in plain.values())
        walked = _rows(client, "caller_id.nameLIKEtuter", fields="number,caller_id.email,nonsense")
        assert all(set(one) == {"number", "caller_id.email"} for one in walked)
        assert walked


def test_a_write_that_changes_nothing_moves_nothing(serve: Serve) -> None:
    running = serve("servicenow", records=5)
    with _http(running) as client:
        row = _rows(client, "", exclude_reference_link="true")[0]
        path = f"{TABLE}/{row['sys_id']}"
        running.sandbox.clock.run(0)
        running.sandbox.clock.set(START + timedelta(hours=1))
        same = client.patch(path, json={"state": row["state"], "nonsense": 1}).json()["result"]
        assert (same["sys_updated_on"], same["sys_mod_count"]) == (
            row["sys_updated_on"],
            row["sys_mod_count"],
        )
        moved = client.patch(path, json={"due_date": "not a date", "active": False}).json()[
            "result"
        ]
        assert (moved["due_date"], moved["active"]) == ("", "false")
        assert moved["sys_updated_on"] == "2026-01-15 13:00:00"


def test_deletes_are_told_by_the_audits(serve: Serve) -> None:
    running = serve("servicenow", records=5)
    key = running.sandbox.stage.tables["incident"].keys()[0]
    running.sandbox.vendor.delete("task", key, START)
    with _http(running) as client:
        told = client.get("/api/now/table/sys_audit_delete").json()["result"]
        assert [(row["tablename"], row["documentkey"]) for row in told] == [("incident", key)]
        made = {client.post(TABLE, json={}).json()["result"]["number"] for _ in range(3)}
        held = {row["number"] for row in running.sandbox.stage.tables["incident"].rows.values()}
        assert len(made) == 3
        assert len(held) == 4 + 3  # no number is given twice
        told = client.get("/api/now/table/sys_audit").json()["result"]
        assert [(row["fieldname"], row["documentkey"]) for row in told] == [("DELETED", key)]


def test_tokens_faults_and_batches_left_undone(serve: Serve) -> None:
    running = serve("servicenow", records=5)
    form = {"grant_type": "password", "username": ACCOUNT[0], "password": ACCOUNT[1]}
    form |= {"client_id": CLIENT[0], "client_secret": CLIENT[1]}
    granted = httpx.post(f"{running.url}/oauth_token.do", data=form).json()
    assert granted["expires_in"] == 1799
    bearer = {"Authorization": f"Bearer {granted['access_token']}"}
    assert httpx.get(running.url + TABLE, headers=bearer).status_code == 200
    running.sandbox.clock.advance(timedelta(hours=1))
    assert httpx.get(running.url + TABLE, headers=bearer).status_code == 401
    with _http(running) as client:

        def with_fault(kind: str) -> httpx.Response:
            client.post("/__sandbox/faults", json={"faults": [f"{kind}@1"]})
            return client.get(TABLE, params={"sysparm_query": "ORDERBYsys_id"})

        asleep = with_fault("edge_page")
        assert (asleep.status_code, "hibernating" in asleep.text) == (200, True)
        assert asleep.headers["content-type"].startswith("text/html")
        busy = with_fault("throttle_seconds")
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
        assert busy.headers["x-ratelimit-limit"] == "5000"
        client.post("/__sandbox/faults", json={"faults": ["unserviced@1"]})
        items = [
            {"id": str(n), "method": "GET", "url": "/api/now/stats/incident?sysparm_count=true"}
            for n in range(4)
        ]
        body = json.dumps({"batch_request_id": "1", "rest_requests": items})
        answer = client.post("/api/now/v1/batch", content=body).json()
        assert [one["status_code"] for one in answer["serviced_requests"]] == [200, 200]
        assert answer["unserviced_requests"] == ["2", "3"]
