"""Where the records of CSV text begin and end, whatever is wrong with some of them.

The rules, from the start of a record: a field that begins with a quote runs to its closing quote,
which a delimiter or line end must follow (a doubled quote stands for one); any other field runs to
the next delimiter or line end, and quotes in it are plain characters. LF, CR and CRLF end a record;
empty lines are no records. A record that breaks these rules, or is longer than the limit, is
refused *with its first line only*: reading goes on after that line, so one stray quote costs one
row and not the rest of the file.

Two readers follow these rules: a vectorised one that trusts the parity of quotes and checks that
trust, and a regular expression that takes over where the check fails.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hubblewave_pipelines.transfer.csv_header import RECORD_LIMIT, Dialect

Positions: TypeAlias = NDArray[np.int64]
Reason: TypeAlias = tuple[str, str]

UNCLOSED: Reason = ("quote", "a quoted cell is not closed")
STRAY: Reason = ("quote", "text follows the closing quote of a cell")
TOO_LONG: Reason = ("too_long", f"the line is longer than {RECORD_LIMIT} bytes")
_NEWLINE = re.compile(rb"[\r\n]")


@dataclass(frozen=True, slots=True)
class Scan:
    """Records of a piece of text: where each is, its columns, and why it is refused (by index).

    `consumed` is where the first record begins that does not end in the piece. `overflow` is set
    when that record is refused already, but its line goes on after the piece.
    """

    starts: Positions
    ends: Positions
    columns: Positions
    refused: dict[int, Reason]
    consumed: int
    overflow: Reason | None = None


@dataclass
class _Found:
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    refused: dict[int, Reason] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Grammar:
    record: re.Pattern[bytes]  # ends before a line end
    last: re.Pattern[bytes]  # ends there or at the end of the text
    begun: re.Pattern[bytes]  # may still become a record
    quoted: re.Pattern[bytes]
    lines: re.Pattern[bytes]


@lru_cache(maxsize=64)
def _grammar(dialect: Dialect) -> _Grammar:
    d, q = re.escape(dialect.delimiter.encode()), re.escape(dialect.quote.encode())
    inside = rb"(?>[^%b]*(?:%b%b[^%b]*)*)" % (q, q, q, q)
    plain = rb"[^%b%b\r\n][^%b\r\n]*+" % (q, d, d)

    def cells(stop: bytes) -> bytes:
        return rb"(?:%b%b%b(?=%b)|%b|)" % (q, inside, q, stop, plain)

    more, end = rb"[%b\r\n]" % d, rb"[%b\r\n]|\Z" % d
    record = cells(more) + rb"(?:%b%b)*+" % (d, cells(more)) + rb"(?=[\r\n])"
    last = cells(end) + rb"(?:%b%b)*+" % (d, cells(end)) + rb"(?=[\r\n]|\Z)"
    begun = rb"(?:%b%b)*+(?:%b|%b%b%b?|)\Z" % (cells(more), d, plain, q, inside, q)
    # What is between quotes, for counting the delimiters outside.
    quoted = rb"(?:(?<=[%b\r\n])|\A)%b%b%b" % (d, q, inside, q)
    return _Grammar(*(re.compile(text) for text in (record, last, begun, quoted, rb"[\r\n]+")))


def scan(data: bytes, dialect: Dialect, *, final: bool) -> Scan:
    """The records of `data`, which starts where a record may start; `final` when it ends the file."""
    starts, ends, columns, begun = _by_parity(data, dialect, final=final)
    if not _doubtful(data, dialect, begun, final=final):
        return Scan(starts, ends, columns, {}, begun)
    found = _Found()
    consumed, overflow = _by_rule(data, dialect, begun, final, found)
    known = len(starts)
    return Scan(
        np.concatenate([starts, np.array(found.starts, np.int64)]),
        np.concatenate([ends, np.array(found.ends, np.int64)]),
        np.concatenate([columns, np.array(found.columns, np.int64)]),
        {known + index: reason for index, reason in found.refused.items()},
        consumed,
        overflow,
    )


def _doubtful(data: bytes, dialect: Dialect, begun: int, *, final: bool) -> bool:
    """Whether the text from `begun` on needs the slow reader: not when it is a mere beginning."""
    if begun == len(data):
        return False
    if final or len(data) - begun > RECORD_LIMIT:
        return True
    return _grammar(dialect).begun.match(data, begun) is None


def _by_parity(
    data: bytes, dialect: Dialect, *, final: bool
) -> tuple[Positions, Positions, Positions, int]:
    """Records up to the first one in which counting quotes cannot be trusted.

    A line end is outside quotes when an even number of quotes precedes it. That is right as long
    as every odd quote begins a cell and every even one ends a cell or is doubled.
    """
    delimiter, quote = dialect.delimiter.encode(), dialect.quote.encode()
    text = np.frombuffer(data, np.uint8)
    line_ends = (text == 10) | (text == 13)
    delimiters = text == delimiter[0]
    trusted = len(data)
    if quote in data:
        is_quote = text == quote[0]
        inside = np.bitwise_xor.accumulate(is_quote.view(np.uint8)).view(bool)
        quotes = np.flatnonzero(is_quote)
        starts_cell = line_ends | delimiters | is_quote
        opening, closing = quotes[0::2], quotes[1::2]
        wrong_open = opening[(opening > 0) & ~starts_cell[opening - 1]]
        within = closing[closing < len(data) - 1]
        wrong_close = within[~starts_cell[within + 1]]
        firsts = [int(found[0]) for found in (wrong_open, wrong_close) if len(found)]
        if final and len(quotes) % 2:
            firsts.append(int(quotes[-1]))
        trusted = min(firsts, default=trusted)
        line_ends &= ~inside
        delimiters &= ~inside
    ends = np.flatnonzero(line_ends)
    starts = np.concatenate([np.zeros(1, np.int64), ends + 1])
    if final and trusted == len(data):
        ends = np.append(ends, len(data))
    starts = starts[: len(ends) + 1]
    begun = int(starts[len(ends)]) if len(starts) > len(ends) else len(data)
    usable = len(ends)
    for limits in ((ends > trusted), (ends - starts[: len(ends)] > RECORD_LIMIT)):
        first = np.flatnonzero(limits)
        if len(first):
            usable = min(usable, int(first[0]))
    if usable < len(ends):
        begun = int(starts[usable])
        ends = ends[:usable]
    starts = starts[: len(ends)]
    full = ends > starts
    starts, ends = starts[full], ends[full]
    places = np.flatnonzero(delimiters)
    columns = np.searchsorted(places, ends) - np.searchsorted(places, starts) + 1
    return starts, ends, columns.astype(np.int64), begun


def _by_rule(
    data: bytes, dialect: Dialect, position: int, final: bool, found: _Found
) -> tuple[int, Reason | None]:
    """Add the records from `position` on; returns where the next one begins, and its overflow."""
    grammar = _grammar(dialect)
    delimiter = dialect.delimiter.encode()
    while True:
        blank = grammar.lines.match(data, position)
        if blank is not None:
            position = blank.end()
        if position == len(data):
            return position, None
        limit = position + RECORD_LIMIT + 1
        whole = final and limit > len(data)
        match = (grammar.last if whole else grammar.record).match(data, position, limit)
        if match is not None and match.end() - position <= RECORD_LIMIT:
            end, reason = match.end(), None
        else:
            begun = grammar.begun.match(data, position, limit) is not None
            if begun and not final and len(data) < limit:
                return position, None
            line = _NEWLINE.search(data, position)
            if begun and line is not None and line.start() < limit - 1:
                reason = UNCLOSED
            elif begun:
                reason = UNCLOSED if len(data) < limit else TOO_LONG
            else:
                reason = STRAY
            if line is None and not final:
                return position, reason
            end = len(data) if line is None else line.start()
        index = len(found.starts)
        found.starts.append(position)
        found.ends.append(end)
        if reason is None:
            record = data[position:end]
            bare = grammar.quoted.sub(b"", record) if dialect.quote.encode() in record else record
            found.columns.append(bare.count(delimiter) + 1)
        else:
            found.columns.append(0)
            found.refused[index] = reason
        position = end
