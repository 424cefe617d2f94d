"""Bodies of answers as they come off the wire: inflated in bounded blocks, and never silently cut short."""

import zlib
from collections.abc import Iterable, Iterator

from hubblewave_pipelines.core.errors import PartialAnswer, VendorRefused

BLOCK = 64 * 1024
_GZIP = 31  # zlib's window bits of a gzip member


def inflated(raw: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Blocks of at most 64 KiB. Raises PartialAnswer when a compressed body ends before its end, and
    VendorRefused for an encoding that was not asked for."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        yield from raw
        return
    if encoding not in ("gzip", "x-gzip"):
        raise VendorRefused(f"The system answered in the encoding {encoding[:20]!r}.")
    engine = zlib.decompressobj(_GZIP)
    started = False
    try:
        for block in raw:
            started = started or bool(block)
            while block:
                if engine.eof:  # gzip members may follow each other
                    engine = zlib.decompressobj(_GZIP)
                out = engine.decompress(block, BLOCK)
                block = engine.unconsumed_tail or engine.unused_data
                if out:
                    yield out
        while not engine.eof and (out := engine.decompress(b"", BLOCK)):
            yield out
    except zlib.error as error:
        raise PartialAnswer("The compressed answer is damaged.") from error
    if started and not engine.eof:
        raise PartialAnswer("The compressed answer ends before its end.")
