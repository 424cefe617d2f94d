"""A refusal as GraphQL writes it: the same code, detail and faults as over REST, in `extensions`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from hubblewave_pipelines.core.errors import (
    CursorMismatch,
    PlatformError,
    QueryInvalid,
    QuerySyntax,
    QueryTooLarge,
)

# What is wrong with the document itself. A client that asks for application/json is told so with
# status 200, as clients older than application/graphql-response+json expect.
OF_DOCUMENTS = (QueryInvalid, QuerySyntax, QueryTooLarge, CursorMismatch)


def errors_of(
    error: PlatformError, request_id: str, path: Sequence[str | int] | None = None
) -> list[dict[str, Any]]:
    """The entries of `errors`."""
    extensions: dict[str, Any] = {"code": error.code, "status": error.status}
    if error.faults:
        extensions["errors"] = [fault.as_json() for fault in error.faults]
    if error.retry_after is not None:
        extensions["retryAfter"] = error.retry_after
    extensions["requestId"] = request_id
    located = error.context.get("located")
    if isinstance(located, list):
        return [
            {**found, "extensions": {**extensions, **found.get("extensions", {})}}
            for found in located
        ]
    found: dict[str, Any] = {"message": error.detail, "extensions": extensions}
    if path is not None:
        found["path"] = list(path)
    return [found]


def refused(error: PlatformError, request_id: str) -> bytes:
    """The body of a request that was refused before anything was run: it has no data."""
    return msgspec.json.encode({"errors": errors_of(error, request_id)})


def undone(error: PlatformError, request_id: str, path: Sequence[str | int]) -> bytes:
    """The body of a mutation that failed at `path`; nothing of the document was written."""
    return msgspec.json.encode({"errors": errors_of(error, request_id, path), "data": None})
