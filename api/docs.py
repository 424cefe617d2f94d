"""/api/v1/openapi.json, a tenant's own document, and /api/docs, the page that shows it offline."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import FileResponse, Response

from api import records
from api.body import JSON
from api.context import Caller, caller, platform
from api.openapi import VERSIONS, Served, document
from api.openapi_fixed import Fixed
from hubblewave_pipelines.core.errors import Fault, MalformedRequest, NotFound

router = APIRouter()  # below /api/v1
pages = APIRouter(prefix="/api/docs")

Reader = Annotated[Caller, Depends(caller("read"))]

_MOST_BYTES = 64_000_000  # of documents kept; a tenant of 1,000 entities has one of about 40 MB
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_HERE = Path(__file__).parent / "page"
_OWN = {"page.js": "text/javascript", "page.css": "text/css"}
# The viewer sets styles from its script; everything it loads comes from here.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Documents:
    """The documents this process made last, by tenant, catalog version and form."""

    def __init__(self, routers: Sequence[APIRouter]) -> None:
        self.served = Served(list(_fixed(routers)), records.offered())
        self._kept: OrderedDict[tuple[UUID, int, str], bytes] = OrderedDict()

    async def of(self, found: Caller, *, server: str, base: str, version: str) -> bytes:
        """The document of the caller's tenant as JSON; made in a thread, since it can be large."""
        key = (found.principal.tenant_id, found.catalog.version, version)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept

        def make() -> bytes:
            return msgspec.json.encode(
                document(found.catalog, self.served, server=server, base=base, version=version)
            )

        made = self._kept[key] = await asyncio.to_thread(make)
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > _MOST_BYTES:
            self._kept.popitem(last=False)
        return made


def _fixed(routers: Sequence[APIRouter]) -> list[Fixed]:
    return [
        Fixed(
            route.path_format,
            method,
            route.name,
            (route.description or route.name).split("\n\n")[0],
        )
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in sorted((route.methods or set()) - {"HEAD"})  # whatever answers GET
    ]


def _version(request: Request) -> str:
    faults = []
    chosen = "3.0.3"
    for name, value in request.query_params.multi_items():
        if name != "version":
            faults.append(Fault("unknown", "the only parameter here is version", parameter=name))
        elif value not in VERSIONS:
            detail = f"must be one of {', '.join(VERSIONS)}"
            faults.append(Fault("enum", detail, parameter=name))
        else:
            chosen = VERSIONS[value]
    if faults:
        raise MalformedRequest("The parameters cannot be read.", faults=faults)
    return chosen


@router.get("/openapi.json")
async def openapi_document(found: Reader, request: Request) -> Response:
    """The OpenAPI document of the caller's tenant, as of this request."""
    version = _version(request)
    settings = platform(request).settings
    documents: Documents = request.app.state.documents
    base = settings.public_url or ""  # without one, addresses are relative to the document's own
    text = await documents.of(found, server=f"{base}/api/v1", base=base, version=version)
    return Response(text, media_type=JSON)


@pages.get("")
async def page() -> Response:
    """The interactive page: it asks for an API key and shows the document of the key's tenant."""
    return FileResponse(
        _HERE / "index.html",
        media_type="text/html",
        headers={"Content-Security-Policy": _POLICY},
    )


@pages.get("/{name}")
async def asset(name: str) -> Response:
    """A script or style of the page."""
    cached = {"Cache-Control": "public, max-age=3600"}
    if name in _OWN:
        return FileResponse(_HERE / name, media_type=_OWN[name], headers=cached)
    if name not in _ASSETS:
        raise NotFound(f"There is nothing at /api/docs/{name[:60]}.")
    found = find_spec("fastapi_offline")
    if found is None or not found.submodule_search_locations:
        raise NotFound("The viewer is not installed here: pip install fastapi-offline.")
    path = Path(found.submodule_search_locations[0]) / "static" / name
    return FileResponse(path, media_type=_ASSETS[name], headers=cached)
