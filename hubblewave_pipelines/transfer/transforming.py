"""The steps of a mapping on columns of text: by Arrow kernels, or once per distinct text."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.expression_values import Unusable, text_of
from hubblewave_pipelines.core.mapping import FieldMap
from hubblewave_pipelines.core.transforms import Step
from hubblewave_pipelines.core.values import Refused
from hubblewave_pipelines.transfer.coerce import CellFault
from hubblewave_pipelines.transfer.json_text import written

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_SPACES = "[ \u00a0\u202f]"
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+Z?)?")


@dataclass
class Made:
    """The cells after all steps; null where there is none, or where a step failed (`faults`)."""

    cells: pa.Array
    faults: list[CellFault] = field(default_factory=list)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.string())


def transformed(
    m: FieldMap, columns: Mapping[str, pa.Array], rows: int, kind: FieldKind, *, iso: bool = False
) -> Made:
    """The cells that fill the target of `m`, which is of `kind`. `iso`: dates of the file may have
    been typed, so a `date` step takes ISO 8601 too."""
    start = columns[m.source] if m.source else pa.nulls(rows, pa.string())
    work = _Work(columns, kind, iso, Made(start))
    for step in m.steps:
        work.apply(step)
    if isinstance(work.made.cells.type, pa.ListType):
        lists = work.made.cells.to_pylist()
        texts = [None if items is None else written(items) for items in lists]
        work.made.cells = pa.array(texts, pa.string())
    return work.made


@dataclass
class _Work:
    columns: Mapping[str, pa.Array]
    kind: FieldKind
    iso: bool
    made: Made

    def apply(self, step: Step) -> None:
        cells = self.made.cells
        match step.name:
            case "trim":
                cells = pc.utf8_trim_whitespace(cells)
            case "upper":
                cells = pc.utf8_upper(cells)
            case "lower":
                cells = pc.utf8_lower(cells)
            case "title":
                cells = self._each(lambda text: _WORD.sub(lambda w: w[0].capitalize(), text))
            case "number":
                cells = self._each(_number_reader(step))
            case "boolean":
                cells = self._each(lambda text: _boolean(step, text))
            case "date":
                cells = self._each(lambda text: self._date(step, text))
            case "split" if step.part is None:
                cells = pc.split_pattern(cells, step.separator)
            case "split":
                cells = self._each(lambda text: _part(step, text))
            case "join":
                cells = self._joined(step)
            case "default":
                cells = pc.fill_null(_none_if_empty(cells), step.text)
            case "concat":
                cells = self._concatenated(step)
            case "coalesce":
                others = [_none_if_empty(self.columns[name]) for name in step.columns]
                cells = pc.coalesce(_none_if_empty(cells), *others)
            case "regexReplace":
                cells = pc.replace_substring_regex(cells, step.text, step.replacement)
            case "map":
                cells = self._each(lambda text: _mapped(step, text))
            case "expression":
                cells = self._evaluated(step)
            case _:
                raise AssertionError(step.name)
        self.made.cells = cells

    def _each(self, read: Callable[[str], str | None]) -> pa.Array:
        """`read` on each distinct text; Refused becomes the fault of every cell with that text."""
        cells = self.made.cells.dictionary_encode()
        found: list[str | None] = []
        refused: dict[int, Refused] = {}
        for index, text in enumerate(cells.dictionary.to_pylist()):
            try:
                found.append(read(text))
            except Refused as error:
                refused[index] = error
                found.append(None)
        if refused:
            places = cells.indices.fill_null(-1).to_numpy()
            for at in np.flatnonzero(np.isin(places, list(refused))).tolist():
                why = refused[int(places[at])]
                self.made.faults.append(CellFault(at, why.code, why.detail))
        return pa.array(found, pa.string()).take(cells.indices)

    def _date(self, step: Step, text: str) -> str:
        text = text.strip()
        try:
            at = datetime.strptime(text, step.text)  # noqa: DTZ007 - the form may hold a zone
        except ValueError as error:
            if self.iso and _ISO.fullmatch(text):
                return text
            shown = text[:60]
            raise Refused(
                "format", f'expected a date written {step.text}, got "{shown}"'
            ) from error
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        return at.date().isoformat() if self.kind is FieldKind.DATE else at.isoformat()

    def _joined(self, step: Step) -> pa.Array:
        if not step.columns:
            return pc.binary_join(self.made.cells, step.separator)
        given = [_none_if_empty(self.columns[name]) for name in step.columns]
        joined = pc.binary_join_element_wise(*given, step.separator, null_handling="skip")
        return _none_if_empty(joined)

    def _concatenated(self, step: Step) -> pa.Array:
        known = {"value": self.made.cells}
        parts: list[pa.Array | pa.Scalar] = []
        for what, text in step.parts:
            if what == "text":
                parts.append(pa.scalar(text, pa.string()))
            else:
                parts.append(known[what] if what == "value" else self.columns[text])
        arrays = [part for part in parts if isinstance(part, pa.Array)]
        if not arrays:
            return pa.repeat("".join(text for _, text in step.parts), len(self.made.cells))
        joined = pc.binary_join_element_wise(
            *parts, "", null_handling="replace", null_replacement=""
        )
        something = arrays[0].is_valid()
        for array in arrays[1:]:
            something = pc.or_(something, array.is_valid())
        return pc.if_else(something, joined, pa.scalar(None, pa.string()))

    def _evaluated(self, step: Step) -> pa.Array:
        assert step.expression is not None
        evaluate = step.expression.evaluate
        given = [self.columns[name].to_pylist() for name in step.columns]
        rows = zip(*given, strict=True) if given else iter([()] * len(self.made.cells))
        found: list[str | None] = []
        for index, row in enumerate(rows):
            try:
                found.append(text_of(evaluate(row)))
            except Unusable as error:
                self.made.faults.append(CellFault(index, "expression", f"cannot be made: {error}"))
                found.append(None)
        return pa.array(found, pa.string())


def _none_if_empty(cells: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)


def _number_reader(step: Step) -> Callable[[str], str | None]:
    decimal = re.escape(step.decimal)
    thousands = _SPACES if step.thousands == " " else re.escape(step.thousands)
    grouped = rf"[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})+|" if step.thousands else ""
    form = re.compile(rf"([+-]?)((?:{grouped}[0-9]+))?(?:{decimal}([0-9]*))?")

    def read(text: str) -> str | None:
        text = text.strip()
        if not text:
            return None
        found = form.fullmatch(text)
        if found is None or not (found[2] or found[3]):
            raise Refused("type", f'expected a number with {step.decimal}, got "{text[:60]}"')
        whole_part = re.sub(thousands, "", found[2] or "0") if step.thousands else found[2] or "0"
        return f"{found[1]}{whole_part}" + (f".{found[3]}" if found[3] else "")

    return read


def _boolean(step: Step, text: str) -> str | None:
    word = text.strip().lower()
    if not word:
        return None
    if word in step.true or word in step.false:
        return "true" if word in step.true else "false"
    known = ", ".join(sorted([*step.true, *step.false])[:10])
    raise Refused("type", f'expected one of {known}, got "{text[:60]}"')


def _part(step: Step, text: str) -> str | None:
    parts = text.split(step.separator)
    assert step.part is not None
    place = step.part - 1 if step.part > 0 else len(parts) + step.part
    return parts[place] if 0 <= place < len(parts) else None


def _mapped(step: Step, text: str) -> str | None:
    if text in step.values:
        return step.values[text]
    if step.otherwise == "reject":
        raise Refused("enum", f'"{text[:60]}" is none of the mapped values')
    return text if step.otherwise == "keep" else None
