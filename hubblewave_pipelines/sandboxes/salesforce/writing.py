"""Writes to sObject rows, one by one and 200 at a time, with one outcome per record in request order."""

from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from starlette.requests import Request

from hubblewave_pipelines.sandboxes.faults import FaultKind
from hubblewave_pipelines.sandboxes.salesforce.model import SObject
from hubblewave_pipelines.sandboxes.salesforce.org import Org
from hubblewave_pipelines.sandboxes.salesforce.refusing import Refused, invalid_type, not_found
from hubblewave_pipelines.sandboxes.stage import Row
from hubblewave_pipelines.sandboxes.vendor import befallen

MOST_WRITTEN = 200
MOST_READ = 2_000


def condition(request: Request, row: Row) -> None:
    """If-Unmodified-Since and If-Modified-Since are weak: whole seconds. Raises Refused 412."""
    if befallen(request, FaultKind.PRECONDITION):
        raise _changed()
    header = request.headers.get("if-unmodified-since")
    if header is not None:
        try:
            since = parsedate_to_datetime(header)
        except ValueError:
            return
        if row["LastModifiedDate"] > since:
            raise _changed()


def upsert(
    org: Org, sobject: SObject, name: str, value: str, given: dict[str, Any], at: datetime
) -> tuple[str, bool]:
    """The record's id and whether it was made. Raises Refused 300 when several carry the value."""
    found = org.by_external(sobject, name, value)
    if len(found) > 1:
        raise Refused(300, "DUPLICATE_EXTERNAL_ID", f"{len(found)} records have {name} {value}")
    values = {key: cell for key, cell in given.items() if key.lower() != name.lower()}
    if found:
        org.edit(sobject, found[0]["Id"], values, at)
        return found[0]["Id"], False
    if name.lower() == "id":
        raise not_found()
    return org.create(sobject, {**values, name: value}, at), True


def collection(
    org: Org, request: Request, body: dict[str, Any], act: Callable[[SObject, dict[str, Any]], Any]
) -> list[dict[str, Any]]:
    """One outcome per record of `body`; each stands alone, allOrNone is refused.

    `act(sobject, record)` returns (id, created or None).
    """
    records = body.get("records")
    if not isinstance(records, list) or not records:
        raise Refused(400, "REQUIRED_FIELD_MISSING", "records is missing")
    if len(records) > MOST_WRITTEN:
        raise Refused(
            400,
            "EXCEEDED_ID_LIMIT",
            f"record limit reached. cannot submit more than {MOST_WRITTEN}",
        )
    if body.get("allOrNone"):
        raise Refused(400, "UNSUPPORTED_API_OPERATION", "The sandbox writes records one by one")
    outcomes: list[dict[str, Any]] = []
    unserviced = befallen(request, FaultKind.UNSERVICED)
    for number, record in enumerate(records):
        if unserviced and number == len(records) - 1:
            outcomes.append(_failed(Refused(400, "UNABLE_TO_LOCK_ROW", "unable to obtain access")))
            continue
        try:
            if not isinstance(record, dict) or not isinstance(record.get("attributes"), dict):
                raise Refused(400, "INVALID_TYPE", "attributes with the type are missing")
            sobject = sobject_of(org, str(record["attributes"].get("type", "")))
            key, created = act(sobject, record)
            outcome = {"id": key, "success": True, "errors": []}
            outcomes.append(outcome if created is None else {**outcome, "created": created})
        except Refused as error:
            outcomes.append(_failed(error))
    return outcomes


def sobject_of(org: Org, name: str) -> SObject:
    """By its name in any case. Raises Refused."""
    found = org.sobjects.get(name)
    if found is None:
        found = next((s for s in org.sobjects.values() if s.name.lower() == name.lower()), None)
    if found is None:
        raise invalid_type(name)
    return found


def _failed(error: Refused) -> dict[str, Any]:
    return {"success": False, "errors": [error.in_result()]}


def _changed() -> Refused:
    return Refused(412, "ENTITY_MODIFIED", "The record was modified since the given time")
