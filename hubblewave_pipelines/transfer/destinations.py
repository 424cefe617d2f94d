"""Where files may be written to or watched: allowed locations as fsspec URLs."""

import json
import os
import posixpath
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec import AbstractFileSystem

from hubblewave_pipelines.core.errors import ExportFailed, Unavailable
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.exports import ExportJob


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


def opened(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a location, and its path there."""
    filesystem, path = fsspec.core.url_to_fs(url)
    return filesystem, str(path)


def deliver(
    settings: Settings,
    tenant: str,
    job: ExportJob,
    path: Path,
    name: str,
    manifest: dict[str, Any],
) -> str | None:
    """Put a finished file, and its manifest beside it, at the export's destination; its URL there.

    A destination that ends in `/` is a folder, any other the file itself, replaced whole. Raises
    ExportFailed when it is not allowed any more, Unavailable when it cannot be written now.
    """
    if job.destination is None:
        return None
    try:
        place = allowed(settings, tenant, job.destination)
    except NotAllowed as error:
        raise ExportFailed(f"{error}.") from error
    url = f"{place}{name}" if place.endswith("/") else place
    try:
        filesystem, place = opened(url)
        filesystem.makedirs(posixpath.dirname(place), exist_ok=True)
        _put(filesystem, path, place)
        with filesystem.open(f"{place}.manifest.json", "wb") as sink:
            sink.write(json.dumps(manifest, indent=2).encode() + b"\n")
    except (ImportError, ValueError) as error:
        raise ExportFailed(f"{url} cannot be written: {error}") from error
    except OSError as error:
        raise Unavailable(f"{url} cannot be written: {type(error).__name__}.") from error
    return url


def _put(filesystem: AbstractFileSystem, path: Path, place: str) -> None:
    """Whole or not at all: stores of objects publish at the end of the upload, folders by rename."""
    unfinished = f"{place}.tmp"
    if "file" not in filesystem.protocol:
        filesystem.put_file(str(path), place)
        return
    filesystem.put_file(str(path), unfinished)
    with open(unfinished, "rb") as copied:
        os.fsync(copied.fileno())
    os.replace(unfinished, place)
