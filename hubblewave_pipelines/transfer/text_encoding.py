"""Which encoding a text is in, how that is known, and its bytes as UTF-8."""

import codecs
from dataclasses import dataclass
from typing import Protocol

from hubblewave_pipelines.core.import_options import ENCODINGS

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_BYTES = {"utf-16": 2, "utf-16-le": 2, "utf-16-be": 2}
_INVALID = "hubblewave-invalid"


@dataclass(frozen=True, slots=True)
class Encoding:
    """`source` tells how it is known: `bom`, `option`, or `content` when it is a guess."""

    name: str
    source: str
    bom: int = 0  # bytes before the text


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def detect(head: bytes, given: str | None, *, whole: bool) -> Encoding:
    """The encoding of a text that begins with `head`; `given` is the client's word.

    A byte order mark is stronger than the client's word: it cannot be there by chance. Without
    both a text is UTF-8 if it decodes, or if most of what is not ASCII does (then single rows are
    damaged); else Windows-1252, the way most programs that are not told otherwise write.
    """
    for mark, name in _BOMS:
        if head.startswith(mark):
            return Encoding(name, "bom", len(mark))
    if given is not None:
        return Encoding("utf-16-le" if given == "utf-16" else given, "option")
    odd, even = head[1::2].count(0), head[0::2].count(0)
    if len(head) >= 4 and max(odd, even) > 0.4 * len(head) / 2 and min(odd, even) == 0:
        return Encoding("utf-16-le" if odd else "utf-16-be", "content")
    good, bad = _sequences(head, whole=whole)
    return Encoding("utf-8" if good >= bad else "windows-1252", "content")


def _sequences(head: bytes, *, whole: bool) -> tuple[int, int]:
    """Well-formed UTF-8 sequences beyond ASCII, and bytes that belong to none."""
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(head, final=whole)
    if text.isascii():
        return 0, 0
    bad = sum("\udc80" <= char <= "\udcff" for char in text)
    return sum(char > "\x7f" for char in text) - bad, bad


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


codecs.register_error(_INVALID, _mark)


class AsUtf8:
    """A stream of another encoding as UTF-8.

    What cannot be decoded becomes the byte 0xFF, which is no UTF-8 either: its row is refused
    instead of being changed silently.
    """

    def __init__(self, raw: Readable, encoding: str) -> None:
        self._raw = raw
        self._decoder = codecs.getincrementaldecoder(ENCODINGS[encoding])(_INVALID)

    def read(self, size: int = -1, /) -> bytes:
        while True:
            data = self._raw.read(size)
            text = self._decoder.decode(data, final=not data)
            if text or not data:
                return text.encode("utf-8", "surrogateescape")
