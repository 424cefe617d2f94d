"""Credentials of connectors: their kinds, what each consists of, and the JSON Schema a type builds of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from hubblewave_pipelines.core.entity import Json


class CredentialKind(StrEnum):
    NONE = "none"
    BASIC = "basic"
    BEARER = "bearer"
    API_KEY = "api_key"
    CLIENT_CREDENTIALS = "client_credentials"  # RFC 6749 4.4
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - RFC 6749 6; the first token comes from a sign-in elsewhere
    JWT_BEARER = "jwt_bearer"  # RFC 7523 2.1
    PASSWORD = "password"  # noqa: S105 - RFC 6749 4.3, where a vendor still has it


# What is sent to a token endpoint; the others are put on each request as they are.
OAUTH = frozenset(
    {
        CredentialKind.CLIENT_CREDENTIALS,
        CredentialKind.REFRESH_TOKEN,
        CredentialKind.JWT_BEARER,
        CredentialKind.PASSWORD,
    }
)

_TOKEN_URL = {
    "type": "string",
    "format": "uri",
    "description": "Token endpoint; by default the vendor's.",
}
_CLIENT = {
    "tokenUrl": _TOKEN_URL,
    "clientId": {"type": "string", "minLength": 1},
    "clientSecret": {"type": "string", "minLength": 1},
    "scope": {"type": "string"},
}
_TEXT: Mapping[str, Json] = {"type": "string", "minLength": 1}

_MEMBERS: Mapping[CredentialKind, tuple[Mapping[str, Json], tuple[str, ...]]] = MappingProxyType(
    {
        CredentialKind.NONE: ({}, ()),
        CredentialKind.BASIC: (
            {"username": dict(_TEXT), "password": dict(_TEXT)},
            ("username", "password"),
        ),
        CredentialKind.BEARER: ({"token": dict(_TEXT)}, ("token",)),
        CredentialKind.API_KEY: (
            {
                "key": dict(_TEXT),
                "name": {**_TEXT, "description": "Header or parameter it is sent as."},
                "in": {"enum": ["header", "query"], "default": "header"},
                "prefix": {
                    "type": "string",
                    "description": "Put before the key, for example `Token `.",
                },
            },
            ("key", "name"),
        ),
        CredentialKind.CLIENT_CREDENTIALS: (dict(_CLIENT), ("clientId", "clientSecret")),
        CredentialKind.REFRESH_TOKEN: (
            {**_CLIENT, "refreshToken": dict(_TEXT)},
            ("clientId", "refreshToken"),
        ),
        CredentialKind.JWT_BEARER: (
            {
                "tokenUrl": _TOKEN_URL,
                "clientId": dict(_TEXT),
                "subject": {**_TEXT, "description": "The user to act as."},
                "audience": {
                    "type": "string",
                    "description": "By default the token endpoint's origin.",
                },
                "privateKey": {**_TEXT, "description": "RSA key in PEM; signs with RS256."},
            },
            ("clientId", "subject", "privateKey"),
        ),
        CredentialKind.PASSWORD: (
            {**_CLIENT, "username": dict(_TEXT), "password": dict(_TEXT)},
            ("clientId", "clientSecret", "username", "password"),
        ),
    }
)
# Members that may be shown; everything else is a secret.
_SHOWN = frozenset({"kind", "name", "in", "prefix", "tokenUrl", "scope", "audience"})


def credentials_schema(*kinds: CredentialKind | str) -> dict[str, Json]:
    """The JSON Schema (2020-12) of credentials that may be of any of `kinds`, told apart by `kind`."""
    return {"oneOf": [_schema(CredentialKind(kind)) for kind in kinds]}


def _schema(kind: CredentialKind) -> dict[str, Json]:
    members, required = _MEMBERS[kind]
    return {
        "type": "object",
        "title": kind.value,
        "properties": {"kind": {"const": kind.value}, **members},
        "required": ["kind", *required],
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is sealed in storage: what an admin gave, and the access token it was last turned into."""

    given: Mapping[str, str]
    access_token: str | None = None
    expires_at: datetime | None = None

    @property
    def kind(self) -> CredentialKind:
        return CredentialKind(self.given.get("kind", "none"))

    def fresh(self, now: datetime) -> bool:
        """Whether the access token can be used for a while yet, as far as its expiry is known."""
        if self.access_token is None:
            return False
        return self.expires_at is None or now + timedelta(seconds=30) < self.expires_at

    def secrets(self) -> tuple[str, ...]:
        """Every value that may appear in no log line and no error."""
        hidden = [value for name, value in self.given.items() if name not in _SHOWN]
        return tuple(filter(None, (*hidden, self.access_token)))

    def as_json(self) -> dict[str, Json]:
        return {
            "given": dict(self.given),
            "accessToken": self.access_token,
            "expiresAt": self.expires_at.isoformat() if self.expires_at else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> "Credentials":
        given, token, expires = value["given"], value.get("accessToken"), value.get("expiresAt")
        assert isinstance(given, dict)
        return cls(
            {name: str(member) for name, member in given.items()},
            None if token is None else str(token),
            None if expires is None else datetime.fromisoformat(str(expires)),
        )


REJECTED = (
    "The system has refused these credentials for good. Sign in again there, and put the new"
    " credentials into the connector."
)


@dataclass(frozen=True, slots=True)
class Held:
    """Credentials as they are stored now. `generation` grows with every change; `rejected` says that the
    system has refused this generation for good, so that nobody asks it again."""

    credentials: Credentials
    generation: int
    rejected: bool = False
