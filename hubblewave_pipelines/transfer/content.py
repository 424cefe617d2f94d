"""The content of an uploaded file: inflated on the way, under caps, and as UTF-8 where it is text."""

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.transfer.archives import FREE_BYTES, RATIO, check_gzip, the_member
from hubblewave_pipelines.transfer.text_encoding import AsUtf8, Readable

MAX_INFLATED = 20_000_000_000
_BLOCK = 1 << 20
_BROKEN = (EOFError, zlib.error, zipfile.BadZipFile, OSError)


class Content:
    """Bytes of a file's content, front to back; a context manager.

    Raises ImportFailed where the file cannot be read or inflated, or grows beyond its caps.
    """

    def __init__(
        self,
        path: Path,
        compression: str | None = None,
        encoding: str = "utf-8",
        *,
        bom: int = 0,
        max_inflated: int = MAX_INFLATED,
    ) -> None:
        self.path = path
        self.compression = compression
        self.position = 0  # bytes given so far
        self._encoding = encoding
        self._limit = max_inflated
        self._inflated = 0
        self._stack = ExitStack()
        with _readable(self.compression):
            self._file = self._stack.enter_context(path.open("rb"))
            self._raw: Readable = self._inflating()
        self._bom = len(self.read_raw(bom)) if bom else 0
        self._text = self._raw
        if encoding != "utf-8":
            self._text = AsUtf8(_Counted(self), encoding)

    def _inflating(self) -> Readable:
        if self.compression == "gzip":
            check_gzip(self.path)
            return self._stack.enter_context(gzip.GzipFile(fileobj=self._file))
        if self.compression == "zip":
            archive = self._stack.enter_context(zipfile.ZipFile(self._file))
            return self._stack.enter_context(archive.open(the_member(archive)))
        return self._file

    def read_raw(self, size: int = -1, /) -> bytes:
        """Inflated bytes, before any change of encoding."""
        with _readable(self.compression):
            data = self._raw.read(size)
        if self.compression is not None:
            self._inflated += len(data)
            read = max(self._file.tell(), 1)
            if self._inflated > self._limit:
                raise ImportFailed(f"The file inflates to more than {self._limit} bytes.")
            if self._inflated > FREE_BYTES and self._inflated > RATIO * read:
                raise ImportFailed(
                    f"The file inflates to more than {RATIO} times its size: refused as a bomb."
                )
        return data

    def read(self, size: int = -1, /) -> bytes:
        data = self.read_raw(size) if self._text is self._raw else self._text.read(size)
        self.position += len(data)
        return data

    def skip_to(self, position: int) -> None:
        """Go on to a later position of the content."""
        if self._text is self._file:
            self.position = self._file.seek(self._bom + position) - self._bom
        while self.position < position:
            if not self.read(min(_BLOCK, position - self.position)):
                raise ImportFailed("The file is shorter than it was when its import began.")

    @property
    def bytes_done(self) -> int:
        """Bytes of the uploaded file that have been read."""
        return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


class _Counted:
    """The inflated bytes of a content as a stream of its own."""

    def __init__(self, content: Content) -> None:
        self.read = content.read_raw


@contextmanager
def _readable(compression: str | None) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ImportFailed("The uploaded file is no longer there; upload it again.") from error
    except _BROKEN as error:
        if compression is None:
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise ImportFailed(f"The uploaded file cannot be read: {said}.") from error
        if isinstance(error, EOFError):
            raise ImportFailed(
                f"The {compression} file is cut short: it ends before its content does."
            ) from error
        raise ImportFailed(f"The {compression} file is damaged: {error}.") from error


@contextmanager
def plain_file(
    path: Path, compression: str | None, *, max_inflated: int = MAX_INFLATED
) -> Iterator[Path]:
    """The content as a file of its own, for formats that are read from their end or middle."""
    if compression is None:
        yield path
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".inflated") as copy:
        with Content(path, compression, max_inflated=max_inflated) as content:
            shutil.copyfileobj(_Reading(content), copy, _BLOCK)
        copy.flush()
        yield Path(copy.name)


class _Reading:
    def __init__(self, content: Content) -> None:
        self.read = content.read
