"""What a connector may ask for: paths and links made into URLs of the connector's own origin, or refused."""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from hubblewave_pipelines.core.errors import ForeignLink

_KEPT = "!$'()*,:;@/?~-._"  # of RFC 3986's query; `+` and `&` of a value would be read as something else
_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return (
        parts.scheme.lower(),
        (parts.hostname or "").lower(),
        parts.port or _DEFAULT_PORTS.get(parts.scheme.lower()),
    )


class Addresses:
    """URLs under one base URL."""

    def __init__(self, base_url: str, *, rebase_links: bool = False) -> None:
        self.base_url = base_url.rstrip("/")
        self._origin = origin_of(base_url)
        parts = urlsplit(self.base_url)
        self._root = f"{parts.scheme}://{parts.netloc}"
        self._rebase = rebase_links

    def url(self, path: str, params: Mapping[str, str] | None = None) -> str:
        """The absolute URL of a path or link. Raises ForeignLink."""
        found = self._absolute(path)
        if params:
            pairs = (f"{quote(n, safe=_KEPT)}={quote(v, safe=_KEPT)}" for n, v in params.items())
            found += ("&" if "?" in found else "?") + "&".join(pairs)
        return found

    def redirected(self, url: str, location: str) -> str:
        """Where a redirect of `url` leads. Raises ForeignLink."""
        if "://" in location.partition("?")[0]:
            return self._linked(location)
        if location.startswith("//"):
            return self._linked(f"{self._origin[0]}:{location}")
        if location.startswith("/"):
            return self._root + location
        return url.partition("?")[0].rpartition("/")[0] + "/" + location

    def _absolute(self, path: str) -> str:
        if "://" in path.partition("?")[0]:
            return self._linked(path)
        return f"{self.base_url}/{path.removeprefix('/')}" if path else self.base_url

    def _linked(self, link: str) -> str:
        try:
            parts = urlsplit(link)
            origin = origin_of(link)
        except ValueError as error:
            raise ForeignLink("The system sent a link that cannot be read.") from error
        if "@" not in parts.netloc and origin == self._origin:
            return link
        if not self._rebase:
            raise ForeignLink(
                "The system sent a link to another host than the connector's. The credentials are not"
                " sent there: set the connector's baseUrl to the host that the system itself uses."
            )
        asked = f"?{parts.query}" if parts.query else ""
        return f"{self._root}/{parts.path.lstrip('/')}{asked}"
