"""/api/v1/openapi.json, a tenant's own document, and /api/docs, the page that shows it offline."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import FileResponse, Response, StreamingResponse

from api import records
from api.body import JSON
from api.context import Caller, caller, platform
from api.kept import Kept
from api.openapi import VERSIONS, Served, document
from api.openapi_fixed import Fixed
from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.core.errors import Fault, MalformedRequest, NotFound
from hubblewave_pipelines.core.filters import hint

router = APIRouter()  # below /api/v1
pages = APIRouter(prefix="/api/docs")

Reader = Annotated[Caller, Depends(caller("read"))]

_MOST_BYTES = 64_000_000  # of documents kept, compressed: one of 1,000 entities is some 2 MB
_MOST_NAMED = 100  # entities that a part of the document is asked for
_STEP = 16_384  # compressed bytes unpacked at once
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_HERE = Path(__file__).parent / "page"
_OWN = {"page.js": "text/javascript", "page.css": "text/css"}
# The viewer sets styles from its script; everything it loads comes from here.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Asked(NamedTuple):
    """Which document is asked for: its form, and the entities that it is about, or all."""

    version: str
    only: frozenset[str] | None


class Documents:
    """The documents this process made last, compressed; of large tenants one takes seconds."""

    def __init__(self, routers: Sequence[APIRouter]) -> None:
        self.served = Served(list(_fixed(routers)), records.offered())
        self._kept: Kept[tuple[UUID, int, Asked], bytes] = Kept(_MOST_BYTES)
        self._making = asyncio.Lock()

    async def of(self, found: Caller, asked: Asked, *, server: str, base: str) -> bytes:
        """The document of the caller's tenant as JSON, in gzip's form.

        Made in a thread, one at a time in a process and once for all who ask the same.
        """
        key = (found.principal.tenant_id, found.catalog.version, asked)

        def make() -> bytes:
            pieces = document(
                found.catalog,
                self.served,
                server=server,
                base=base,
                version=asked.version,
                only=asked.only,
            )
            packing = zlib.compressobj(5, wbits=31)
            return b"".join([*map(packing.compress, pieces), packing.flush()])

        kept = self._kept.get(key)
        if kept is None:
            async with self._making:
                kept = self._kept.get(key)
                if kept is None:
                    kept = await asyncio.to_thread(make)
                    self._kept.keep(key, kept, len(kept))
        return kept


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


def _asked(request: Request, catalog: Catalog) -> Asked:
    faults = []
    version, only = "3.0.3", None
    for name, value in request.query_params.multi_items():
        if name == "version" and value in VERSIONS:
            version = VERSIONS[value]
        elif name == "version":
            detail = f"must be one of {', '.join(VERSIONS)}"
            faults.append(Fault("enum", detail, parameter=name))
        elif name == "entity":
            chosen = value.split(",")
            names = [entity.name for entity in catalog] if len(chosen) <= _MOST_NAMED else []
            if len(chosen) > _MOST_NAMED:
                detail = f"names more than {_MOST_NAMED} entities"
                faults.append(Fault("range", detail, parameter=name))
            for one in chosen if names or not catalog.entities else ():
                if catalog.named(one) is None:
                    detail = f"there is no entity {one[:60]!r}{hint(one[:60], names)}"
                    faults.append(Fault("unknown", detail, parameter=name))
            only = (only or frozenset()) | frozenset(chosen)
        else:
            detail = "the parameters here are version and entity"
            faults.append(Fault("unknown", detail, parameter=name))
    if faults:
        raise MalformedRequest("The parameters cannot be read.", faults=faults)
    return Asked(version, only)


def _takes_gzip(request: Request) -> bool:
    """Whether Accept-Encoding lets gzip through (RFC 9110, 12.5.3)."""
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, weight = part.replace(" ", "").partition(";q=")
        if coding in ("gzip", "x-gzip", "*"):
            return weight.strip("0.") != "" if weight else True
    return False


async def _plain(packed: bytes) -> AsyncIterator[bytes]:
    """The document itself, a part at a time."""
    unpacking = zlib.decompressobj(wbits=31)
    for start in range(0, len(packed), _STEP):
        yield unpacking.decompress(packed[start : start + _STEP])
        await asyncio.sleep(0)  # one document does not hold the loop
    yield unpacking.flush()


@router.get("/openapi.json")
async def openapi_document(found: Reader, request: Request) -> Response:
    """The OpenAPI document of the caller's tenant, as of this request; `entity` asks for a part."""
    asked = _asked(request, found.catalog)
    settings = platform(request).settings
    documents: Documents = request.app.state.documents
    base = settings.public_url or ""  # without one, addresses are relative to the document's own
    packed = await documents.of(found, asked, server=f"{base}/api/v1", base=base)
    vary = {"Vary": "Authorization, X-API-Key, Accept, Accept-Encoding"}
    if _takes_gzip(request):
        return Response(packed, 200, {**vary, "Content-Encoding": "gzip"}, JSON)
    return StreamingResponse(_plain(packed), 200, vary, JSON)


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
