"""The demo's other system: a Salesforce sandbox beside the platform, its accounts and contacts kept in step."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from rich.console import Console

from hubblewave_pipelines.commands.client import ask
from hubblewave_pipelines.core.errors import SyncFailed, Unavailable

ACCOUNTS = 2_000  # and half as many contacts
CONNECTOR = "Salesforce sandbox"
_POLL_SECONDS = 0.25
_ATTEMPTS = 10


def _field(name: str, kind: str, **rules: object) -> dict[str, object]:
    return {"name": name, "type": kind, **rules}


_ID = _field("salesforceId", "text", required=True, unique=True, maxLength=18)
ENTITIES: tuple[dict[str, Any], ...] = (
    {
        "name": "Account",
        "pluralName": "Accounts",
        "description": "A company, as Salesforce has it.",
        "fields": [
            _ID,
            _field("name", "text", required=True),
            _field("industry", "text"),
            _field("city", "text"),
            _field("phone", "text"),
            _field("annualRevenue", "decimal"),
            _field("employees", "integer"),
            _field("active", "boolean"),
        ],
    },
    {
        "name": "Contact",
        "pluralName": "Contacts",
        "description": "A person of an account.",
        "fields": [
            _ID,
            _field("firstName", "text"),
            _field("lastName", "text", required=True),
            _field("email", "email"),
            _field("title", "text"),
        ],
        "relationships": [{"name": "account", "type": "manyToOne", "targetEntity": "Account"}],
    },
)


@dataclass(frozen=True)
class _Job:
    """One sObject and the entity that it fills."""

    name: str
    sobject: str
    plural: str
    fields: dict[str, str]

    def wish(self) -> dict[str, Any]:
        pairs = {"Id": "salesforceId", **self.fields}
        mapping: list[dict[str, Any]] = [
            {"sourceField": source, "targetField": target} for source, target in pairs.items()
        ]
        if self.sobject == "Contact":
            lookup = {"entity": "Account", "by": "salesforceId", "onMissing": "null"}
            relation = {"sourceField": "AccountId", "targetField": "accountId"}
            mapping.append({**relation, "transform": {"lookup": lookup}})
        return {
            "name": self.name,
            "connector": CONNECTOR,
            "sourceEntity": self.sobject,
            "targetEntity": self.sobject,
            "fieldMapping": mapping,
            "matchField": "salesforceId",
        }


JOBS = (
    _Job(
        "Accounts from Salesforce",
        "Account",
        "accounts",
        {
            "Name": "name",
            "Industry": "industry",
            "BillingCity": "city",
            "Phone": "phone",
            "AnnualRevenue": "annualRevenue",
            "NumberOfEmployees": "employees",
            "Active__c": "active",
        },
    ),
    _Job(
        "Contacts from Salesforce",
        "Contact",
        "contacts",
        {"FirstName": "firstName", "LastName": "lastName", "Email": "email", "Title": "title"},
    ),
)


class Beside:
    """`hubblewave sandbox salesforce` as a child process."""

    def __init__(self, records: int = ACCOUNTS) -> None:
        """Waits until it answers. Raises Unavailable."""
        command = [sys.executable, "-m", "hubblewave_pipelines", "sandbox", "salesforce", "--json"]
        self.process = subprocess.Popen(  # noqa: S603 - our own command line
            [*command, "--records", str(records)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches us first; `stop` then ends it
        )
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        else:
            raise Unavailable("The Salesforce sandbox did not start.")
        self.told: dict[str, Any] = json.loads("".join(lines))
        self.url = str(self.told["url"])

    def allowed(self, allow: str) -> str:
        """The egress policy `allow` with the sandbox's address in it."""
        return ",".join(filter(None, (allow, f"127.0.0.1/32:{urlsplit(self.url).port}")))

    def edit(self, table: str, key: str, **values: str) -> None:
        body = {"table": table, "key": key, "values": values}
        httpx.post(f"{self.url}/__sandbox/edits", json=body).raise_for_status()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


