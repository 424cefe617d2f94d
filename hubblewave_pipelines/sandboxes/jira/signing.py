"""Who a request to the Jira sandbox is from, and what each way of not being signed in is answered with."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hubblewave_pipelines.sandboxes.jira import catalog

if TYPE_CHECKING:
    from hubblewave_pipelines.sandboxes.jira.site import Jira

Handler = Callable[[Request], Awaitable[Response]]
REASON = "X-Seraph-LoginReason"


def signed_in(site: "Jira", request: Request) -> bool:
    given = request.headers.get("authorization", "")
    scheme, _, rest = given.partition(" ")
    if scheme.lower() == "bearer":
        if not site.cloud:
            return rest == catalog.PAT
        ends = site.grants.get(rest)
        return ends is not None and site.clock.now() < ends
    if scheme.lower() != "basic":
        return False
    try:
        pair = base64.b64decode(rest, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return False
    return pair == f"{catalog.EMAIL}:{catalog.TOKEN}" if site.cloud else pair == "sync:sync"


def private(site: "Jira", handler: Handler) -> Handler:
    """401 for strangers."""

    async def guarded(request: Request) -> Response:
        if not signed_in(site, request):
            return unauthenticated()
        return named(site, await handler(request))

    guarded.__name__ = handler.__name__
    return guarded


def searchable(site: "Jira", handler: Handler, nothing: dict[str, object]) -> Handler:
    """Strangers see what anonymous people see, which is nothing, and get 200. Data Center refuses
    wrong credentials and treats only missing ones so.
    """

    async def guarded(request: Request) -> Response:
        if signed_in(site, request):
            return named(site, await handler(request))
        if "authorization" not in request.headers:
            return JSONResponse(nothing)
        if not site.cloud:
            return unauthenticated()
        return JSONResponse(nothing, headers={} if site.quiet else {REASON: "AUTHENTICATED_FAILED"})

    guarded.__name__ = handler.__name__
    return guarded


def hidden(site: "Jira", handler: Handler) -> Handler:
    """404 for strangers: that an issue exists is a secret."""

    async def guarded(request: Request) -> Response:
        if signed_in(site, request):
            return named(site, await handler(request))
        return JSONResponse(
            {
                "errorMessages": ["Issue does not exist or you do not have permission to see it."],
                "errors": {},
            },
            404,
        )

    guarded.__name__ = handler.__name__
    return guarded


def unauthenticated() -> Response:
    return JSONResponse(
        {"message": "Client must be authenticated to access this resource.", "status-code": 401},
        401,
        {REASON: "AUTHENTICATED_FAILED", "WWW-Authenticate": 'OAuth realm="sandbox"'},
    )


def named(site: "Jira", response: Response) -> Response:
    """The headers that say who was signed in."""
    if not site.quiet:
        if site.cloud:
            response.headers["X-AACCOUNTID"] = catalog.ACCOUNT
        else:
            response.headers["X-AUSERNAME"] = "sync"
    return response
