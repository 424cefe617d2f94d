"""GraphQL documents kept for a tenant's clients, by the SHA-256 of their text."""

from typing import Any
from uuid import UUID

from hubblewave_pipelines.storage.database import Statement, statement

MOST = 10_000  # documents of a tenant; an application has hundreds


def kept_document(tenant_id: UUID, digest: bytes) -> Statement[str]:
    """The document's text, or no row."""
    text = (
        "select document from hubblewave.persisted_documents where tenant_id = %s and digest = %s"
    )
    return statement(text, (tenant_id, digest), lambda row: row[0])


def keep_document(tenant_id: UUID, digest: bytes, document: str, actor_id: UUID) -> Statement[Any]:
    """Keep a document unless it is kept; writes no row when the tenant already has `MOST` others."""
    text = (
        "insert into hubblewave.persisted_documents (tenant_id, digest, document, created_by) "
        "select %(tenant)s, %(digest)s, %(document)s, %(actor)s where (select count(*) from "
        "hubblewave.persisted_documents where tenant_id = %(tenant)s) < %(most)s "
        "on conflict (tenant_id, digest) do nothing"
    )
    params = {
        "tenant": tenant_id,
        "digest": digest,
        "document": document,
        "actor": actor_id,
        "most": MOST,
    }
    return statement(text, params)
