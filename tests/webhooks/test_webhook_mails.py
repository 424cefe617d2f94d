"""Letters to the operators by a real mail server, which may refuse or hang without holding anything up."""

import json
import socket
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from hubblewave_pipelines.delivery.mailing import letter
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.alert_mails import Alert
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from tests.plugins.mailbox import Mailbox
from tests.plugins.receiver import Receiver
from tests.plugins.stack import eventually
from tests.plugins.working import working
from tests.webhooks.conftest import Switch, bodies, emit, rows, run_sql, subscribe

OPERATORS = ["ops@example.com", "oncall@example.com"]


def mailing(settings: Settings, port: int) -> Settings:
    url = SecretStr(f"smtp://127.0.0.1:{port}")
    return settings.model_copy(update={"smtp_url": url, "alert_emails": OPERATORS})


def test_the_operators_are_told_once_by_mail_of_dead_letters_and_of_a_disabled_webhook(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    hook = subscribe(api, receiver.url, name="CRM", retryConfig={"maxAttempts": 1})
    with Mailbox("451 try later") as mailbox, working(mailing(settings, mailbox.port)):
        switch.failing = lambda body: True
        emit(owner_database, tenant, 3)
        eventually(lambda: mailbox.asked > 0, "the server refuses the letter at first")
        mailbox.refusal = None
        # Nearer than the lease that sending took: it is over, and a minute is waited for.
        waits = "select attempts, sent_at is null and next_at < now() + interval '65 s'"
        table = " from hubblewave.alert_mails"
        eventually(lambda: rows(owner_database, waits + table) == [(1, True)], "it is put off")
        run_sql(owner_database, "update hubblewave.alert_mails set next_at = now()")
        eventually(lambda: len(mailbox.letters) == 1, "the letter of the dead letters")
        switch.failing = lambda body: False
        switch.status = "410 Gone"
        emit(owner_database, tenant, 1)
        eventually(lambda: len(mailbox.letters) == 2, "the letter of the disabled one")
        sent = "select count(*) from hubblewave.alert_mails where sent_at is not null"
        eventually(lambda: rows(owner_database, sent) == [(2,)], "both are noted")
    assert mailbox.receivers == [OPERATORS, OPERATORS]
    dead, disabled = mailbox.letters
    assert dead["Subject"].startswith("[HubbleWave default] Webhook CRM has ")
    assert disabled["Subject"] == "[HubbleWave default] Webhook CRM was disabled (gone)"
    assert f"/api/v1/webhooks/{hook['id']}/enable" in disabled.get_content()
    assert hook["plain"] not in dead.as_string() + disabled.as_string()


def test_a_mail_server_that_hangs_holds_up_no_delivery(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    subscribe(api, receiver.url, retryConfig={"maxAttempts": 1})
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        port = silent.getsockname()[1]
        with working(mailing(settings, port)):
            switch.failing = lambda body: body["data"]["n"] == 1
            emit(owner_database, tenant, 1)
            taken = "select attempts from hubblewave.alert_mails"
            eventually(lambda: rows(owner_database, taken) == [(1,)], "the letter is being sent")
            emit(owner_database, tenant, 50)
            done = "select count(*) from hubblewave.webhook_delivery_log where status = 'success'"
            eventually(lambda: rows(owner_database, done) == [(49,)], "deliveries go on")
            assert len(bodies(receiver)) == 51
            silent.close()  # what hangs ends, or the worker would wait for it
    unsent = "select sent_at from hubblewave.alert_mails"
    assert rows(owner_database, unsent) == [(None,)]


def test_T10_a_name_with_line_breaks_makes_no_header(settings: Settings) -> None:
    data = {"webhookId": str(uuid4()), "name": "x\r\nBcc: all@example.com\u2028", "reason": "gone"}
    alert = Alert(uuid4(), "acme", "webhook.disabled", json.dumps(data), datetime.now(UTC), 1)
    found = letter(alert, mailing(settings, 25))
    assert found["Bcc"] is None
    head = found.as_string().partition("\n\n")[0]
    assert not any(line.startswith("Bcc") for line in head.splitlines())


@pytest.mark.parametrize(
    "wrong",
    [
        {"smtp_url": "http://mail.example.com"},
        {"smtp_url": "smtp://"},
        {"smtp_url": "smtp://mail.example.com:port"},
        {"alert_emails": ["nobody"]},
        {"alert_emails": ["a@b.example\r\nBcc: c@d.example"]},
        {"alert_from": "a@b.example, c@d.example"},
    ],
    ids=["scheme", "no-host", "no-port", "no-at", "line-break", "two"],
)
def test_settings_of_mail_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)
