"""A multipart form with a file: streamed to the spool directory, hashed and limited on the way."""

import asyncio
import errno
import hashlib
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from hubblewave_pipelines.core.errors import (
    Fault,
    Invalid,
    MalformedRequest,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from hubblewave_pipelines.core.file_names import shown_name

_MAX_PARTS = 20
_MAX_FIELD_BYTES = 1_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is on disk under a name of ours, and the other fields of its form."""

    path: Path
    size: int
    sha256: bytes
    file_name: str  # as the client said, for people to read only
    fields: dict[str, str]

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass
class _Part:
    name: str = ""
    file_name: str | None = None
    content: bytearray = field(default_factory=bytearray)


class _Form:
    """The parser's callbacks: the part named `file` goes to disk, the others stay in memory."""

    def __init__(self, sink: BinaryIO, max_bytes: int, names: frozenset[str]) -> None:
        self.sink = sink
        self.max_bytes = max_bytes
        self.names = names
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None
        self.digest = hashlib.sha256()
        self.size = 0
        self.ended = False
        self._part = _Part()
        self._parts = 0
        self._header, self._value = bytearray(), bytearray()

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._start,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise MalformedRequest(f"The form has more than {_MAX_PARTS} parts.")
        self._part = _Part()

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._part.name = options.get(b"name", b"").decode(errors="replace")
            if b"filename" in options:
                self._part.file_name = options[b"filename"].decode(errors="replace")
        self._header.clear()
        self._value.clear()

    def _start(self) -> None:
        name = self._part.name
        if name == "file" and self.file_name is not None:
            raise MalformedRequest("The form has two parts named file; send one file at a time.")
        if name == "file":
            self.file_name = shown_name(self._part.file_name or "", default="upload.csv")
        elif name not in self.names:
            known = ", ".join(sorted(self.names))
            raise MalformedRequest(
                f'The form has a part named "{name[:60]}"; known are file, {known}.'
            )
        elif name in self.fields:
            raise MalformedRequest(f"The form has two parts named {name}.")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.name != "file":
            self._part.content += data[start:end]
            if len(self._part.content) > _MAX_FIELD_BYTES:
                raise TooLarge(f"{self._part.name} is larger than {_MAX_FIELD_BYTES} bytes.")
            return
        piece = memoryview(data)[start:end]
        self.size += len(piece)
        if self.size > self.max_bytes:
            raise TooLarge(f"The file is larger than {self.max_bytes} bytes.")
        self.digest.update(piece)
        self.sink.write(piece)

    def _end(self) -> None:
        if self._part.name == "file":
            return
        try:
            self.fields[self._part.name] = self._part.content.decode()
        except UnicodeDecodeError as error:
            raise MalformedRequest(f"{self._part.name} is not UTF-8.") from error

    def _finish(self) -> None:
        self.ended = True


def _boundary(request: Request) -> bytes:
    media, options = parse_options_header(request.headers.get("content-type"))
    if media != b"multipart/form-data":
        raise UnsupportedMedia("The Content-Type must be multipart/form-data.")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise MalformedRequest("The Content-Type names no boundary.")
    return boundary


async def receive_upload(
    request: Request, spool: Path, *, max_bytes: int, names: frozenset[str]
) -> Upload:
    """Read a form with one part `file` and text parts `names` into `spool` (made with mode 0700).

    Raises UnsupportedMedia, MalformedRequest, TooLarge, Invalid when there is no file, and
    Unavailable when the disk is full. Nothing stays on disk then.
    """
    boundary = _boundary(request)
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = spool / f"{uuid.uuid4().hex}.upload"
    partial = path.with_suffix(".partial")
    try:
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as sink:
            form = _Form(sink, max_bytes, names)
            await _parse(request, boundary, form)
            sink.flush()
            await asyncio.to_thread(os.fsync, sink.fileno())
        if form.file_name is None:
            raise Invalid(
                "The form has no file.",
                faults=[
                    Fault("required", "send the file as the part named file", parameter="file")
                ],
            )
        partial.rename(path)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise Unavailable(
            "There is no room for the file on the server's disk.", retry_after=60
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return Upload(path, form.size, form.digest.digest(), form.file_name, form.fields)


async def _parse(request: Request, boundary: bytes, form: _Form) -> None:
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for data in request.stream():
            if data:
                parser.write(data)
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequest(f"The form cannot be read: {error}.") from error
    if not form.ended:
        raise MalformedRequest("The form ends before its last boundary.")
