"""Who a request to the ServiceNow sandbox is from: Basic, or a token of `/oauth_token.do`."""

import base64
import binascii
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hubblewave_pipelines.sandboxes.servicenow.refusing import failure

if TYPE_CHECKING:
    from hubblewave_pipelines.sandboxes.servicenow.instance import ServiceNow

GRANT_SECONDS = 1799
ACCOUNT = ("integration", "sandbox")
CLIENT = ("sandbox-client", "sandbox-secret")


def signed_in(instance: "ServiceNow", headers: Mapping[str, str]) -> bool:
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        ends = instance.grants.get(rest)
        return ends is not None and instance.clock.now() < ends
    if scheme.lower() != "basic":
        return False
    try:
        return base64.b64decode(rest, validate=True).decode() == ":".join(ACCOUNT)
    except (binascii.Error, UnicodeDecodeError):
        return False


def unauthenticated() -> Response:
    return JSONResponse(
        failure("User Not Authenticated", "Required to provide Auth information"),
        401,
        {"WWW-Authenticate": 'BASIC realm="Service-now"'},
    )


def routes(instance: "ServiceNow") -> list[BaseRoute]:
    async def token(request: Request) -> Response:
        raw = (await request.body()).decode()
        given = {name: values[0] for name, values in parse_qs(raw).items()}
        if (given.get("client_id"), given.get("client_secret")) != CLIENT:
            return _denied("invalid_client", "access_denied")
        match given.get("grant_type"):
            case "password":
                fine = (given.get("username"), given.get("password")) == ACCOUNT
            case "refresh_token":
                fine = given.get("refresh_token") in instance.refresh_tokens
            case "client_credentials":
                fine = True
            case _:
                fine = False
        if not fine:
            return _denied("server_error", "access_denied")
        access, refresh = uuid4().hex, uuid4().hex
        instance.grants[access] = instance.clock.now() + timedelta(seconds=GRANT_SECONDS)
        instance.refresh_tokens.add(refresh)
        return JSONResponse(
            {
                "access_token": access,
                "refresh_token": refresh,
                "scope": "useraccount",
                "token_type": "Bearer",
                "expires_in": GRANT_SECONDS,
            }
        )

    return [Route("/oauth_token.do", token, methods=["POST"])]


def _denied(error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, 401)
