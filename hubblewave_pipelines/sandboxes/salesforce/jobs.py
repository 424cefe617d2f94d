"""Bulk API 2.0 query jobs: states over time, results that stay as they were, locators, result pages."""

import base64
import binascii
import gzip
import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hubblewave_pipelines.sandboxes.faults import FaultKind
from hubblewave_pipelines.sandboxes.salesforce import cells
from hubblewave_pipelines.sandboxes.salesforce.asking import Asked
from hubblewave_pipelines.sandboxes.salesforce.model import COMPOUND, id_of
from hubblewave_pipelines.sandboxes.salesforce.queries import Queries
from hubblewave_pipelines.sandboxes.salesforce.refusing import Refused, not_found
from hubblewave_pipelines.sandboxes.stage import Row
from hubblewave_pipelines.sandboxes.vendor import befallen

DELIMITERS = {
    "COMMA": ",", "TAB": "\t", "PIPE": "|", "SEMICOLON": ";", "CARET": "^", "BACKQUOTE": "`",
}  # fmt: skip
ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
KEPT = timedelta(days=7)
_LARGEST_PAGE = 250_000
_PARALLEL = 5
_PARALLEL_SINCE = 58.0
_ROWS_PER_SECOND = 400_000


@dataclass(slots=True)
class _Job:
    id: str
    version: str
    operation: str
    query: str
    asked: Asked
    rows: list[Row]
    delimiter: str
    ending: str
    created: datetime
    started: timedelta
    finished: timedelta
    aborted: bool = False

    def state(self, now: datetime) -> str:
        if self.aborted:
            return "Aborted"
        passed = now - self.created
        if passed < self.started:
            return "UploadComplete"
        return "InProgress" if passed < self.finished else "JobComplete"


