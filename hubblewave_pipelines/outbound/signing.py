"""Signing in: credentials onto requests, and OAuth tokens fetched and renewed once for all processes."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hubblewave_pipelines.core.credentials import OAUTH, REJECTED, CredentialKind, Credentials, Held
from hubblewave_pipelines.core.errors import PartialAnswer, Unauthorized, VendorUnavailable
from hubblewave_pipelines.outbound.redaction import Redactor
from hubblewave_pipelines.outbound.session import Answer
from hubblewave_pipelines.outbound.vault import Vault

_JWT_SECONDS = 180
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# RFC 6749 5.2; what a person has to mend. Atlassian says some of them with 403.
_FINAL = frozenset(
    {
        "invalid_grant",
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)

# POSTs a form to the token endpoint and gives any answer that is whole.
Ask = Callable[[str, Mapping[str, str]], Answer]


@dataclass(frozen=True, slots=True)
class Signed:
    """What is put on a request, and the generation of credentials it is made of."""

    generation: int
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)


class SignIn:
    """The credentials of one connection in use. Safe to share between threads."""

    def __init__(self, vault: Vault, token_url: str | None, ask: Ask, redactor: Redactor) -> None:
        self._vault = vault
        self._token_url = token_url
        self._ask = ask
        self._redactor = redactor
        self._held: Held | None = None

    def signed(self) -> Signed:
        """For the next request. Raises Unauthorized, and VendorUnavailable where no token can be had now."""
        held = self._held or self._load()
        if held.credentials.kind in OAUTH and not held.credentials.fresh(datetime.now(UTC)):
            held = self._renewed(self._load())
        return _signed(held)

    def given(self, name: str) -> str | None:
        """A member of the credentials as they were given."""
        held = self._held or self._load()
        return held.credentials.given.get(name)

    def refused(self, generation: int) -> bool:
        """The system answered 401 to what was signed with `generation`: whether there is something newer now.

        Raises Unauthorized when the system refuses to renew them.
        """
        held = self._load()
        if held.generation != generation:
            return True  # another process was quicker, or an admin gave new ones
        if held.credentials.kind not in OAUTH:
            return False
        self._renewed(held)
        return True

    def _load(self) -> Held:
        held = self._vault.held()
        self._redactor.learn(held.credentials.secrets())
        if held.rejected:
            raise Unauthorized(REJECTED)
        self._held = held
        return held

    def _renewed(self, held: Held) -> Held:
        self._held = self._vault.renew(held.generation, self._exchange)
        self._redactor.learn(self._held.credentials.secrets())
        return self._held

    def _exchange(self, credentials: Credentials) -> Credentials:
        given = credentials.given
        url = given.get("tokenUrl") or self._token_url
        if url is None:
            raise Unauthorized("The credentials need a tokenUrl: this type has no usual one.")
        answer = self._ask(url, _form(credentials, url))
        return _granted(credentials, answer, datetime.now(UTC))


def _signed(held: Held) -> Signed:
    credentials, given = held.credentials, held.credentials.given
    match credentials.kind:
        case CredentialKind.NONE:
            return Signed(held.generation)
        case CredentialKind.BASIC:
            pair = base64.b64encode(f"{given['username']}:{given['password']}".encode()).decode()
            return Signed(held.generation, {"Authorization": f"Basic {pair}"})
        case CredentialKind.API_KEY if given.get("in") == "query":
            return Signed(
                held.generation, params={given["name"]: given.get("prefix", "") + given["key"]}
            )
        case CredentialKind.API_KEY:
            return Signed(held.generation, {given["name"]: given.get("prefix", "") + given["key"]})
        case CredentialKind.BEARER:
            token = given["token"]
        case _:
            token = credentials.access_token or ""
    return Signed(held.generation, {"Authorization": f"Bearer {token}"})


def _form(credentials: Credentials, url: str) -> dict[str, str]:
    given = credentials.given
    form = {
        "client_id": given["clientId"],
        "client_secret": given.get("clientSecret", ""),
        "scope": given.get("scope", ""),
    }
    match credentials.kind:
        case CredentialKind.JWT_BEARER:
            form = {"grant_type": _JWT_GRANT, "assertion": _assertion(given, url)}
        case CredentialKind.REFRESH_TOKEN:
            form |= {"grant_type": "refresh_token", "refresh_token": given["refreshToken"]}
        case CredentialKind.PASSWORD:
            form |= {"grant_type": "password", "username": given["username"]}
            form["password"] = given["password"]
        case _:
            form["grant_type"] = "client_credentials"
    return {name: value for name, value in form.items() if value}


def _assertion(given: Mapping[str, str], url: str) -> str:
    """The signed claims of RFC 7523 3."""
    parts = urlsplit(url)
    now = int(datetime.now(UTC).timestamp())
    claims = {
        "iss": given["clientId"],
        "sub": given["subject"],
        "aud": given.get("audience") or f"{parts.scheme}://{parts.netloc}",
        "iat": now,
        "exp": now + _JWT_SECONDS,
    }
    text = ".".join(
        _coded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims)
    )
    try:
        key = load_pem_private_key(given["privateKey"].encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Unauthorized(
            "The credentials' privateKey is not an unencrypted RSA key in PEM."
        ) from error
    if not isinstance(key, RSAPrivateKey):
        raise Unauthorized("The credentials' privateKey is not an RSA key.")
    return f"{text}.{_coded(key.sign(text.encode(), PKCS1v15(), hashes.SHA256()))}"


def _coded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _granted(credentials: Credentials, answer: Answer, now: datetime) -> Credentials:
    """The credentials with the token of an answer of the token endpoint (RFC 6749 5.1, 5.2)."""
    try:
        body: Any = answer.json()
    except PartialAnswer as error:
        raise VendorUnavailable(
            f"The token endpoint answered {answer.status} and no JSON: the instance may be asleep, or"
            " tokenUrl wrong."
        ) from error
    token = body.get("access_token") if isinstance(body, dict) else None
    if answer.status == 200 and isinstance(token, str) and token:
        lasts = str(body.get("expires_in") or "")
        rotated = body.get("refresh_token")
        given = dict(credentials.given)
        if (
            isinstance(rotated, str)
            and rotated
            and credentials.kind is CredentialKind.REFRESH_TOKEN
        ):
            given["refreshToken"] = rotated  # the one used just now may be void already
        expires = now + timedelta(seconds=int(lasts)) if lasts.isdigit() else None
        return replace(credentials, given=given, access_token=token, expires_at=expires)
    code = body.get("error") if isinstance(body, dict) else None
    if code in _FINAL:
        raise Unauthorized(
            f"The token endpoint refused the credentials ({code}): sign in again at the system and put"
            " the new credentials into the connector."
        )
    raise VendorUnavailable(f"The token endpoint answered {answer.status} and no token.")
