"""A page of a stream made ready for its merge: validated columns, versions and digests per record."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hubblewave_pipelines.core.entity import Catalog, Entity, FieldKind, Json
from hubblewave_pipelines.core.errors import FilterIgnored, PartialAnswer
from hubblewave_pipelines.core.import_options import ImportOptions
from hubblewave_pipelines.core.mapping import FieldMap, as_json
from hubblewave_pipelines.core.stream import Page, Stream, Window
from hubblewave_pipelines.storage.merging import RowFault
from hubblewave_pipelines.transfer.chunks import Preparation, ReadChunk
from hubblewave_pipelines.transfer.records import Step

_UTC_US = pa.timestamp("us", "UTC")
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class PreparedPage:
    """Row n of the page has number n + 1; `read` holds those that passed, `faults` the reasons of
    the others. `hashes` are of what the mapping reads, so that nothing else counts as a change."""

    page: Page
    keys: list[str]
    versions: list[datetime | None]
    hashes: list[bytes]
    read: ReadChunk

    @property
    def rows(self) -> int:
        return self.page.rows

    @property
    def faults(self) -> list[RowFault]:
        return self.read.faults

    def raw(self, index: int) -> dict[str, str | None]:
        """The record as it was sent, in a form that PostgreSQL can hold."""
        return {name: _storable(cells[index]) for name, cells in self.page.columns.items()}


class PagePreparation:
    """Pages of one stream to PreparedPages, by one mapping. Pure."""

    def __init__(
        self, stream: Stream, entity: Entity, catalog: Catalog, maps: Sequence[FieldMap]
    ) -> None:
        self.stream = stream
        self.digest = mapping_digest(maps)
        self._columns = sorted({column for m in maps for column in m.columns})
        self._preparation = Preparation(entity, catalog, maps, ImportOptions())

    def prepare(self, page: Page, window: Window | None = None) -> PreparedPage:
        """Raises PartialAnswer for records without key, FilterIgnored for records outside `window`."""
        columns, stream = page.columns, self.stream
        keys = list(columns.get(stream.key, ()))
        if len(keys) != page.rows or None in keys:
            raise PartialAnswer(f"Records of {stream.name} came without {stream.key}.")
        absent = [name for name in self._columns if name not in columns]
        if absent:
            raise PartialAnswer(f"Records of {stream.name} came without {', '.join(absent)}.")
        stamps = self._stamps(page)
        if window is not None:
            self._check(keys, stamps, window)
        cells = [columns[name] for name in self._columns]
        table = pa.table([pa.array(column, pa.string()) for column in cells], names=self._columns)
        chunk = Step(
            after=0,
            last=page.rows,
            rows=page.rows,
            bytes_done=0,
            table=table,
            numbers=np.arange(1, page.rows + 1, dtype=np.int64),
            malformed=[],
        ).chunk()
        return PreparedPage(
            page,
            [key for key in keys if key is not None],
            self._versions(stamps),
            self._hashes(cells, page.rows),
            self._preparation.read(chunk),
        )

    def _stamps(self, page: Page) -> pa.Array:
        name = self.stream.cursor
        if name is None:
            return pa.nulls(page.rows, _UTC_US)
        cells = page.columns.get(name)
        if cells is None or len(cells) != page.rows:
            raise PartialAnswer(f"Records of {self.stream.name} came without {name}.")
        field = self.stream.field(name)
        texts = pa.array(cells, pa.string())
        try:
            if field is not None and field.kind is FieldKind.DATE:  # its midnight stands for a day
                texts = texts.cast(pa.date32()).cast(pa.timestamp("us")).cast(_UTC_US)
            return texts.cast(_UTC_US)
        except pa.ArrowInvalid as error:
            raise PartialAnswer(
                f"{name} of {self.stream.name} holds what is no instant: {error}"
            ) from error

    def _versions(self, stamps: pa.Array) -> list[datetime | None]:
        """NumPy makes them ten times as fast as Arrow, and integers of what a datetime cannot hold."""
        found: list[datetime | None] = []
        for at in stamps.to_numpy(zero_copy_only=False).tolist():
            if isinstance(at, int):
                raise PartialAnswer(
                    f"{self.stream.cursor} of {self.stream.name} holds an instant out of range."
                )
            found.append(None if at is None else at.replace(tzinfo=UTC))
        return found

    def _check(self, keys: Sequence[str | None], stamps: pa.Array, window: Window) -> None:
        """What a system sends must be what was asked for: one that ignores a filter, or reads its
        instants in another time zone, would pass unnoticed else."""
        slack = max(self.stream.cursor_granularity, timedelta(0))
        outside = []
        if window.low is not None:
            outside.append(pc.less(stamps, pa.scalar(window.low - slack, _UTC_US)))
        if window.high is not None:
            outside.append(pc.greater_equal(stamps, pa.scalar(window.high + slack, _UTC_US)))
        first = min(
            (found for each in outside if (found := pc.index(each, True).as_py()) >= 0),
            default=None,
        )
        if first is None:
            return
        [at] = self._versions(stamps.slice(first, 1))
        assert at is not None
        raise FilterIgnored(
            f"{self.stream.name} {keys[first]} came with {self.stream.cursor} {at.isoformat()}, and"
            f" {_shown(window)} was asked for: the system ignored the filter or reads it in"
            " another time zone. Nothing of this answer was used."
        )

    def _hashes(self, cells: Sequence[Sequence[str | None]], rows: int) -> list[bytes]:
        salt = self.digest.encode()
        found = []
        for row in zip(*cells, strict=True) if cells else iter([()] * rows):
            one = hashlib.blake2b(salt, digest_size=_DIGEST_BYTES)
            one.update(repr(row).encode(errors="surrogatepass"))
            found.append(one.digest())
        return found


def _storable(cell: str | None) -> str | None:
    if cell is None:
        return None
    return cell.replace("\0", "\ufffd").encode(errors="replace").decode()


def _shown(window: Window) -> str:
    low = window.low.isoformat() if window.low else "since ever"
    high = window.high.isoformat() if window.high else "now"
    return f"[{low}, {high})"


def mapping_digest(maps: Sequence[FieldMap]) -> str:
    """Names what a mapping makes of a record: another mapping, another digest."""
    return digest_of(as_json(maps))


def digest_of(value: Json) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
