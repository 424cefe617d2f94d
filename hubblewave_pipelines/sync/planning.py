"""What a run of a sync reads: the window, the fields, and what changed in the form of its stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.mapping import FieldMap
from hubblewave_pipelines.core.stream import Mark, ReadPlan, Slice, Stream, StreamField, Window
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.sync.pages import digest_of, mapping_digest


@dataclass(frozen=True, slots=True)
class Change:
    """One field of a stream that is not as it was; `before` or `after` None: it was not, is not."""

    field: str
    change: str  # added, removed, changed
    before: Json
    after: Json
    mapped: bool


def live_window(job: SyncJob, stream: Stream, mark: Mark) -> Window | None:
    """From a little before the job's mark to the safe mark; None when nothing can be new.

    The overlap reads again and never moves the mark. The first window begins at the job's start
    date, by default with all there is.
    """
    if stream.cursor is None:
        return Window()
    if job.mark is None:
        if job.start_date is not None and job.start_date >= mark.at:
            return None
        return Window(job.start_date, mark.at)
    if mark.at <= job.mark:
        return None
    low = job.mark - mark.overlap
    if job.start_date is not None:
        low = max(low, job.start_date)
    return Window(low, mark.at)


def asked_window(start: datetime, end: datetime, stream: Stream, mark: Mark) -> Window | None:
    """A window that somebody asked for, up to the safe mark; None when all of it is beyond."""
    if stream.cursor is None:
        return Window()
    high = min(end, mark.at)
    return Window(start, high) if start < high else None


def fields_to_read(stream: Stream, maps: Sequence[FieldMap]) -> tuple[str, ...]:
    """What the mapping reads, in a steady order, key and cursor first."""
    first = [stream.key, *([stream.cursor] if stream.cursor else [])]
    return tuple(dict.fromkeys([*first, *sorted({c for m in maps for c in m.columns})]))


def plan_digest(job: SyncJob, stream: Stream, maps: Sequence[FieldMap]) -> str:
    """Progress made under another digest says nothing about this reading."""
    return digest_of(
        [mapping_digest(maps), job.source_entity, job.filter, stream.key, stream.cursor]
    )


def stored_slices(plan: ReadPlan) -> Json:
    return [
        {
            "low": None if part.window.low is None else part.window.low.isoformat(),
            "high": None if part.window.high is None else part.window.high.isoformat(),
            "min": part.min_requests,
            "params": dict(part.params),
        }
        for part in plan.slices
    ]


def read_slices(stored: Json) -> tuple[Slice, ...]:
    """The inverse of `stored_slices`."""
    if not isinstance(stored, list):
        raise TypeError("slices are a list")
    found = []
    for part in stored:
        low, high = (
            None if part[name] is None else datetime.fromisoformat(part[name])
            for name in ("low", "high")
        )
        found.append(Slice(Window(low, high), part["min"], part["params"]))
    return tuple(found)


def form_of(stream: Stream) -> dict[str, Json]:
    """The form of a stream as it is remembered: what a mapping may depend on, by field."""
    return {field.name: _form(field) for field in stream.fields}


def _form(field: StreamField) -> Json:
    return {
        "kind": field.kind.value,
        "nullable": field.nullable,
        "maxLength": field.max_length,
        "scale": field.scale,
        "choices": list(field.choices),
        "refersTo": list(field.refers_to),
    }


def changes_of(before: Json, stream: Stream, maps: Sequence[FieldMap]) -> list[Change]:
    """What is another since the form was remembered; nothing when it never was."""
    if not isinstance(before, dict):
        return []
    after, read = form_of(stream), {column for m in maps for column in m.columns}
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        what = "added" if old is None else "removed" if new is None else "changed"
        found.append(Change(name, what, old, new, name in read))
    return found
