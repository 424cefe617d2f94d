"""`/updated/` and `/deleted/`: what changed in a span of minutes, and up to when that is certain."""

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request

from hubblewave_pipelines.sandboxes.salesforce.model import SObject
from hubblewave_pipelines.sandboxes.salesforce.org import BIN_DAYS, Org
from hubblewave_pipelines.sandboxes.salesforce.refusing import Refused

_BACK = timedelta(days=30)
_MOST_IDS = 600_000


def updated(org: Org, sobject: SObject, request: Request) -> dict[str, Any]:
    start, end, now = _span(org, sobject, request)
    with org.stage.lock:
        ids = [
            row["Id"]
            for row in org.table(sobject.name).rows.values()
            if start <= row["SystemModstamp"] < end and not row.get("IsDeleted")
        ]
    if len(ids) > _MOST_IDS:
        raise Refused(400, "EXCEEDED_ID_LIMIT", "too many ids; ask for a shorter span")
    return {"ids": ids, "latestDateCovered": _shown(min(end, org.covered(now)))}


def deleted(org: Org, sobject: SObject, request: Request) -> dict[str, Any]:
    start, end, now = _span(org, sobject, request)
    begins = max(now - timedelta(days=BIN_DAYS), org.log_starts.get(sobject.name, now - _BACK))
    with org.stage.lock:
        gone = [
            {"id": key, "deletedDate": _shown(at)}
            for key, at in org.gone[sobject.name]
            if start <= at < end and at >= begins
        ]
    return {
        "deletedRecords": gone,
        "earliestDateAvailable": _shown(begins),
        "latestDateCovered": _shown(min(end, org.covered(now))),
    }


def _span(org: Org, sobject: SObject, request: Request) -> tuple[datetime, datetime, datetime]:
    """Both ends without their seconds, as Salesforce reads them. Raises Refused."""
    if not sobject.replicateable:
        raise Refused(400, "INVALID_TYPE_FOR_OPERATION", f"{sobject.name} is not replicateable")
    now = org.stage.clock.now()
    ends = []
    for name in ("start", "end"):
        text = request.query_params.get(name, "").replace(" ", "+")
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            instant = None
        if instant is None or instant.tzinfo is None:
            raise Refused(400, "INVALID_REPLICATION_DATE", f"{name} is not a date and time: {text}")
        ends.append(instant.astimezone(UTC).replace(second=0, microsecond=0))
    start, end = ends
    if end - start < timedelta(minutes=1):
        raise Refused(
            400, "INVALID_REPLICATION_DATE", "endDate must be at least one minute after startDate"
        )
    if start < now - _BACK:
        raise Refused(400, "INVALID_REPLICATION_DATE", "startDate cannot be more than 30 days ago")
    return start, end, now


def _shown(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S}.000+0000"
