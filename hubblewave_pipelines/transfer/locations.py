"""Locations of files that the platform may write to and read from: fsspec URLs, and who allows them."""

import os
import posixpath
from urllib.parse import urlsplit

from hubblewave_pipelines.settings import Settings


class NotAllowed(Exception):
    """The location is none of those that the platform's operator allows; says what to do."""


def normal(url: str) -> str:
    """`url` with its path in its shortest form; a path of this machine becomes a file URL.

    Raises NotAllowed for what is no location.
    """
    if url.startswith("/"):
        url = f"file://{url}"
    parts = urlsplit(url)
    if not parts.scheme or "::" in url or parts.query or parts.fragment or "@" in parts.netloc:
        raise NotAllowed(
            f"{url[:200]!r} is no location; write file:///folder/ or s3://bucket/folder/"
        )
    path = posixpath.normpath(parts.path or "/") if parts.path.strip("/") else ""
    slash = "/" if parts.path.endswith("/") and path != "/" else ""
    return f"{parts.scheme}://{parts.netloc}{path}{slash}"


def allowed(settings: Settings, tenant: str, url: str) -> str:
    """The location in its normal form. Raises NotAllowed unless it is inside one that the setting
    HUBBLEWAVE_FILE_LOCATIONS names; `{tenant}` in those stands for the tenant's slug."""
    wanted = normal(url)
    if wanted.startswith("file://"):  # a link must not lead out of what is allowed
        folder = os.path.realpath(wanted.removeprefix("file://"))
        wanted = f"file://{folder}{'/' if wanted.endswith('/') else ''}"
    for place in settings.locations:
        prefix = normal(place.replace("{tenant}", tenant)).rstrip("/")
        if prefix.startswith("file://"):
            prefix = f"file://{os.path.realpath(prefix.removeprefix('file://'))}"
        if wanted.rstrip("/") == prefix or wanted.startswith(f"{prefix}/"):
            return wanted
    places = ", ".join(place.replace("{tenant}", tenant) for place in settings.locations)
    raise NotAllowed(
        f"{wanted} is in none of the locations that HUBBLEWAVE_FILE_LOCATIONS allows ({places})"
    )
