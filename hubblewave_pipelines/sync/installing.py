"""A database brought to this version: its schema, and the rows that say what this version can do."""

from hubblewave_pipelines.connectors import registry
from hubblewave_pipelines.storage.connector_types import put_types
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.migrate import migrate


def install(url: str) -> str:
    """Migrate and write the types of connectors; returns the revision reached. Raises Misconfigured."""
    revision = migrate(url)
    owner = Database(url, Role.OWNER, size=1)
    try:
        with owner.transaction() as tx:
            for query in put_types(registry.types()):
                tx.run(query)
    finally:
        owner.close()
    return revision
