"""Bulk API 2.0 ingest jobs: CSV in, and three CSVs of what became of its rows."""

import csv
import io
import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hubblewave_pipelines.sandboxes.salesforce.jobs import DELIMITERS, ENDINGS
from hubblewave_pipelines.sandboxes.salesforce.model import SObject, id_of
from hubblewave_pipelines.sandboxes.salesforce.org import Org
from hubblewave_pipelines.sandboxes.salesforce.refusing import Refused, not_found
from hubblewave_pipelines.sandboxes.salesforce.writing import sobject_of, upsert

_OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
_LARGEST = 150_000_000
_NULL = "#N/A"


@dataclass(slots=True)
class _Ingest:
    id: str
    version: str
    operation: str
    sobject: SObject
    external: str | None
    delimiter: str
    ending: str
    created: datetime
    state: str = "Open"
    text: str = ""
    header: list[str] = field(default_factory=list)
    done: list[tuple[str, str, list[str]]] = field(default_factory=list)
    failed: list[tuple[str, str, list[str]]] = field(default_factory=list)
    ready: datetime | None = None


class IngestJobs:
    def __init__(self, org: Org, pace: float = 1.0) -> None:
        self._org = org
        self.pace = pace
        self._jobs: dict[str, _Ingest] = {}
        self._numbers = itertools.count(1)

    def create(self, request: Request, given: dict[str, Any], now: datetime) -> Response:
        operation, delimiter, ending = (
            str(given.get("operation")),
            str(given.get("columnDelimiter", "COMMA")),
            str(given.get("lineEnding", "LF")),
        )
        if operation not in _OPERATIONS or delimiter not in DELIMITERS or ending not in ENDINGS:
            raise Refused(400, "INVALIDJOB", "InvalidJob : operation, delimiter or line ending")
        sobject = sobject_of(self._org, str(given.get("object")))
        external = given.get("externalIdFieldName")
        if operation == "upsert" and (
            not isinstance(external, str) or sobject.field_named(external) is None
        ):
            raise Refused(400, "INVALIDJOB", "InvalidJob : externalIdFieldName is missing or wrong")
        version = request.path_params["version"]
        key = id_of("751", next(self._numbers))
        job = _Ingest(key, version, operation, sobject, external, delimiter, ending, now)
        self._jobs[key] = job
        return JSONResponse(self._shown(job, now))

    async def upload(self, request: Request) -> Response:
        job = self._job(request)
        if job.state != "Open" or job.text:
            raise Refused(400, "INVALIDJOBSTATE", f"The job is {job.state}")
        body = await request.body()
        if len(body) > _LARGEST:
            raise Refused(400, "API_ERROR", "The data are larger than 150 MB")
        try:
            job.text = body.decode()
        except UnicodeDecodeError:
            raise Refused(400, "API_ERROR", "The data are not UTF-8") from None
        return Response(status_code=201)

    def change(self, request: Request, given: dict[str, Any], now: datetime) -> Response:
        job, state = self._job(request), given.get("state")
        if state == "UploadComplete" and job.state == "Open":
            self._work(job, now)
        elif state == "Aborted" and job.state != "JobComplete":
            job.state = "Aborted"
        else:
            raise Refused(400, "INVALIDJOBSTATE", f"The job is {job.state}")
        return JSONResponse(self._shown(job, now))

    def read(self, request: Request, now: datetime) -> Response:
        return JSONResponse(self._shown(self._job(request), now))

    def delete(self, request: Request) -> Response:
        job = self._job(request)
        if job.state == "Open":
            raise Refused(400, "API_ERROR", "Abort or close the job first")
        del self._jobs[job.id]
        return Response(status_code=204)

    def results(self, request: Request) -> Response:
        job, which = self._job(request), request.path_params["which"]
        out = io.StringIO()
        writer = csv.writer(
            out,
            delimiter=DELIMITERS[job.delimiter],
            lineterminator=ENDINGS[job.ending],
            quoting=csv.QUOTE_ALL,
        )
        rows = {"successfulResults": job.done, "failedResults": job.failed}.get(which)
        if which == "unprocessedRecords":
            writer.writerow(job.header)
        elif rows is None:
            raise not_found()
        else:
            second = "sf__Created" if which == "successfulResults" else "sf__Error"
            writer.writerow(["sf__Id", second, *job.header])
            writer.writerows([key, said, *row] for key, said, row in rows)
        return Response(out.getvalue().encode(), headers={"Content-Type": "text/csv"})

    def _work(self, job: _Ingest, now: datetime) -> None:
        rows = list(
            csv.reader(io.StringIO(job.text, newline=""), delimiter=DELIMITERS[job.delimiter])
        )
        job.text = " "
        if not rows:
            job.state = "Failed"
            return
        job.header = rows[0]
        for row in rows[1:]:
            try:
                if len(row) != len(job.header):
                    raise Refused(400, "InvalidBatch", "Field name count does not match")
                key, created = self._one(job, dict(zip(job.header, row, strict=True)), now)
                job.done.append((key, str(created).lower(), row))
            except Refused as error:
                where = "" if not error.fields else " ".join(error.fields)
                job.failed.append(("", f"{error.code}:{error.message}:{where} --", row))
        job.state = "InProgress"
        job.ready = now + timedelta(seconds=0.1 * self.pace)

    def _one(self, job: _Ingest, record: dict[str, str], now: datetime) -> tuple[str, bool]:
        """Empty leaves a field as it is; #N/A clears it."""
        given = {
            name: None if cell == _NULL else cell for name, cell in record.items() if cell != ""
        }
        key = str(given.pop("Id", ""))
        org, sobject = self._org, job.sobject
        match job.operation:
            case "insert":
                return org.create(sobject, given, now), True
            case "upsert":
                name = str(job.external)
                value = key if name.lower() == "id" else str(given.get(name, ""))
                if not value:
                    raise Refused(400, "MISSING_ARGUMENT", f"{name} not specified")
                return upsert(org, sobject, name, value, given, now)
            case "update":
                org.edit(sobject, key, given, now)
            case "delete":
                org.delete(sobject, key, now)
            case _:
                org.purge(sobject, org.row(sobject, key)["Id"], now)
        return key, False

    def _job(self, request: Request) -> _Ingest:
        job = self._jobs.get(request.path_params["job"])
        if job is None:
            raise not_found()
        if request.path_params["version"] != job.version:
            raise Refused(409, "API_ERROR", "The job was created with another API version")
        return job

    def _shown(self, job: _Ingest, now: datetime) -> dict[str, Any]:
        if job.state == "InProgress" and job.ready is not None and job.ready <= now:
            job.state = "JobComplete"
        return {
            "id": job.id,
            "operation": job.operation,
            "object": job.sobject.name,
            "createdDate": f"{job.created:%Y-%m-%dT%H:%M:%S}.000+0000",
            "state": job.state,
            "externalIdFieldName": job.external,
            "contentType": "CSV",
            "apiVersion": float(job.version.removeprefix("v")),
            "contentUrl": f"services/data/{job.version}/jobs/ingest/{job.id}/batches",
            "lineEnding": job.ending,
            "columnDelimiter": job.delimiter,
            "numberRecordsProcessed": len(job.done) + len(job.failed),
            "numberRecordsFailed": len(job.failed),
        }
