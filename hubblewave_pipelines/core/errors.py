"""The error tree: one stable code, HTTP status and recovery per refusal the platform can give."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Recovery(StrEnum):
    """What the caller of a failed operation should do next."""

    FAIL = "fail"  # a person must change something
    RETRY = "retry"  # the same call may work later
    SKIP = "skip"  # set this one item aside and go on


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input, and where: exactly one of `pointer` and `parameter` is set.

    `pointer` is a JSON pointer into the body written as a URI fragment (RFC 6901 section 6, for
    example `#/fields/0/name`); `parameter` names a query or form parameter.
    """

    code: str
    detail: str
    pointer: str | None = None
    parameter: str | None = None

    def as_json(self) -> dict[str, str]:
        where = (
            {"pointer": self.pointer} if self.parameter is None else {"parameter": self.parameter}
        )
        located = {key: value for key, value in where.items() if value is not None}
        return {**located, "code": self.code, "detail": self.detail}


class PlatformError(Exception):
    """Base of every expected refusal. `context` holds ids and names only, never secrets or bodies."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    recovery: ClassVar[Recovery] = Recovery.FAIL

    def __init__(
        self,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        retry_after: float | None = None,
        **context: object,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)
        self.retry_after = retry_after
        self.context = context


class MalformedRequest(PlatformError):
    """The request cannot be read: bad JSON, unknown parameter, bad parameter value."""

    code, status, title = "request.malformed", 400, "Malformed request"


class CursorMismatch(MalformedRequest):
    """The cursor was tampered with or belongs to another list, sort, filter or tenant."""

    code, title = "request.cursor_mismatch", "Cursor does not fit this list"


class QuerySyntax(MalformedRequest):
    """The GraphQL document cannot be parsed."""

    code, title = "graphql.syntax", "GraphQL syntax error"


class QueryInvalid(MalformedRequest):
    """The GraphQL document, its variables or its arguments do not fit the tenant's schema."""

    code, title = "graphql.invalid", "GraphQL document does not fit the schema"


class QueryTooLarge(MalformedRequest):
    """The GraphQL document is deeper, longer or costlier than allowed; the detail names the limit."""

    code, title = "graphql.limit", "GraphQL document over a limit"


class SubscriptionLagging(PlatformError):
    """The client of a GraphQL subscription reads more slowly than events come; it may resume."""

    code, status, title = "subscription.lagging", 429, "Client reads too slowly"
    recovery = Recovery.RETRY


class Unauthenticated(PlatformError):
    """No credential, or one that is malformed, unknown, expired or revoked."""

    code, status, title = "auth.unauthenticated", 401, "Authentication required"


class Forbidden(PlatformError):
    """The credential is good but lacks the scope."""

    code, status, title = "auth.forbidden", 403, "Not permitted"


class NotFound(PlatformError):
    """No such path, entity, record or job, or none that this principal may know of."""

    code, status, title = "resource.not_found", 404, "Not found"


class DocumentUnknown(NotFound):
    """No GraphQL document is kept under this documentId; send it along with its text once."""

    code, title = "graphql.document_unknown", "Unknown GraphQL document"


class MethodNotAllowed(PlatformError):
    """The path exists, the method does not; `context['allow']` lists those that do."""

    code, status, title = "request.method_not_allowed", 405, "Method not allowed"


class NotAcceptable(PlatformError):
    """No representation matches the Accept header."""

    code, status, title = "request.not_acceptable", 406, "Not acceptable"


class Conflict(PlatformError):
    """The request is well formed and contradicts the present state."""

    code, status, title = "resource.conflict", 409, "Conflict"


class UniqueConflict(Conflict):
    """Another record already holds this value of a unique field."""

    code, title = "record.not_unique", "Value already taken"


class ReferenceConflict(Conflict):
    """Other records still refer to this one, or the record referred to is gone."""

    code, title = "record.referenced", "Record is referenced"


class VersionConflict(PlatformError):
    """If-Match named a version that is no longer the current one."""

    code, status, title = "record.version_conflict", 412, "Record has changed"


class PreconditionRequired(PlatformError):
    """This write needs If-Match."""

    code, status, title = "record.precondition_required", 428, "Precondition required"


class RangeNotSatisfiable(PlatformError):
    """No part of the range asked for lies inside the file."""

    code, status, title = "request.range_not_satisfiable", 416, "Range not satisfiable"


class Gone(PlatformError):
    """It was there and its time is over: an export's file, or a link to it."""

    code, status, title = "resource.gone", 410, "Gone"


class Expired(Gone):
    """An earlier state, or changes since a token, that are no longer kept."""

    code, title = "request.expired", "No longer kept"


class TooLarge(PlatformError):
    """The body, a line or a list is over its limit; the detail names the limit."""

    code, status, title = "request.too_large", 413, "Too large"


class UnsupportedMedia(PlatformError):
    """The body's Content-Type or Content-Encoding is not one this path reads."""

    code, status, title = "request.unsupported_media", 415, "Unsupported media type"


class Invalid(PlatformError):
    """The body is readable and breaks the rules; every broken rule is in `faults`."""

    code, status, title = "request.invalid", 422, "Validation failed"


