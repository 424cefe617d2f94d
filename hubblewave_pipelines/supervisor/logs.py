"""The output of all children: one stream with a name before each line, and one file per child."""

import os
import re
import selectors
import threading
import time
from pathlib import Path
from typing import TextIO

_COLOURS = (36, 32, 33, 35, 34, 96, 92)
_FILE_BYTES = 10_000_000
_FILES = 3
_LONGEST_LINE = 65_536  # a longer one is cut into several, so that memory stays bounded
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Output:
    """Reads what children write, from pipes that outlive any one of their processes.

    Lines go to `stream` and to `<directory>/<name>.log` (rotated at 10 MB, three old ones kept).
    """

    def __init__(self, directory: Path, stream: TextIO, *, colour: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._stream: TextIO | None = stream
        self._colour = colour
        self._selector = selectors.DefaultSelector()
        self._files: dict[str, _LogFile] = {}
        self._rest: dict[str, bytes] = {}
        self._write_ends: dict[str, int] = {}
        self._writing = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._read_all, name="output", daemon=True)
        self._thread.start()

    def pipe(self, name: str) -> int:
        """The descriptor a child called `name` writes to; the same one for all its restarts."""
        if name not in self._write_ends:
            read_end, write_end = os.pipe()
            self._write_ends[name] = write_end
            self._rest[name] = b""
            self._selector.register(read_end, selectors.EVENT_READ, name)
            os.write(self._wake_write, b".")
        return self._write_ends[name]

    def say(self, text: str) -> None:
        """A line of the supervisor's own."""
        for line in text.splitlines():
            self._line("up", line)

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines `name` wrote, for an error message."""
        path = self._directory / f"{name}.log"
        if not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """Take what is still in the pipes and stop reading."""
        for write_end in self._write_ends.values():
            os.close(write_end)
        os.close(self._wake_write)
        self._thread.join(timeout=2)  # a stranger that inherited a pipe may hold it open
        for file in self._files.values():
            file.close()

    def _read_all(self) -> None:
        while self._selector.get_map():
            for key, _ in self._selector.select():
                chunk = os.read(key.fd, 65_536)
                if key.data is None:
                    if not chunk:
                        self._selector.unregister(key.fd)
                    continue
                if chunk:
                    self._take(key.data, chunk)
                    continue
                self._selector.unregister(key.fd)
                os.close(key.fd)
                if rest := self._rest[key.data]:
                    self._line(key.data, rest.decode(errors="replace"))

    def _take(self, name: str, chunk: bytes) -> None:
        *lines, rest = (self._rest[name] + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._rest[name] = rest
        for line in lines:
            self._line(name, line.decode(errors="replace").rstrip("\r"))

    def _line(self, name: str, text: str) -> None:
        plain = _ESCAPES.sub("", text)  # Dagster colours its log whether or not a terminal reads it
        with self._writing:
            try:
                self._to_file(name, plain)
            except OSError as error:  # a full disk must not stop children that write their output
                self._to_stream("up", f"{name}.log cannot be written: {error}")
            self._to_stream(name, text if self._colour else plain)

    def _to_file(self, name: str, text: str) -> None:
        if name not in self._files:
            self._files[name] = _LogFile(self._directory / f"{name}.log")
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._files[name].write(f"{stamp} {text}")

    def _to_stream(self, name: str, text: str) -> None:
        if self._stream is None:
            return
        label = f"{name:<9}|"
        if self._colour:
            label = f"\x1b[{_COLOURS[sum(name.encode()) % len(_COLOURS)]}m{label}\x1b[0m"
        try:
            self._stream.write(f"{label} {text}\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None  # whoever read us has gone; the files go on


class _LogFile:
    """A file that moves aside to `.1`, `.2`, ... before it grows over the limit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, text: str) -> None:
        line = f"{text}\n".encode()
        if self._size + len(line) > _FILE_BYTES:
            self._rotate()
        self._file.write(line)
        self._size += len(line)

    def close(self) -> None:
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(_FILES, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = (
                self._path.with_name(f"{self._path.name}.{number - 1}")
                if number > 1
                else self._path
            )
            if newer.exists():
                newer.replace(older)
        self._file = self._path.open("ab", buffering=0)
        self._size = 0
