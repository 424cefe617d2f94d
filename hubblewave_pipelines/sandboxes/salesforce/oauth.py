"""Salesforce's token endpoint and the sessions it gives: four grants, rotating refresh tokens, expiry."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from hubblewave_pipelines.sandboxes.salesforce.refusing import GrantRefused, Refused

CLIENT_ID = "3MVG9sandboxConsumerKey"
CLIENT_SECRET = "sandbox-consumer-secret"  # noqa: S105 - worth nothing outside a sandbox
USERNAME = "user1@sandbox.example"
PASSWORD = "sandbox-password"  # noqa: S105 - the same
REFRESH_TOKEN = "5Aep861sandboxRefresh0"  # noqa: S105 - the same
_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(slots=True)
class Sessions:
    """Who is signed in. A refresh token is used once: its successor comes with the access token."""

    org_id: str
    user_id: str
    lifetime: timedelta = timedelta(hours=2)
    rotate: bool = True
    keys: list[RSAPublicKey] = field(default_factory=list)  # certificates of the connected app
    given: int = 0
    refreshed: int = 0
    _live: dict[str, datetime] = field(default_factory=dict)
    _refresh: str = REFRESH_TOKEN

    def grant(self, form: Mapping[str, str], now: datetime, url: str) -> dict[str, Any]:
        """The token endpoint. Raises GrantRefused."""
        kind = form.get("grant_type", "")
        if kind == _BEARER:
            self._asserted(form.get("assertion", ""), now)
        else:
            self._client(form)
        more: dict[str, str] = {}
        match kind:
            case "refresh_token":
                if form.get("refresh_token") != self._refresh:
                    raise GrantRefused("invalid_grant", "expired access/refresh token")
                self.refreshed += 1
                if self.rotate:
                    self._refresh = f"{REFRESH_TOKEN[:-1]}{self.refreshed}"
                    more = {"refresh_token": self._refresh}
            case "password":
                given = form.get("password", "")
                if form.get("username") != USERNAME or not given.startswith(PASSWORD):
                    raise GrantRefused("invalid_grant", "authentication failure")
            case "client_credentials" | "urn:ietf:params:oauth:grant-type:jwt-bearer":
                pass
            case _:
                raise GrantRefused("unsupported_grant_type", "grant type not supported")
        return self._session(now, url) | more

    def hold(self, header: str | None, now: datetime) -> None:
        """Raises Refused 401 when the bearer is nobody's or its session is over."""
        word, _, token = (header or "").partition(" ")
        ends = self._live.get(token)
        if word.lower() not in ("bearer", "oauth") or ends is None or ends <= now:
            raise Refused(401, "INVALID_SESSION_ID", "Session expired or invalid")

    def end_all(self) -> None:
        """Every session is over; refresh tokens stay good."""
        self._live.clear()

    def _session(self, now: datetime, url: str) -> dict[str, Any]:
        self.given += 1
        token = f"{self.org_id[:15]}!AQEAQ{self.given:08d}"
        self._live[token] = now + self.lifetime
        return {
            "access_token": token,
            "instance_url": url,
            "id": f"{url}/id/{self.org_id}/{self.user_id}",
            "issued_at": str(int(now.timestamp() * 1000)),
            "signature": base64.b64encode(token.encode()).decode(),
            "scope": "refresh_token api",
            "token_type": "Bearer",
        }

    def _client(self, form: Mapping[str, str]) -> None:
        if form.get("client_id") != CLIENT_ID:
            raise GrantRefused("invalid_client_id", "client identifier invalid")
        if form.get("client_secret", CLIENT_SECRET) != CLIENT_SECRET:
            raise GrantRefused("invalid_client", "invalid client credentials")

    def _asserted(self, assertion: str, now: datetime) -> None:
        head, _, signature = assertion.rpartition(".")
        try:
            claims = json.loads(_unwrapped(head.partition(".")[2]))
            proof = _unwrapped(signature)
            ends = float(claims["exp"])
        except (ValueError, KeyError, TypeError, binascii.Error):
            raise GrantRefused("invalid_grant", "invalid assertion") from None
        if claims.get("iss") != CLIENT_ID:
            raise GrantRefused("invalid_client_id", "client identifier invalid")
        if not any(_signed(key, head, proof) for key in self.keys):
            raise GrantRefused("invalid_grant", "invalid assertion")
        if claims.get("sub") != USERNAME:
            raise GrantRefused("invalid_grant", "user hasn't approved this consumer")
        if not now.timestamp() < ends <= now.timestamp() + 600:
            raise GrantRefused("invalid_grant", "expired authorization code")


def _signed(key: RSAPublicKey, text: str, proof: bytes) -> bool:
    try:
        key.verify(proof, text.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _unwrapped(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