class IdempotencyMismatch(Invalid):
    """The Idempotency-Key has been used for another request within its 24 hours."""

    code, title = "request.idempotency_mismatch", "Idempotency-Key already used"


class BlockedTarget(Invalid):
    """The platform may not send requests to this URL: its form, port or address is out of bounds."""

    code, title = "egress.blocked", "Target not allowed"


class TransformFailed(Invalid):
    """A webhook's transform did not turn its payload into a JSON object; `reason` says how it failed."""

    code, title = "webhook.transform_failed", "Transform failed"


class TransformsUnavailable(PlatformError):
    """This machine cannot lock down the process that runs transforms, so none are run on it."""

    code, status, title = "webhook.transforms_unavailable", 503, "Transforms are not available"
    recovery = Recovery.RETRY


class RequestInFlight(Conflict):
    """A request with the same Idempotency-Key has not ended yet."""

    code, title = "request.in_flight", "Still being worked on"
    recovery = Recovery.RETRY


class RateLimited(PlatformError):
    """The tenant's plan is used up for now; `retry_after` says for how many seconds."""

    code, status, title = "request.rate_limited", 429, "Too many requests"
    recovery = Recovery.RETRY


class Unavailable(PlatformError):
    """PostgreSQL (or a lock in it) cannot be had right now. Nothing was written."""

    code, status, title = "platform.unavailable", 503, "Temporarily unavailable"
    recovery = Recovery.RETRY


class LostLease(PlatformError):
    """Another run holds this work request now; this one must stop and write nothing more."""

    code, status, title = "work.lost_lease", 409, "Superseded by another run"


class JobFailed(PlatformError):
    """A job cannot be done, however often it is tried; it is settled as failed."""

    code, status, title = "job.failed", 422, "Job failed"


class ImportFailed(JobFailed):
    """The file as a whole cannot be imported (unreadable, header missing, aborted on error)."""

    code, title = "import.failed", "Import failed"


class ExportFailed(JobFailed):
    """The file cannot be written (no room, a value the format cannot hold, a field that is gone)."""

    code, title = "export.failed", "Export failed"


class SyncFailed(JobFailed):
    """A sync cannot go on as it is configured: its mapping, entity or stream is not what it was."""

    code, title = "sync.failed", "Sync failed"


class VendorError(PlatformError):
    """An external system did not do what it was asked; the detail says what an admin can do about it."""

    code, status, title = "vendor.failed", 502, "External system failed"


class ConnectionRefusedByPolicy(VendorError):
    """The egress policy keeps the platform from an address of the connector; no byte was sent to it."""

    code, status, title = "vendor.refused_by_policy", 422, "Connection not allowed"


class ForeignLink(VendorError):
    """The external system pointed (by a next link or a redirect) to another origin than the connector's."""

    code, title = "vendor.foreign_link", "Link to another system"


class Unauthorized(VendorError):
    """The external system does not take the credentials, also after one refresh: somebody must renew them."""

    code, title = "vendor.unauthorized", "Credentials not accepted"


class QuotaSpent(VendorError):
    """The external system's quota is used up, or what is left of it is reserved for others; see Retry-After."""

    code, status, title = "vendor.quota_spent", 503, "Quota of the external system is spent"
    recovery = Recovery.RETRY


class VendorUnavailable(VendorError):
    """The external system did not answer, or answered that it cannot now, each time it was asked."""

    code, status, title = "vendor.unavailable", 503, "External system is unavailable"
    recovery = Recovery.RETRY


class PartialAnswer(VendorError):
    """The answer is not all there (cut off, or called incomplete by the system itself); nothing of it was used."""

    code, title = "vendor.partial_answer", "Incomplete answer"
    recovery = Recovery.RETRY


class TransactionCancelled(PartialAnswer):
    """The external system stopped working on an answer on the way: fewer records must be asked for at once."""

    code, title = "vendor.transaction_cancelled", "Cancelled by the external system"


class FilterIgnored(VendorError):
    """The external system sent records that the request did not ask for: it ignored or misread the filter."""

    code, title = "vendor.filter_ignored", "Filter ignored by the external system"


class InDoubt(VendorError):
    """A write was sent and its answer lost, so that it may or may not have had its effect: look it up by its key."""

    code, title = "vendor.in_doubt", "Write in doubt"


class VendorRefused(VendorError):
    """The external system answered with a status that the caller did not provide for.

    `answered` is that status and `body` the beginning of the answer (at most 64 KiB, for the connector
    that knows its form). Neither the detail nor the context quotes the body.
    """

    code, title = "vendor.refused", "Refused by the external system"

    def __init__(self, detail: str, *, answered: int = 0, body: bytes = b"") -> None:
        super().__init__(detail, answered=answered)
        self.answered = answered
        self.body = body


class UnknownStream(VendorError):
    """The external system has no stream of this name, or the credentials may not see it."""

    code, status, title = "vendor.unknown_stream", 404, "Unknown stream"


class Misconfigured(PlatformError):
    """A setting is missing or wrong; the detail names it and says what to do."""

    code, status, title = "platform.misconfigured", 500, "Misconfigured"
