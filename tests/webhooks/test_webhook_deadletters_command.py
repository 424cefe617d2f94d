"""`hubblewave deadletters` against the API: what was given up is listed, counted, sent again, settled."""

import json
from typing import Any

import httpx
from typer.testing import CliRunner, Result

from hubblewave_pipelines.commands.line import app
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from tests.plugins.receiver import Receiver
from tests.plugins.stack import eventually
from tests.plugins.working import working
from tests.webhooks.conftest import Switch, bodies, emit, made, subscribe


def test_dead_letters_are_listed_redriven_and_resolved(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    def run(*words: str) -> Result:
        where = ("--url", str(api.base_url), "--api-key", api.headers["X-API-Key"])
        return CliRunner().invoke(app, ["deadletters", *words, *where])

    def shown(*words: str) -> Any:
        done = run(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    hook = subscribe(api, receiver.url, name="CRM [eu]", retryConfig={"maxAttempts": 1})
    switch.failing = lambda body: True
    with working(settings):
        emit(owner_database, tenant, 4)
        eventually(lambda: len(shown("list")) == 4, "four are given up")
        switch.failing = lambda body: False
        letters = shown("list", "--webhook", hook["id"], "--reason", "exhausted")
        assert [letter["data"]["n"] for letter in letters] != []
        table = run("list", "--limit", "3")
        assert "CRM [eu]" in table.output
        assert "1 more." in table.output
        first, second = letters[0], letters[1]
        assert shown("resolve", first["id"])[0]["resolution"] == "resolved"
        assert shown("list", "--state", "resolved")[0]["id"] == first["id"]
        dry = run("redrive", "--event", "import.completed", "--dry-run")
        assert dry.output == "3 would be sent again.\n"
        assert shown("redrive", second["id"])["redriven"] == 1
        assert run("redrive").output == "2 are sent again.\n"
        eventually(lambda: len(bodies(receiver)) == 7, "three came again")
    assert shown("list") == []
    for words, said in (
        (("resolve", hook["id"]), "There is no dead letter"),
        (("list", "--since", "yesterday"), "since"),
        (("redrive", "no-id"), "#/filter/ids"),
    ):
        refused = run(*words, "--json")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert said in refused.stderr
    unreadable = run("resolve", letters[1]["id"], "no-id")  # settles none of them
    assert unreadable.exit_code == 2
    assert "'no-id' is not a valid UUID" in unreadable.output
    assert made(api.get("/api/v1/webhooks/dead-letters"), 200)["items"] == []
