"""Idempotency-Key: a write sent again under the same key has no second effect and the same answer."""

import hashlib
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from api.context import Context
from hubblewave_pipelines.core.errors import (
    Fault,
    IdempotencyMismatch,
    MalformedRequest,
    RequestInFlight,
)
from hubblewave_pipelines.storage.idempotency import Kept, answer_to, hold_key, keep_answer

LONGEST = 255
REPLAYED = "Idempotency-Replayed"  # the header of an answer that was given before
_HEADERS = ("content-type", "location", "etag", "preference-applied")  # those that are kept


def idempotency_key(headers: Headers) -> str | None:
    """The key a request carries. Raises MalformedRequest when it is empty, too long or repeated."""
    given = headers.getlist("idempotency-key")
    if not given:
        return None
    key = given[0].strip()
    if len(given) > 1:
        detail = "Idempotency-Key may be given once"
    elif not key:
        detail = "Idempotency-Key is empty; send any text that names this request alone"
    elif len(key) > LONGEST:
        detail = f"Idempotency-Key has {len(key)} characters; at most {LONGEST}"
    else:
        return key
    fault = Fault("format", detail, parameter="Idempotency-Key")
    raise MalformedRequest(f"{detail}.", faults=[fault])


async def fingerprint(request: Request) -> bytes:
    """What a request asks for, as a digest of its method, path, parameters and body."""
    digest = hashlib.sha256()
    body = await request.body()
    for part in (request.method.encode(), request.url.path.encode(), request.url.query.encode()):
        digest.update(len(part).to_bytes(4) + part)
    digest.update(body)
    return digest.digest()


async def once(
    context: Context, key: str, asked: bytes, work: Callable[[], Awaitable[Response]]
) -> Response:
    """Run `work` in the open transaction unless its `idempotency_key` has been answered already.

    `asked` is the `fingerprint` of the request (of a stream: any 32 bytes that differ when it
    does). Only an answer is kept, never a refusal: a refused request has done nothing and may be
    sent again under its key. Raises IdempotencyMismatch and RequestInFlight.
    """
    tenant_id = context.principal.tenant_id
    if not await context.tx.one(hold_key(tenant_id, key)):
        raise RequestInFlight(
            "A request with this Idempotency-Key is being worked on; ask again for its answer.",
            retry_after=1,
        )
    kept = await context.tx.one(answer_to(tenant_id, key))
    if kept is not None:
        return _again(kept, asked)
    response = await work()
    headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    answer = Kept(asked, response.status_code, headers, bytes(response.body).decode())
    await context.tx.run(keep_answer(tenant_id, key, answer))
    return response


def _again(kept: Kept, asked: bytes) -> Response:
    if kept.fingerprint != asked:
        raise IdempotencyMismatch(
            "This Idempotency-Key was used for another request in the last 24 hours; "
            "use a new key for each request."
        )
    headers = {**kept.headers, REPLAYED: "true"}
    return Response(kept.body, kept.status, headers)
