"""simple-salesforce against the sandbox: it always says https, so a requests adapter says http instead."""

from typing import Any

import httpx
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce

from hubblewave_pipelines.sandboxes.salesforce import oauth
from hubblewave_pipelines.sandboxes.serving import Running


class PlainHttp(HTTPAdapter):
    """Sends what is meant for https by http, and nothing else differently."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        assert request.url is not None
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, *args, **kwargs)


def sign_in(running: Running, **form: str) -> dict[str, Any]:
    """A token answer; client credentials unless the form says otherwise."""
    client = {"client_id": oauth.CLIENT_ID, "client_secret": oauth.CLIENT_SECRET}
    grant = {"grant_type": "client_credentials", **client, **form}
    answer = httpx.post(f"{running.url}/services/oauth2/token", data=grant)
    found: dict[str, Any] = answer.json()
    assert answer.status_code == 200, found
    return found


def vendor_client(running: Running, version: str = "60.0") -> Salesforce:
    session = requests.Session()
    session.mount("https://", PlainHttp())
    signed_in = sign_in(running)
    return Salesforce(
        instance_url=signed_in["instance_url"],
        session_id=signed_in["access_token"],
        session=session,
        version=version,
    )
