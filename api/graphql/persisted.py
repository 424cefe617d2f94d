"""Persisted documents: a client sends `documentId: sha256:...` where it would send the document.

A request that carries both keeps the document, when its key may write; the next ones may send the
id alone. A document never changes under its id, so what this process has seen it need not ask for.
"""

import hashlib
import re

from starlette.requests import Request

from api.attempts import Attempt, perform
from api.context import Context, identify, platform
from api.graphql.bounds import CHARACTERS
from hubblewave_pipelines.core.errors import (
    Conflict,
    DocumentUnknown,
    Fault,
    MalformedRequest,
    QueryTooLarge,
)
from hubblewave_pipelines.storage.documents import MOST, keep_document, kept_document

_ID = re.compile(r"sha256:([0-9a-f]{64})")


async def document_text(request: Request, document_id: str, sent: str | None) -> str:
    """The document that a request means by its id; `sent` is the text it came with, if any.

    Raises MalformedRequest, DocumentUnknown, QueryTooLarge, Conflict, and as `perform` does.
    """
    match = _ID.fullmatch(document_id)
    if match is None:
        raise _wrong("must be sha256: and the 64 hexadecimal digits of the document's digest")
    digest = bytes.fromhex(match[1])
    if sent is not None:
        return await _keep(request, digest, sent)
    held = platform(request)
    guessed = held.recall.guess(await identify(request))
    if guessed is not None:
        # Whoever has the key is confirmed when the document is run; a key never changes tenants.
        known = held.graphql.persisted.get((guessed[0].tenant_id, digest))
        if known is not None:
            return known

    async def look(context: Context, attempt: Attempt) -> str:
        found = await context.tx.one(kept_document(context.principal.tenant_id, digest))
        if found is None:
            raise DocumentUnknown(f"No document is kept as {document_id}.")
        held.graphql.persisted.keep((context.principal.tenant_id, digest), found, len(found))
        return found

    return await perform(request, "read", look)


async def _keep(request: Request, digest: bytes, sent: str) -> str:
    if len(sent) > CHARACTERS:
        raise QueryTooLarge(f"The document has more than {CHARACTERS:,} characters.")
    if hashlib.sha256(sent.encode()).digest() != digest:
        raise _wrong("is not the digest of the document sent along")

    async def keep(context: Context, attempt: Attempt) -> str:
        tenant_id, actor = context.principal.tenant_id, context.principal.actor_id
        written = await context.tx.run(keep_document(tenant_id, digest, sent, actor))
        if not written and await context.tx.one(kept_document(tenant_id, digest)) is None:
            raise Conflict(f"{MOST:,} documents are kept already; no more are taken.")
        return sent

    return await perform(request, "write", keep)


def _wrong(detail: str) -> MalformedRequest:
    fault = Fault("format", detail, "#/documentId")
    return MalformedRequest(f"documentId {detail}.", faults=[fault])
