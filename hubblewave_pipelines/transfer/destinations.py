"""Files outside the spool: a finished export put where it was asked to go."""

import json
import os
import posixpath
from pathlib import Path
from typing import Any

import fsspec
from fsspec import AbstractFileSystem

from hubblewave_pipelines.core.errors import ExportFailed, Unavailable
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.exports import ExportJob
from hubblewave_pipelines.transfer.locations import NotAllowed, allowed


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
