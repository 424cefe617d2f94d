"""Arrow columns of text -> the rows of a JSON or XML file, by kernels."""

import json
import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.query import Column
from hubblewave_pipelines.core.values import TEXT_KINDS

# Kinds whose text form is JSON already.
_BARE = frozenset({FieldKind.INTEGER, FieldKind.NUMBER, FieldKind.BOOLEAN, FieldKind.JSON})
_CONTROLS = "[\x00-\x1f]"
# What XML 1.0 cannot hold, not even as a reference; written as Office writes it in XML.
_UNXML = "[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]"
_LOOKS_ESCAPED = re.compile("_x(?=[0-9A-Fa-f]{4}_)")


def _mended(texts: pa.Array, pattern: str, mend: Callable[[str], str]) -> pa.Array:
    """The texts, with `mend` applied to the few that match."""
    found = pc.fill_null(pc.match_substring_regex(texts, pattern), False)
    if not pc.any(found).as_py():
        return texts
    mended = [mend(text) for text in texts.filter(found).to_pylist()]
    return pc.replace_with_mask(texts, found, pa.array(mended, texts.type))


def _replaced(texts: pa.Array, signs: Sequence[tuple[str, str]]) -> tuple[pa.Array, bytes]:
    """The texts with each sign as it is written, and their bytes before; a look at the bytes costs
    a tenth of a kernel that finds nothing."""
    octets = bytes(_octets(texts))
    for sign, written in signs:
        if sign.encode() in octets:
            texts = pc.replace_substring(texts, sign, written)
    return texts, octets


def _has_controls(octets: bytes) -> bool:
    return bool((np.frombuffer(octets, np.uint8) < 0x20).any())


def _json_string(texts: pa.Array) -> pa.Array:
    """Texts as the inside of JSON strings."""
    texts, octets = _replaced(texts, (("\\", "\\\\"), ('"', '\\"')))
    if not _has_controls(octets):
        return texts
    return _mended(
        texts, _CONTROLS, lambda t: re.sub(_CONTROLS, lambda m: json.dumps(m[0])[1:-1], t)
    )


def xml_escaped(text: str) -> str:
    """A text with characters that XML cannot hold as `_xHHHH_`, and what looks like one so too."""
    text = _LOOKS_ESCAPED.sub("_x005F_x", text)
    return re.sub(_UNXML, lambda m: f"_x{ord(m[0]):04X}_", text)


def _xml_content(texts: pa.Array) -> pa.Array:
    signs = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;"))
    texts, octets = _replaced(texts, signs)
    if not (_has_controls(octets) or b"_x" in octets or b"\xef\xbf" in octets):
        return texts
    return _mended(texts, f"{_UNXML}|_x[0-9A-Fa-f]{{4}}_", xml_escaped)


def _octets(rows: pa.Array) -> memoryview:
    """All values of a string array, one after the other."""
    if not len(rows):
        return memoryview(b"")
    offsets = memoryview(rows.buffers()[1]).cast("i")
    begin, end = offsets[rows.offset], offsets[rows.offset + len(rows)]
    return memoryview(rows.buffers()[2])[begin:end]


def _joined(parts: list[pa.Array | pa.Scalar]) -> memoryview:
    return _octets(pc.binary_join_element_wise(*parts, pa.scalar("")))


def json_rows(table: pa.Table, columns: Sequence[Column], end: str) -> memoryview:
    """One object per row, each followed by `end`; decimals, dates and times are strings."""
    parts: list[pa.Array | pa.Scalar] = []
    for number, (column, found) in enumerate(zip(columns, table.columns, strict=True)):
        texts = found.combine_chunks()
        opening = f"{'{' if number == 0 else ','}{json.dumps(column.name)}:"
        parts.append(pa.scalar(opening))
        if column.kind in _BARE:
            parts.append(pc.fill_null(texts, "null"))
            continue
        inside = _json_string(texts) if column.kind in TEXT_KINDS else texts
        quoted = pc.binary_join_element_wise('"', inside, '"', "")
        parts.append(pc.fill_null(quoted, "null"))
    return _joined([*parts, pa.scalar("}" + end)])


def xml_rows(table: pa.Table, columns: Sequence[Column]) -> memoryview:
    """`<record>` per row with an element per value; null has `xsi:nil`, empty text nothing in it."""
    parts: list[pa.Array | pa.Scalar] = [pa.scalar("<record>")]
    for column, found in zip(columns, table.columns, strict=True):
        texts = found.combine_chunks()
        if column.kind in TEXT_KINDS or column.kind is FieldKind.JSON:
            texts = _xml_content(texts)
        element = pc.binary_join_element_wise(f"<{column.name}>", texts, f"</{column.name}>", "")
        parts.append(pc.fill_null(element, f'<{column.name} xsi:nil="true"/>'))
    return _joined([*parts, pa.scalar("</record>\n")])
