"""Names of the Dagster assets that stand for an entity: pure, shared by the API and the pipelines.

Built from slugs, which never change: an asset cannot be renamed without losing its history.
"""

import re
from uuid import UUID


def import_key(tenant_slug: str, entity_slug: str) -> list[str]:
    """The executable asset: one materialisation per import."""
    return ["import", tenant_slug, entity_slug]


def entity_key(tenant_slug: str, entity_slug: str) -> list[str]:
    """The entity's table, downstream of everything that writes it."""
    return ["entity", tenant_slug, entity_slug]


def rejected_key(tenant_slug: str, entity_slug: str) -> list[str]:
    """The rows that imports into the entity set aside."""
    return ["rejected", tenant_slug, entity_slug]


def revert_key(tenant_slug: str, entity_slug: str) -> list[str]:
    """The taking back of an import: no asset of its own, so never in the graph."""
    return ["revert", tenant_slug, entity_slug]


def export_key(tenant_slug: str, entity_slug: str, schedule_id: UUID | None = None) -> list[str]:
    """The files exported from an entity: those asked for one by one, or those of one schedule."""
    key = ["export", tenant_slug, entity_slug]
    return key if schedule_id is None else [*key, schedule_id.hex[-12:]]


def sync_key(tenant_slug: str, stream: str, job_id: UUID) -> list[str]:
    """One sync job: which stream it reads, and what tells it from the others of that stream."""
    return ["sync", tenant_slug, f"{_word(stream)}_{job_id.hex[-8:]}"]


def external_key(
    tenant_slug: str, connector_type: str, connector_id: UUID, stream: str
) -> list[str]:
    """A stream of another system: nothing here makes it."""
    return [
        "external",
        tenant_slug,
        f"{_word(connector_type)}_{connector_id.hex[-8:]}",
        _word(stream),
    ]


def _word(name: str) -> str:
    """A name of another system as a part of a key."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "stream"


def webhooks_key(tenant_slug: str) -> list[str]:
    """What a tenant's webhooks are sent; nothing makes it, checks watch it."""
    return ["webhooks", tenant_slug]


def connector_key(tenant_slug: str, connector_id: UUID) -> list[str]:
    """Asking an external system what it is and has: no asset, so never in the graph."""
    return ["connector", tenant_slug, connector_id.hex[-12:]]
