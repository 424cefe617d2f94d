"""Who may open a socket, and with what credential: the upgrade request and connection_init."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import Unauthenticated
from hubblewave_pipelines.settings import Settings

_NAMES = {"apikey": "x-api-key", "x-api-key": "x-api-key", "authorization": "authorization"}


def admits_origin(headers: Headers, settings: Settings) -> bool:
    """Whether the page that opens the socket may. Browsers ask nobody before they connect to
    another site's socket, so the server must judge; programs send no Origin."""
    origin = headers.get("origin")
    if origin is None or "*" in settings.cors_origins:
        return origin != "null"
    if origin in settings.cors_origins:
        return True
    own = urlsplit(settings.api_url)
    host = urlsplit(origin).netloc.lower()
    return host == headers.get("host", "").lower() or origin == f"{own.scheme}://{own.netloc}"


def credentials(payload: Mapping[str, Json], upgrade: Headers) -> Headers:
    """The headers that carry the credential: those of connection_init when it has any (by
    themselves or in `headers`), those of the upgrade request otherwise.

    Raises Unauthenticated when one is no text.
    """
    given: dict[str, str] = {}
    inner = payload.get("headers")
    for source in (inner if isinstance(inner, dict) else {}, payload):
        for name, value in source.items():
            header = _NAMES.get(str(name).lower())
            if header is None or value is None:
                continue
            if not isinstance(value, str) or not value.isascii():
                raise Unauthenticated(f"{name} must be the text of an API key.")
            given[header] = value
    return Headers(given) if given else upgrade
