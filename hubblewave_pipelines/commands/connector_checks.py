"""What `hubblewave check` asks of connectors: each active one of every tenant, by its own check."""

from collections.abc import Iterator

from hubblewave_pipelines.core.errors import PlatformError
from hubblewave_pipelines.core.stream import CheckReport, Level
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import connectors, tenants
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.sync.connecting import connected

_MOST = 1000  # connectors of one tenant


def checked(settings: Settings, url: str) -> Iterator[tuple[str, Level, str]]:
    """`tenant/connector`, how bad it is, and in which words. Raises Misconfigured, Unavailable."""
    database = Database(url, Role.WORKER, size=2)
    try:
        with database.transaction() as tx:
            found: list[Tenant] = tx.all(tenants.all_tenants())
        for tenant in found:
            with database.transaction(tenant.id) as tx:
                stored = tx.all(connectors.connectors_of(tenant.id, limit=_MOST))
            for connector in stored:
                if connector.status == "inactive":
                    continue
                name = f"{tenant.slug}/{connector.name}"
                try:
                    with connected(database, settings, tenant.id, connector.id) as held:
                        report = held.connector.check()
                except PlatformError as error:
                    yield name, Level.ERROR, error.detail
                else:
                    yield name, report.level, _words(report)
    finally:
        database.close()


def _words(report: CheckReport) -> str:
    worst = [finding for finding in report.findings if finding.level is report.level]
    return " ".join(finding.detail for finding in worst)
