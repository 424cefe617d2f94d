"""Blocks of CSV whose quoted cells no spreadsheet evaluates: an apostrophe before what begins a formula."""

import numpy as np
from numpy.typing import NDArray

_QUOTE, _LINE_END = ord('"'), ord("\n")
# = + - @ tab and line ends; 0xEF begins the full-width forms of the signs, among much else.
_BEGINS = bytes(byte in b"=+-@\t\n\r\xef" for byte in range(256))
_FULL_WIDTH = frozenset(sign.encode() for sign in "\uff1d\uff0b\uff0d\uff20")


def guarded(block: bytes, delimiter: str) -> bytes:
    """Whole rows of CSV with an apostrophe before the text of every quoted cell that a spreadsheet
    would evaluate; cells without quotes stay as they are.

    Rows end in LF and quotes inside cells are doubled, as COPY writes them.
    """
    octets = np.frombuffer(block, np.uint8)
    found = np.flatnonzero(
        (octets[:-1] == _QUOTE) & np.frombuffer(block.translate(_BEGINS), np.bool_)[1:]
    )
    before = octets[found - 1]
    found = found[(found == 0) | (before == ord(delimiter)) | (before == _LINE_END)]
    if len(found):
        found = found[_opening(octets, found)]
    firsts = [at for at in (found + 1).tolist() if _evaluated(block, at)]
    if not firsts:
        return block
    return np.insert(octets, firsts, ord("'")).tobytes()


def _opening(octets: NDArray[np.uint8], found: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which of these quotes open a cell: those with an even number of quotes before them."""
    quotes = np.flatnonzero(octets == _QUOTE)
    even: NDArray[np.bool_] = np.searchsorted(quotes, found) % 2 == 0
    return even


def _evaluated(block: bytes, at: int) -> bool:
    return block[at] != 0xEF or block[at : at + 3] in _FULL_WIDTH
