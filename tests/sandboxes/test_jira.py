"""The Jira sandbox, driven by the `jira` library as it is: Cloud and Data Center; and what the library cannot show."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from jira import JIRA, JIRAError

from hubblewave_pipelines.sandboxes.jira.catalog import EMAIL, PAT, TOKEN
from hubblewave_pipelines.sandboxes.serving import Running
from tests.plugins.sandboxes import START

Serve = Callable[..., Running]
ALL = "project in (PAY, OPS, CRM)"


def _cloud(running: Running, **options: Any) -> JIRA:
    return JIRA(server=running.url, basic_auth=(EMAIL, TOKEN), max_retries=0, **options)


def _http(running: Running, password: str = TOKEN) -> httpx.Client:
    return httpx.Client(base_url=running.url, auth=(EMAIL, password))


def _search(client: httpx.Client, jql: str, **body: Any) -> dict[str, Any]:
    answer = client.post("/rest/api/3/search/jql", json={"jql": jql, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_library_reads_and_writes_cloud(serve: Serve) -> None:
    running = serve("jira", records=230, extra={"index_delay": 0})
    jira = _cloud(running)
    found = jira.enhanced_search_issues(f"{ALL} ORDER BY id", maxResults=0)
    keys = [issue.key for issue in found]
    assert len(set(keys)) == 230
    by_project = [(key.split("-")[0], int(key.split("-")[1])) for key in keys]
    assert by_project == sorted(by_project)  # `id` sorts by key, and numbers as numbers
    assert [int(issue.id) for issue in found] != sorted(int(issue.id) for issue in found)
    posted = jira.enhanced_search_issues(ALL, maxResults=5, use_post=True, fields="summary")
    assert len(posted) == 5
    assert jira.approximate_issue_count(ALL) == 230
    made = jira.create_issue(
        project={"key": "PAY"},
        summary="Ledger",
        issuetype={"name": "Bug"},
        description="one\ntwo",
        customfield_10011={"value": "Gold"},
    )
    made.update(summary="Ledger closed", labels=[{"add": "late"}])
    jira.transition_issue(made, "Done")
    again = jira.issue(made.key)
    assert (again.fields.summary, again.fields.labels) == ("Ledger closed", ["late"])
    assert (again.fields.status.name, again.fields.resolution.name) == ("Done", "Done")
    assert again.fields.customfield_10011.value == "Gold"
    bulk = jira.create_issues(
        [
            {"project": {"key": "PAY"}, "summary": "a", "issuetype": {"name": "Bug"}},
            {"project": {"key": "NONE"}, "summary": "b", "issuetype": {"name": "Bug"}},
        ]
    )
    assert [one["status"] for one in bulk] == ["Success", "Error"]
    assert bulk[1]["error"] == {"project": "valid project is required"}
    made.delete()
    with pytest.raises(JIRAError) as gone:
        jira.issue(made.key)
    assert gone.value.status_code == 404
    with pytest.raises(JIRAError) as removed:
        JIRA(
            server=running.url, basic_auth=(EMAIL, TOKEN), max_retries=0, get_server_info=False
        ).search_issues(ALL)
    assert removed.value.status_code == 410


def test_the_library_reads_data_center(serve: Serve) -> None:
    running = serve(
        "jira", records=230, extra={"deployment": "datacenter", "index_delay": 0, "window": 150}
    )
    jira = JIRA(server=running.url, token_auth=PAT, max_retries=0)
    found = jira.search_issues("project = PAY ORDER BY key", maxResults=False)
    assert len(found) == found.total > 50
    assert {issue.fields.reporter.name for issue in found}
    assert [kind.name for kind in jira.project_issue_types("PAY")][:2] == ["Bug", "Story"]
    with pytest.raises(JIRAError) as far:
        jira.search_issues(ALL, startAt=140, maxResults=50)
    assert "150" in far.value.text
    anonymous = httpx.get(f"{running.url}/rest/api/2/search", params={"jql": ALL})
    assert (anonymous.status_code, anonymous.json()["issues"]) == (200, [])


def test_wrong_credentials_find_nothing_instead_of_being_refused(serve: Serve) -> None:
    running = serve("jira", records=5, extra={"index_delay": 0})
    with _http(running, "wrong") as client:
        answer = client.post("/rest/api/3/search/jql", json={"jql": ALL})
        assert (answer.status_code, answer.json()) == (200, {"issues": [], "isLast": True})
        assert answer.headers["x-seraph-loginreason"] == "AUTHENTICATED_FAILED"
        assert client.get("/rest/api/3/myself").status_code == 401
        assert client.get("/rest/api/3/issue/10001").status_code == 404


def test_pages_fields_and_tokens(serve: Serve) -> None:
    running = serve("jira", records=230, extra={"index_delay": 0})
    with _http(running) as client:
        ids = _search(client, ALL, maxResults=5000)
        assert (len(ids["issues"]), ids["issues"][0].keys(), ids["isLast"]) == (230, {"id"}, True)
        page = _search(client, ALL, maxResults=5000, fields=["summary"])
        assert (len(page["issues"]), page["isLast"]) == (100, False)
        first = client.get("/rest/api/3/search/jql", params={"jql": ALL, "fields": "*all"})
        described = [issue["fields"]["description"] for issue in first.json()["issues"]]
        assert any(isinstance(text, dict) and text["type"] == "doc" for text in described)
        running.sandbox.clock.advance(timedelta(days=8))
        late = {"jql": ALL, "fields": ["summary"], "nextPageToken": page["nextPageToken"]}
        assert client.post("/rest/api/3/search/jql", json=late).status_code == 400


REFUSED = {
    "ORDER BY key": "Unbounded JQL",
    'updated >= "2026-01-01T00:00:00Z"': "Date value",
    'updated >= "2026-01-01 00:00:00"': "Date value",
    "nonsense = 3": "Field 'nonsense' does not exist",
    "project = NONE": "does not exist for the field 'project'",
    "project = PAY AND (status = Done": "Expecting ')'",
    "project ! PAY": "reserved JQL character",
    "project = PAY ORDER BY a": "Field 'a' does not exist",
}


def test_queries_are_refused_in_jira_s_words(serve: Serve) -> None:
    with _http(serve("jira", records=1)) as client:
        for jql, words in REFUSED.items():
            answer = client.post("/rest/api/3/search/jql", json={"jql": jql})
            assert answer.status_code == 400, jql
            assert words in answer.json()["errorMessages"][0], jql


def test_time_is_read_in_the_account_s_zone_and_by_the_minute(serve: Serve) -> None:
    running = serve("jira", records=0, extra={"zone": "Asia/Kolkata", "index_delay": 0})
    running.sandbox.clock.set(START)
    running.sandbox.clock.run(0)
    site = running.sandbox.vendor
    at = START - timedelta(hours=1, seconds=-30)  # 11:00:30 UTC is 16:30:30 there
    site.create("issue", {"summary": "x"}, at)
    milliseconds = int(at.timestamp() * 1000)
    with _http(running) as client:

        def found(jql: str) -> int:
            return len(_search(client, jql)["issues"])

        assert found('updated >= "2026-01-15 16:30" AND updated < "2026-01-15 16:31"') == 1
        assert found('updated >= "2026-01-15 11:00" AND updated < "2026-01-15 11:01"') == 0
        assert found(f"updated >= {milliseconds} AND updated <= {milliseconds}") == 1
        assert found('updated >= "-61m"') == 1
        assert found('updated >= "-59m"') == 0
        shown = _search(client, "project = PAY", fields=["updated"])["issues"][0]
        assert shown["fields"]["updated"] == "2026-01-15T16:30:30.000+0530"


def test_searches_lag_behind_and_named_issues_are_read_strongly(serve: Serve) -> None:
    running = serve("jira", records=3, extra={"index_delay": 30})
    running.sandbox.clock.run(0)
    site = running.sandbox.vendor
    with _http(running) as client:
        number = site.create("issue", {"summary": "late"}, running.sandbox.clock.now())
        assert client.get(f"/rest/api/3/issue/{number}").status_code == 200
        assert len(_search(client, ALL)["issues"]) == 3
        assert len(_search(client, ALL, reconcileIssues=[int(number)])["issues"]) == 4
        body = {"issueIdsOrKeys": [number, "999"], "fields": ["summary"]}
        fetched = client.post("/rest/api/3/issue/bulkfetch", json=body).json()
        assert [issue["id"] for issue in fetched["issues"]] == [number]
        assert fetched["issueErrors"] == [{"id": "999", "errorMessage": "Issue not found."}]
        running.sandbox.clock.advance(timedelta(seconds=31))
        assert len(_search(client, ALL)["issues"]) == 4


def test_faults_of_pages_and_the_three_kinds_of_429(serve: Serve) -> None:
    running = serve("jira", records=230, extra={"index_delay": 0})
    with _http(running) as client:

        def with_fault(fault: str, **body: Any) -> httpx.Response:
            client.post("/__sandbox/faults", json={"faults": [f"{fault}@1"]})
            asked = {"jql": ALL, "fields": ["summary"], "maxResults": 100, **body}
            return client.post("/rest/api/3/search/jql", json=asked)

        clean = _search(client, ALL, fields=["summary"], maxResults=100)
        token = clean["nextPageToken"]
        empty = with_fault("empty_page_with_token").json()
        assert empty["issues"] == []
        assert empty["nextPageToken"]
        repeated = with_fault("repeated_token", nextPageToken=token).json()
        assert repeated["nextPageToken"] == token
        assert len(with_fault("short_page").json()["issues"]) == 50
        twice = with_fault("duplicate_row", nextPageToken=token).json()
        assert twice["issues"][0]["id"] == clean["issues"][-1]["id"]
        assert with_fault("unauthorized").json() == {"issues": [], "isLast": True}
        quota, burst = with_fault("quota"), with_fault("throttle_date")
        assert quota.headers["ratelimit-reason"] == "jira-quota-tenant-based"
        assert burst.headers["ratelimit-reason"] == "jira-burst-based"
        assert burst.headers["retry-after"].endswith("GMT")
        assert "errorMessages" in with_fault("rows_and_error").json()
        client.post("/__sandbox/clock", json={"rate": 0})
        path = "/rest/api/3/issue/10001"
        codes = [client.put(path, json={"fields": {"summary": str(n)}}) for n in range(21)]
        assert [code.status_code for code in codes] == [*[204] * 20, 429]
        assert codes[-1].headers["ratelimit-reason"] == "jira-per-issue-on-write"


def test_oauth_rotates_its_refresh_token(serve: Serve) -> None:
    running = serve("jira", records=2, extra={"index_delay": 0})
    form = {
        "grant_type": "refresh_token",
        "client_id": "sandbox-client",
        "client_secret": "sandbox-secret",
        "refresh_token": "sandbox-refresh-token",
    }
    granted = httpx.post(f"{running.url}/oauth/token", data=form).json()
    assert granted["refresh_token"] != form["refresh_token"]
    again = httpx.post(f"{running.url}/oauth/token", json=form)
    assert (again.status_code, again.json()["error"]) == (403, "invalid_grant")
    bearer = {"Authorization": f"Bearer {granted['access_token']}"}
    sites = httpx.get(f"{running.url}/oauth/token/accessible-resources", headers=bearer).json()
    base = f"{running.url}/ex/jira/{sites[0]['id']}/rest/api/3"
    asked = {"jql": ALL}
    found = httpx.post(f"{base}/search/jql", json=asked, headers=bearer).json()
    assert len(found["issues"]) == 2
