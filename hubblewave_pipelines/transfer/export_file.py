"""A file being written: hashed on the way, compressed if asked, published whole by one rename."""

import errno
import gzip
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hubblewave_pipelines.core.errors import ExportFailed
from hubblewave_pipelines.core.export_formats import Compression

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WRITE_BACK = 8 << 20  # bytes that the kernel is told to put on disk while more are made
_LEVEL = 4  # of deflate: half the time of the default for a twentieth more bytes


class HashedFile(io.RawIOBase):
    """Writes to a file and knows the digest and size of what it wrote. Only ever appends."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        self._file = os.fdopen(handle, "wb", buffering=0)
        self._digest = hashlib.sha256()
        self.size = 0
        self._sent = 0  # bytes on their way to the disk

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._digest.update(view)
        left = view
        while left:
            left = left[self._file.write(left) :]
        self.size += len(view)
        if self.size - self._sent >= _WRITE_BACK:
            self._send_to_disk()
        return len(view)

    def _send_to_disk(self) -> None:
        """Lest the sync at the end waits for all of it."""
        if hasattr(os, "posix_fadvise"):  # macOS has none
            at, length = self._sent, self.size - self._sent
            os.posix_fadvise(self._file.fileno(), at, length, os.POSIX_FADV_DONTNEED)
        self._sent = self.size

    @property
    def sha256(self) -> bytes:
        return self._digest.digest()

    def close(self) -> None:
        """To the disk itself, so that what is renamed is what was written."""
        if not self.closed:
            os.fsync(self._file.fileno())
            self._file.close()
        super().close()


@contextmanager
def _packed(file: HashedFile, compression: Compression, name: str) -> Iterator[Any]:
    """What the content is written to. `name` is that of the file inside an archive."""
    match compression:
        case Compression.NONE:
            yield file
        case Compression.GZIP:
            with gzip.GzipFile(name, "wb", _LEVEL, file, mtime=0) as packed:
                yield packed
        case Compression.ZIP:
            with (
                zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive,
                archive.open(name, "w", force_zip64=True) as member,
            ):
                yield member


class Writing:
    """A file on its way to `path`, which appears whole or not at all."""

    def __init__(self, path: Path, content: IO[bytes], file: HashedFile) -> None:
        self.path = path
        self.content = content
        self._file = file

    @property
    def size(self) -> int:
        return self._file.size

    @property
    def sha256(self) -> bytes:
        """Complete once the block is left."""
        return self._file.sha256


@contextmanager
def writing(path: Path, compression: Compression, inner_name: str) -> Iterator[Writing]:
    """A file that is published at `path` when the block is left without an error.

    Until then it is `<path>.tmp`, readable by nobody else; an error removes it. Raises ExportFailed
    when the disk is full.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        with HashedFile(unfinished) as file:
            with _packed(file, compression, inner_name) as content:
                found = Writing(path, content, file)
                yield found
        unfinished.rename(path)
        _sync_directory(path.parent)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ExportFailed(
            "There is no room for the file on the server's disk; nothing of it was kept."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