def show(client: httpx.Client, sandbox: Beside, console: Console) -> bool:
    """Connect, sync both objects, change one record there and see it here; True when all agrees."""
    for definition in ENTITIES:
        if client.get(f"/api/v1/entities/{definition['name']}").status_code != 200:
            ask(client, "POST", "/api/v1/entities", json=definition)
    _connect(client, sandbox, console)
    agreed = True
    paths = []
    for job in JOBS:
        path = _job(client, job)
        paths.append(path)
        run = _run(client, path)
        held = _count(client, job.plural)
        there = sandbox.told["tables"][job.sobject]
        agreed = agreed and held == there
        console.print(
            f"  {job.sobject:<8} {there:,} there, {held:,} here"
            f"{'' if held == there else ' (DIFFERS)'}: {run['created']:,} created, "
            f"{run['updated']:,} updated, {run['unchanged']:,} unchanged, {run['requests']} requests "
            f"({run['minRequests']} at least)   {run['runUrl']}",
            highlight=False,
            soft_wrap=True,
        )
    return _change(client, sandbox, paths[0], console) and agreed


def _connect(client: httpx.Client, sandbox: Beside, console: Console) -> None:
    """The connector, which a demo before this one may have left with another port."""
    wish = {name: sandbox.told[name] for name in ("config", "credentials")}
    old = _named(client, "/api/v1/connectors", CONNECTOR)
    if old is None:
        body = {"name": CONNECTOR, "type": sandbox.told["type"], **wish}
        old = ask(client, "POST", "/api/v1/connectors", json=body)
    else:
        ask(client, "PATCH", f"/api/v1/connectors/{old['id']}", json={**wish, "status": "active"})
    wait = {"Prefer": "wait=60"}
    path = f"/api/v1/connectors/{old['id']}/check"
    checked = ask(client, "POST", path, headers=wait, timeout=90)
    result = checked.get("result") or {}
    if result.get("level") == "error" or not result:
        raise SyncFailed(f"The check of {CONNECTOR} says: {json.dumps(checked)}")
    console.print(f"  {CONNECTOR} at {sandbox.url}: {result['level']}", highlight=False)


def _job(client: httpx.Client, job: _Job) -> str:
    """Its path. One that a demo before this one made starts anew: its sandbox is another."""
    old = _named(client, "/api/v1/sync-jobs", job.name)
    if old is None:
        old = ask(client, "POST", "/api/v1/sync-jobs", json=job.wish())
    else:
        ask(client, "POST", f"/api/v1/sync-jobs/{old['id']}/reset", json={"state": True})
    return f"/api/v1/sync-jobs/{old['id']}"


def _named(client: httpx.Client, path: str, name: str) -> dict[str, Any] | None:
    items: list[dict[str, Any]] = ask(client, "GET", path, params={"pageSize": 100})["items"]
    return next((item for item in items if item["name"] == name), None)


def _run(client: httpx.Client, path: str) -> dict[str, Any]:
    run = ask(client, "POST", f"{path}/run", json={})
    while run["status"] in ("pending", "running"):
        time.sleep(_POLL_SECONDS)
        run = ask(client, "GET", run["url"])
    if run["status"] != "success":
        raise SyncFailed(f"{path}: {run['status']}: {json.dumps(run['error'] or run['notes'])}")
    return run


def _count(client: httpx.Client, plural: str) -> int:
    found = ask(client, "GET", f"/api/v1/{plural}", params={"pageSize": 1, "count": "exact"})
    return int(found["pageInfo"]["totalItems"])


def _change(client: httpx.Client, sandbox: Beside, path: str, console: Console) -> bool:
    """Edit an account there; whether the edit arrived here."""
    newest = {"sort": "-salesforceId", "pageSize": 1, "fields": "salesforceId,name,phone"}
    account = ask(client, "GET", "/api/v1/accounts", params=newest)["items"][0]
    phone = "+1 555 0100" if account["phone"] != "+1 555 0100" else "+1 555 0199"
    sandbox.edit("Account", account["salesforceId"], Phone=phone)
    # Salesforce vouches for whole seconds: an edit of this second is for the next run.
    for _ in range(_ATTEMPTS):
        run = _run(client, path)
        found = ask(client, "GET", "/api/v1/accounts", params=newest)["items"][0]
        if found["phone"] == phone:
            console.print(
                f"  In Salesforce {account['name']} got the phone {phone}; here it had "
                f"{account['phone']} and has {found['phone']} now: {run['updated']} updated, "
                f"{run['requests']} requests",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
            return True
    console.print(f"  The phone {phone} of {account['name']} did not arrive: DIFFERS")
    return False
