"""One request to the Table or Aggregate API: what came, whether it is whole, and whether it is the instance at all."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

from hubblewave_pipelines.core.errors import (
    PartialAnswer,
    TransactionCancelled,
    VendorRefused,
    VendorUnavailable,
)
from hubblewave_pipelines.outbound.session import Answer, Session

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """`total` is how many match before any ACL, where that was asked and told."""

    rows: Sequence[Row]
    total: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Ask:
    """A page of a table, as one item of a batch."""

    table: str
    query: str
    fields: Sequence[str]
    limit: int = 10_000

    @property
    def path(self) -> str:
        return f"/api/now/v2/table/{quote(self.table, safe='')}"

    def params(self, *, counted: bool = False) -> dict[str, str]:
        return {
            "sysparm_query": self.query,
            "sysparm_fields": ",".join(self.fields),
            "sysparm_limit": str(self.limit),
            "sysparm_display_value": "false",
            "sysparm_exclude_reference_link": "true",
            "sysparm_suppress_pagination_header": "true",
            "sysparm_no_count": "false" if counted else "true",
        }


class TableApi:
    def __init__(self, session: Session) -> None:
        self.session = session

    def together(self, *asks: Ask) -> list[Sequence[Row] | VendorRefused]:
        """Several small pages for one request, each its rows or its refusal. Asked one by one where
        the instance does not let the account use the Batch API, or leaves items of a batch undone.
        """
        items = [
            {
                "id": str(place),
                "method": "GET",
                "url": f"{ask.path}?{urlencode(ask.params(), quote_via=quote)}",
                "headers": [{"name": "Accept", "value": "application/json"}],
                "exclude_response_headers": True,
            }
            for place, ask in enumerate(asks)
        ]
        done: dict[str, Sequence[Row] | VendorRefused] = {}
        try:
            answer = self.session.request(
                "POST",
                "/api/now/v1/batch",
                json={"batch_request_id": "1", "rest_requests": items},
                safe=True,
            )
        except VendorRefused as error:
            if not denied(error):
                raise
        else:
            _no_page_for_people(answer)
            for item in answer.json().get("serviced_requests", ()):
                done[item["id"]] = _item(item, asks[int(item["id"])])
        return [
            done[str(place)] if str(place) in done else self._tried(ask)
            for place, ask in enumerate(asks)
        ]

    def _tried(self, ask: Ask) -> Sequence[Row] | VendorRefused:
        try:
            return self.rows(ask.table, ask.query, ask.fields, ask.limit).rows
        except VendorRefused as error:
            return error

    def rows(
        self,
        table: str,
        query: str,
        fields: Sequence[str],
        limit: int,
        *,
        offset: int = 0,
        counted: bool = False,
    ) -> Rows:
        """Raises TransactionCancelled beside what the session raises; never gives part of an answer."""
        ask = Ask(table, query, fields, limit)
        params = ask.params(counted=counted)
        if offset:
            params["sysparm_offset"] = str(offset)
        answer = self.session.request("GET", ask.path, params=params)
        rows = _records(_result(answer), table)
        total = answer.headers.get("x-total-count", "") if counted else ""
        return Rows(rows, int(total) if total.isdigit() else None, server_time(answer))

    def count(self, table: str, query: str) -> int:
        """How many records match, before any ACL."""
        answer = self.session.request(
            "GET",
            f"/api/now/stats/{quote(table, safe='')}",
            params={"sysparm_query": query, "sysparm_count": "true"},
        )
        result = _result(answer)
        try:
            return int(result["stats"]["count"])
        except (KeyError, TypeError, ValueError) as error:
            raise PartialAnswer(f"The instance's count of {table} is no number.") from error


def server_time(answer: Answer) -> datetime:
    """The instance's clock; ours where a proxy took the Date header away."""
    try:
        return parsedate_to_datetime(answer.headers.get("date", "")).astimezone(UTC)
    except ValueError:
        return answer.at


def denied(error: VendorRefused) -> bool:
    """Whether the account may not read a table, or the table is not there."""
    return error.answered in (400, 403, 404)


def _item(item: Mapping[str, Any], ask: Ask) -> Sequence[Row] | VendorRefused:
    status, body = int(item["status_code"]), base64.b64decode(item.get("body") or "")
    if not 200 <= status < 300:
        return VendorRefused(
            f"GET {ask.path}: the instance answered {status}.", answered=status, body=body
        )
    return _records(
        _inside(Answer(status, {}, body, datetime.now(UTC), ask.path).json()), ask.table
    )


def _records(result: Any, table: str) -> Sequence[Row]:
    if not isinstance(result, list) or not all(isinstance(row, dict) for row in result):
        raise TransactionCancelled(f"The instance's answer about {table} is no list of records.")
    return result


def _no_page_for_people(answer: Answer) -> None:
    if "html" not in answer.headers.get("content-type", ""):
        return
    if b"hibernat" in answer.body[:65536].lower():
        raise VendorUnavailable(
            "The instance is hibernating: sign in at developer.servicenow.com and wake it up."
        )
    raise VendorUnavailable(
        "The instance answered with a page for people instead of data: it may be asleep, in"
        " maintenance, or behind a sign-in page; or baseUrl is not an instance's."
    )


def _result(answer: Answer) -> Any:
    _no_page_for_people(answer)
    return _inside(answer.json())


def _inside(body: Any) -> Any:
    """What stands under `result`. An `error` beside it makes the whole answer worthless."""
    if not isinstance(body, dict):
        raise PartialAnswer("The instance's answer is not an object.")
    if "error" in body:
        said = body["error"]
        message = said.get("message") if isinstance(said, dict) else said
        raise TransactionCancelled(
            f"The instance gave up in the middle of its answer: {str(message)[:200]}. Nothing of it"
            " was used."
        )
    if "result" not in body:
        raise PartialAnswer("The instance's answer has no result.")
    return body["result"]
