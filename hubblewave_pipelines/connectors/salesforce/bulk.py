"""Bulk API 2.0 query jobs: created, waited for, read by locators that last a week, and removed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog

from hubblewave_pipelines.connectors.salesforce.config import Config
from hubblewave_pipelines.connectors.salesforce.table import Columns, batches
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import (
    PartialAnswer,
    VendorError,
    VendorRefused,
    VendorUnavailable,
)
from hubblewave_pipelines.outbound.session import Session, Streamed

RESULT_ROWS = 50_000  # asked for in one answer
PAGE_ROWS = 10_000  # given on at once; merges are no quicker with more
# The job made, its state once, one answer with results, the job removed.
LEAST_REQUESTS = 4
_WAITS = (1.0, 2.0, 4.0, 8.0, 15.0)
_ROWS_PER_SECOND = 250_000
_ATTEMPTS = 5
_GONE = (404, 409)  # 409: made with another API version

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Where to read on: `skip` records of the answer that starts at `locator` are known already."""

    job: str
    locator: str | None = None
    skip: int = 0
    seen: int = 0  # records of the whole job that are known
    total: int = 0  # that it has by its own count

    def as_json(self) -> dict[str, Json]:
        return {
            "job": self.job,
            "locator": self.locator,
            "skip": self.skip,
            "seen": self.seen,
            "total": self.total,
        }


class JobGone(Exception):
    """The job is not there any more: it is older than a week, or somebody removed it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records and the place behind them; None behind the last."""

    columns: Columns
    rows: int
    behind: Place | None
    asked: bool  # whether a request was made for it


class Bulk:
    def __init__(self, config: Config, session: Session) -> None:
        self._session = session
        self._jobs = f"{config.data}/jobs/query"

    def start(self, soql: str, expected: int | None) -> Place:
        """A finished job. `expected` records let it be asked for its state when it is likely done."""
        body: dict[str, Json] = {"operation": "query", "query": soql}
        # A job made twice because its answer was lost costs nothing and is gone after a week.
        made = self._session.request("POST", self._jobs, json=body, safe=True).json()
        job = str(made["id"])
        waits = iter(_WAITS)
        self._session.wait(0.4 + (expected or 0) / _ROWS_PER_SECOND)
        while True:
            state = self._state(job)
            if state["state"] == "JobComplete":
                return Place(job, total=int(state["numberRecordsProcessed"]))
            if state["state"] in ("Failed", "Aborted"):
                said = self._session.redacted(str(state.get("errorMessage") or state["state"]))
                self.remove(job)
                raise VendorUnavailable(f"Salesforce did not finish the query: {said}.")
            self._session.wait(next(waits, _WAITS[-1]))

    def read(self, place: Place) -> Iterator[Batch]:
        """Raises JobGone, and PartialAnswer when records are missing at the end (the job is then
        removed, so that the next attempt makes another).
        """
        poor = 0
        while True:
            before = place
            try:
                for batch in self._answer(place):
                    yield batch
                    if batch.behind is None:
                        return
                    place = batch.behind
            except PartialAnswer as error:
                poor = 0 if place != before else poor + 1
                if poor >= _ATTEMPTS:
                    raise
                _log.info("bulk answer read again", detail=error.detail)
                self._session.wait(1.0)

    def remove(self, job: str) -> None:
        """At its end nothing hangs on it: Salesforce removes it after a week."""
        try:
            self._session.request("DELETE", f"{self._jobs}/{job}", accept=(400, *_GONE))
        except VendorError as error:
            _log.warning("bulk job left behind", job=job, detail=error.detail)

    def _answer(self, place: Place) -> Iterator[Batch]:
        """The records of one answer from `place` on."""
        params = {"maxRecords": str(RESULT_ROWS)}
        if place.locator is not None:
            params["locator"] = place.locator
        path = f"{self._jobs}/{place.job}/results"
        with self._results(path, params, place.job) as answer:
            following: str | None = answer.headers.get("sforce-locator", "")
            if following == "null":
                following = None
            elif not following or following == place.locator:
                raise PartialAnswer("Salesforce answered with the place that was asked for.")
            number = int(answer.headers.get("sforce-numberofrecords", "-1"))
            read, asked = 0, True
            held: Batch | None = None
            for columns in batches(answer.blocks(), PAGE_ROWS):
                rows = len(next(iter(columns.values())))
                known = min(max(place.skip - read, 0), rows)
                read += rows
                if known == rows:
                    continue
                if known:
                    columns = {name: cells[known:] for name, cells in columns.items()}
                if held is not None:
                    yield held
                seen = place.seen + read - place.skip
                behind = replace(place, skip=read, seen=seen)
                held, asked = Batch(columns, rows - known, behind, asked), False
            if read != number:
                raise PartialAnswer(f"Salesforce announced {number} records and sent {read}.")
            seen = place.seen + max(read - place.skip, 0)
            if following is None and seen < place.total:
                self.remove(place.job)
                raise PartialAnswer(
                    f"Salesforce's job has {place.total} records and its answers had {seen}."
                )
            last = None if following is None else Place(place.job, following, 0, seen, place.total)
            yield replace(held, behind=last) if held else Batch({}, 0, last, asked)

    @contextmanager
    def _results(self, path: str, params: dict[str, str], job: str) -> Iterator[Streamed]:
        headers = {"Accept": "text/csv"}
        try:
            with self._session.stream("GET", path, params=params, headers=headers) as answer:
                yield answer
        except VendorRefused as error:
            if error.answered in _GONE:
                raise JobGone(job) from error
            raise

    def _state(self, job: str) -> dict[str, Any]:
        answer = self._session.request("GET", f"{self._jobs}/{job}", accept=_GONE)
        if answer.status in _GONE:
            raise JobGone(job)
        found: dict[str, Any] = answer.json()
        return found
