"""Deliveries of the real worker, plain and transformed, under a secret of either origin, and who verifies them."""

import base64
import json
import re
from pathlib import Path

import httpx
from standardwebhooks import Webhook

from hubblewave_pipelines.settings import Settings
from tests.plugins import node
from tests.plugins.receiver import receiving
from tests.plugins.stack import eventually
from tests.plugins.working import working
from tests.webhooks.conftest import echo, made, subscribe

SIGNATURES = Path(__file__).parents[2] / "docs" / "reference" / "webhook-signatures.md"
OWN = "whsec_" + base64.b64encode(b"a key of the users own choosing!").decode()
TRANSFORM = "p => ({text: `${p.data.note}!`, of: p.event})"


def test_W15_every_verifier_accepts_what_the_worker_sends(
    api: httpx.Client, settings: Settings, tmp_path: Path
) -> None:
    with receiving(echo) as plain, receiving(echo) as changed:
        secrets = [
            subscribe(api, plain.url, "contact.created")["plain"],
            subscribe(api, changed.url, "contact.created", secret=OWN, transform=TRANSFORM)[
                "plain"
            ],
        ]
        assert secrets[1] == OWN
        made(api.post("/api/v1/contacts", json={"note": "Zoë \u2028 🌊", "score": 1}))
        with working(settings):
            for receiver in (plain, changed):
                eventually(lambda r=receiver: len(r.requests) == 2, "a challenge and a delivery")
    deliveries = [receiver.requests[1] for receiver in (plain, changed)]
    assert json.loads(deliveries[1].body) == {"text": "Zoë \u2028 🌊!", "of": "contact.created"}
    for secret, got in zip(secrets, deliveries, strict=True):
        Webhook(secret).verify(got.body, got.headers)
    (sample,) = re.findall(r"```js\n(.*?)```", SIGNATURES.read_text(), re.S)
    module, cases = tmp_path / "sample.mjs", tmp_path / "cases.json"
    module.write_text(sample)
    given = [
        {"secret": secret, "headers": got.headers, "body": base64.b64encode(got.body).decode()}
        for secret, got in zip(secrets, deliveries, strict=True)
    ]
    cases.write_text(json.dumps(given))
    ran = node.run("verify_webhook.mjs", str(cases), str(module))
    assert ran.returncode == 0, ran.stderr
    everyone = ("standardwebhooks", "svix", "octokit", "sample", "sampleBodyOnly")
    assert json.loads(ran.stdout) == [dict.fromkeys(everyone, True)] * 2