class QueryJobs:
    """`pace` says how long jobs take: 1.0 is as quick as a small one on a quiet day."""

    def __init__(self, queries: Queries, pace: float = 1.0) -> None:
        self._queries = queries
        self.pace = pace
        self._jobs: dict[str, _Job] = {}
        self._numbers = itertools.count(1)

    @property
    def open(self) -> int:
        return len(self._jobs)

    def create(self, request: Request, given: dict[str, Any], now: datetime) -> Response:
        operation = given.get("operation")
        if operation not in ("query", "queryAll"):
            raise Refused(400, "INVALIDJOB", f"InvalidJob : unsupported operation {operation}")
        delimiter = str(given.get("columnDelimiter", "COMMA"))
        ending = str(given.get("lineEnding", "LF"))
        if delimiter not in DELIMITERS or ending not in ENDINGS:
            raise Refused(400, "INVALIDJOB", "InvalidJob : unknown delimiter or line ending")
        asked = self._queries.asked(request, str(given.get("query", "")))
        if asked.soql.count or asked.soql.offset:
            raise Refused(400, "API_ERROR", "COUNT() and OFFSET are not supported in Bulk API 2.0")
        unfit = [f.name for f in asked.fields if f.type in COMPOUND or f.type == "base64"]
        if unfit:
            raise Refused(
                400,
                "FUNCTIONALITY_NOT_ENABLED",
                f"Selecting compound data not supported in Bulk Query: {', '.join(unfit)}",
            )
        rows = self._queries.rows(asked, deleted_too=operation == "queryAll")
        job = _Job(
            id_of("750", next(self._numbers)),
            request.path_params["version"],
            operation,
            str(given["query"]),
            asked,
            rows,
            delimiter,
            ending,
            now,
            timedelta(seconds=0.05 * self.pace),
            timedelta(seconds=(0.15 + len(rows) / _ROWS_PER_SECOND) * self.pace),
        )
        self._jobs[job.id] = job
        return JSONResponse(self._shown(job, now))

    def read(self, request: Request, now: datetime) -> Response:
        return JSONResponse(self._shown(self._job(request, now), now))

    def list(self, now: datetime) -> Response:
        shown = [self._shown(job, now) for job in self._jobs.values()]
        return JSONResponse({"done": True, "records": shown, "nextRecordsUrl": None})

    def abort(self, request: Request, given: dict[str, Any], now: datetime) -> Response:
        job = self._job(request, now)
        if given.get("state") != "Aborted":
            raise Refused(400, "INVALIDJOBSTATE", "Only Aborted can be set")
        job.aborted = True
        return JSONResponse(self._shown(job, now))

    def delete(self, request: Request, now: datetime) -> Response:
        job = self._job(request, now)
        if job.state(now) not in ("JobComplete", "Aborted", "Failed"):
            raise Refused(400, "API_ERROR", "This job is not in a terminal state")
        del self._jobs[job.id]
        return Response(status_code=204)

    def results(self, request: Request, now: datetime) -> Response:
        job = self._complete(request, now)
        start = _place(request.query_params.get("locator"))
        if start > len(job.rows):
            raise Refused(400, "INVALID_QUERY_LOCATOR", "invalid locator")
        asked = request.query_params.get("maxRecords", str(_LARGEST_PAGE))
        if not asked.isdigit() or int(asked) < 1:
            raise Refused(400, "API_ERROR", "maxRecords must be a positive number")
        end = min(start + min(int(asked), _LARGEST_PAGE), len(job.rows))
        if befallen(request, FaultKind.SHORT_PAGE):
            end = start + (end - start + 1) // 2
        first, following = start, end
        if befallen(request, FaultKind.DUPLICATE_ROW):
            first = max(start - 1, 0)
        if befallen(request, FaultKind.REPEATED_TOKEN):
            following = start
        if befallen(request, FaultKind.EMPTY_PAGE_WITH_TOKEN):
            first, following = end, start
        rows = job.rows[first:end]
        text = cells.table(job.asked.fields, rows, DELIMITERS[job.delimiter], ENDINGS[job.ending])
        locator = "null" if following >= len(job.rows) else _locator(following)
        headers = {
            "Content-Encoding": "gzip",
            "Content-Type": "text/csv",
            "Sforce-Locator": locator,
            "Sforce-NumberOfRecords": str(len(rows)),
        }
        return Response(gzip.compress(text, compresslevel=1), headers=headers)

    def pages(self, request: Request, now: datetime) -> Response:
        """Up to five places to read from at once."""
        job = self._complete(request, now)
        if float(job.version.removeprefix("v")) < _PARALLEL_SINCE:
            raise not_found()
        step = -(-len(job.rows) // _PARALLEL) or 1
        path = f"/services/data/{job.version}/jobs/query/{job.id}/results"
        links = [
            {"resultLink": f"{path}?locator={_locator(at)}&maxRecords={step}"}
            for at in range(0, max(len(job.rows), 1), step)
        ]
        return JSONResponse({"resultPages": links, "nextRecordsUrl": None, "done": True})

    def _complete(self, request: Request, now: datetime) -> _Job:
        job = self._job(request, now)
        if job.state(now) != "JobComplete":
            raise Refused(400, "API_ERROR", f"The job is {job.state(now)}")
        return job

    def _job(self, request: Request, now: datetime) -> _Job:
        self._jobs = {key: job for key, job in self._jobs.items() if now < job.created + KEPT}
        job = self._jobs.get(request.path_params["job"])
        if job is None:
            raise not_found()
        if request.path_params["version"] != job.version:
            raise Refused(409, "API_ERROR", "The job was created with another API version")
        return job

    def _shown(self, job: _Job, now: datetime) -> dict[str, Any]:
        state = job.state(now)
        counts = {"numberRecordsProcessed": len(job.rows)} if state == "JobComplete" else {}
        return {
            "id": job.id,
            "operation": job.operation,
            "object": job.asked.sobject.name,
            "createdDate": f"{job.created:%Y-%m-%dT%H:%M:%S}.000+0000",
            "state": state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(job.version.removeprefix("v")),
            "lineEnding": job.ending,
            "columnDelimiter": job.delimiter,
            **counts,
        }


def _locator(place: int) -> str:
    return base64.urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def _place(locator: str | None) -> int:
    if locator is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(locator + "=" * (-len(locator) % 4)))
    except (ValueError, binascii.Error):
        raise Refused(400, "INVALID_QUERY_LOCATOR", "invalid locator") from None
