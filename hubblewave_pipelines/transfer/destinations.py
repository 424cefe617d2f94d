"""Files outside the spool: opening where they are, and putting a finished export there."""

import json
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec import AbstractFileSystem

from hubblewave_pipelines.core.errors import ExportFailed, Unavailable
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.exports import ExportJob
from hubblewave_pipelines.transfer.locations import NotAllowed, allowed

# Stores without folders: making one would make a bucket where none is.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})


def opened(settings: Settings, url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a location, and its path there.

    Raises ImportError for a protocol whose package is not installed, ValueError for no protocol.
    """
    options = settings.options_of(url.partition("://")[0])
    # What was listed a minute ago says nothing about what is there now.
    filesystem, path = fsspec.core.url_to_fs(url, **{**options, "use_listings_cache": False})
    return filesystem, str(path)


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turns what goes wrong at a location into errors that hold no secret.

    Raises ExportFailed for what stays wrong, Unavailable for what may pass.
    """
    try:
        yield
    except (ImportError, ValueError) as error:
        raise ExportFailed(f"{url} cannot be used: {error}") from error
    except OSError as error:
        raise Unavailable(f"{url} cannot be reached: {type(error).__name__}.") from error
    except Exception as error:
        # What botocore and its like raise derives from nothing that could be named here.
        if type(error).__module__.partition(".")[0] not in ("botocore", "aiobotocore", "aiohttp"):
            raise
        raise Unavailable(f"{url} cannot be reached: {type(error).__name__}.") from error


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
    with reaching(url):
        filesystem, place = opened(settings, url)
        if url.partition("://")[0] not in _OBJECT_STORES:
            filesystem.makedirs(posixpath.dirname(place), exist_ok=True)
        _put(filesystem, path, place)
        with filesystem.open(f"{place}.manifest.json", "wb") as sink:
            sink.write(json.dumps(manifest, indent=2).encode() + b"\n")
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
