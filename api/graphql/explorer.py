"""GraphiQL at GET /graphql for browsers, where the schema may be shown; all of it comes from here.

Its files are those that Dagster's webserver ships (GraphiQL with its documentation, React); they are
read as files, and nothing of Dagster is imported.
"""

from importlib.util import find_spec
from pathlib import Path

from starlette.responses import FileResponse, Response

from hubblewave_pipelines.core.errors import NotFound

_SHIPPED = {
    "graphiql.min.js": "text/javascript",
    "graphiql.min.css": "text/css",
    "graphiql-plugin-explorer.umd.js": "text/javascript",
    "graphiql-plugin-explorer-style.css": "text/css",
    "react.production.min.js": "text/javascript",
    "react-dom.production.min.js": "text/javascript",
}
_HERE = Path(__file__).parent / "page"
_OWN = {"page.js": "text/javascript", "page.css": "text/css"}
# The editor sets styles from its script; its fonts are inside its style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src data:; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def wants_page(accept: str) -> bool:
    """Whether a browser asks, which takes HTML before anything else."""
    first = accept.partition(",")[0].partition(";")[0].strip().lower()
    return first == "text/html"


def page() -> Response:
    return FileResponse(
        _HERE / "index.html",
        media_type="text/html",
        headers={"Content-Security-Policy": _POLICY},
    )


def asset(name: str) -> Response:
    """A script or style of the page. Raises NotFound."""
    cached = {"Cache-Control": "public, max-age=3600"}
    if name in _OWN:
        return FileResponse(_HERE / name, media_type=_OWN[name], headers=cached)
    if name not in _SHIPPED:
        raise NotFound(f"There is nothing at /graphql/page/{name[:60]}.")
    found = find_spec("dagster_webserver")
    if found is None or not found.submodule_search_locations:
        raise NotFound("The page is not installed here: pip install dagster-webserver.")
    path = Path(found.submodule_search_locations[0]) / "graphiql" / name
    if not path.is_file():
        raise NotFound(f"This version of dagster-webserver ships no {name}.")
    return FileResponse(path, media_type=_SHIPPED[name], headers=cached)
