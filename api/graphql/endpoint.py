"""/graphql over HTTP: what a client sends, what it accepts, and the answer in that form.

As the GraphQL over HTTP draft has it: application/graphql-response+json says by its status whether
the document was run; application/json says 200 for whatever is a GraphQL answer.
"""

import re

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.body import JSON, parse, require_media
from api.context import identify, platform
from api.graphql import explorer
from api.graphql.execution import Asked, execute
from api.graphql.persisted import document_text
from api.graphql.refusals import OF_DOCUMENTS, refused
from api.problems import headers_of
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import (
    Fault,
    Forbidden,
    MalformedRequest,
    NotAcceptable,
    NotFound,
    PlatformError,
)

router = APIRouter()

RESPONSE = "application/graphql-response+json"
_ANY = frozenset({"*/*", "application/*", JSON})
_RANGE = re.compile(r"\s*([^;,\s]+)\s*((?:;[^,]*)?)(?:,|\Z)")
_QUALITY = re.compile(r";\s*q=([0-9.]+)")
# A page of another site cannot set these without asking first (a CORS preflight).
_NOT_SIMPLE = ("apollo-require-preflight", "x-apollo-operation-name", "x-hw-csrf")
_CREDENTIALS = ("x-api-key", "authorization")


def _accepted(given: str | None) -> str:
    """The media type of the answer. Raises NotAcceptable."""
    if given is None or not given.strip():
        return JSON
    best, chosen = 0.0, None
    for name, parameters in _RANGE.findall(given):
        media = name.lower()
        found = _QUALITY.search(parameters)
        try:
            quality = 1.0 if found is None else float(found[1])
        except ValueError:
            quality = 0.0
        if quality > best and (media == RESPONSE or media in _ANY):
            best, chosen = quality, RESPONSE if media == RESPONSE else JSON
    if chosen is None:
        raise NotAcceptable(f"Answers here are {RESPONSE} or {JSON}.")
    return chosen


def _refuse_forged(request: Request) -> None:
    """Cookies are sent by whoever's page makes a browser ask; such a request must show that it may.

    Raises Forbidden. A credential in a header is proof enough: other sites' pages do not have it.
    """
    headers = request.headers
    if "cookie" not in headers or any(name in headers for name in _CREDENTIALS):
        return
    if not any(name in headers for name in _NOT_SIMPLE):
        raise Forbidden(
            "Send the header X-HW-CSRF or Apollo-Require-Preflight (any value): without it, this "
            "could be another site's page asking in your name."
        )


def _text(given: dict[str, Json], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise _wrong(name, "must be a string")
    return value


def _object(given: dict[str, Json], name: str) -> dict[str, Json] | None:
    value = given.get(name)
    if value is not None and not isinstance(value, dict):
        raise _wrong(name, "must be an object")
    return value


def _wrong(name: str, detail: str) -> MalformedRequest:
    fault = Fault("type", detail, f"#/{name}")
    return MalformedRequest(f"{name} {detail}.", faults=[fault])


def _of_address(request: Request) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, value in request.query_params.multi_items():
        if name in found:
            raise MalformedRequest(f"{name[:60]} is given twice.")
        found[name] = value
    for name in ("variables", "extensions"):
        if found.get(name) == "":
            found[name] = None
        elif name in found:
            found[name] = parse(found[name].encode())
    return found


async def _given(request: Request) -> dict[str, Json]:
    """The parameters of the request, from its address or its body."""
    if request.method == "GET":
        return _of_address(request)
    require_media(request, JSON)
    body = parse(await request.body())
    if isinstance(body, list):
        raise MalformedRequest("Batches are not taken: send one operation per request.")
    if not isinstance(body, dict):
        raise MalformedRequest('The body must be an object like {"query": "{ ... }"}.')
    return body


async def asked_of(request: Request, given: dict[str, Json]) -> Asked:
    """What a client asks for, of whatever transport, its document found by id when it sends none.

    Raises MalformedRequest, and what `document_text` raises.
    """
    query, document_id = _text(given, "query"), _text(given, "documentId")
    if document_id is not None:
        query = await document_text(request, document_id, query)
    name, variables = _text(given, "operationName"), _object(given, "variables")
    _object(given, "extensions")
    if query is None:
        raise _wrong("query", "is required: the GraphQL document (or its documentId)")
    return Asked(query, name or None, variables)


@router.api_route("/graphql", methods=["GET", "POST"])
async def graphql(request: Request) -> Response:
    """Queries and mutations; GET takes queries only."""
    media, schema_shown = JSON, platform(request).graphql.rules.introspection
    if request.method == "GET" and schema_shown and not request.query_params:
        if explorer.wants_page(request.headers.get("accept", "")):
            return explorer.page()
    try:
        media = _accepted(request.headers.get("accept"))
        _refuse_forged(request)
        await identify(request)  # refuse the nameless and the hasty before reading what they send
        asked = await asked_of(request, await _given(request))
        answer = await execute(request, asked, reading_only=request.method == "GET")
    except PlatformError as error:
        lenient = media == JSON and isinstance(error, OF_DOCUMENTS)
        status = 200 if lenient else error.status
        body = refused(error, request.state.request_id)
        answer = Response(body, status, headers_of(error))
    answer.headers["content-type"] = f"{media}; charset=utf-8"
    return answer


@router.get("/graphql/page/{name}")
async def asset(request: Request, name: str) -> Response:
    """A file of the page that explores the schema."""
    if not platform(request).graphql.rules.introspection:
        raise NotFound(f"There is nothing at {request.url.path}.")
    return explorer.asset(name)
