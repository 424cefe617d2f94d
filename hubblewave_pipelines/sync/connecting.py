"""A stored connector, ready to be asked: its credentials opened, its pace kept, its troubles noted on its row."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from hubblewave_pipelines.connectors import registry
from hubblewave_pipelines.connectors.protocol import Connector
from hubblewave_pipelines.core.errors import (
    ConnectionRefusedByPolicy,
    JobFailed,
    PlatformError,
    Recovery,
    Unauthorized,
    VendorError,
)
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import connectors
from hubblewave_pipelines.storage.connector_budget import DatabaseBudget
from hubblewave_pipelines.storage.connector_vault import DatabaseVault
from hubblewave_pipelines.storage.connectors import StoredConnector
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.secret_keys import Secrets

# What an admin has to mend before anything works again, as against what passes or concerns one stream.
_TROUBLES = (Unauthorized, ConnectionRefusedByPolicy)


@dataclass(frozen=True, slots=True)
class Connected:
    """`session` counts the requests that `connector` makes."""

    stored: StoredConnector
    connector: Connector
    session: HttpSession


@contextmanager
def connected(
    database: Database,
    settings: Settings,
    tenant_id: UUID,
    connector_id: UUID,
    *,
    still: Callable[[], None] = lambda: None,
) -> Iterator[Connected]:
    """For the length of a `with`. `still` is asked while waiting, and raises to end the work.

    Raises JobFailed when the connector is gone or inactive. What the body raises for reasons that an
    admin must mend is noted on the connector's row (and told as `connector.error`) on its way out.
    """
    with database.transaction(tenant_id) as tx:
        stored = tx.one(connectors.connector_by_id(tenant_id, connector_id))
    if stored is None:
        raise JobFailed("The connector is gone.")
    if stored.status == "inactive":
        raise JobFailed(f"The connector {stored.name} is inactive: activate it first.")
    try:
        with HttpSession(
            stored.base_url,
            DatabaseVault(database, Secrets(settings).envelope, tenant_id, connector_id),
            DatabaseBudget(database, tenant_id, connector_id, stored.kept_pace),
            settings.egress,
            manners=registry.manners(stored.type),
            still=still,
        ) as session:
            connector = registry.module(stored.type).connect(dict(stored.config), session)
            yield Connected(stored, connector, session)
    except _TROUBLES as error:
        note(database, stored, error)
        raise


def note(database: Database, stored: StoredConnector, error: PlatformError) -> None:
    """Write to the connector's row what keeps it from working."""
    with database.transaction(stored.tenant_id) as tx:
        tx.run(connectors.note_trouble(stored.tenant_id, stored.id, error.code, error.detail))


def passes(error: VendorError) -> bool:
    """Whether it may work later without anybody's doing."""
    return error.recovery is Recovery.RETRY
