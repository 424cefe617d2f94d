"""SAP: OData V2 and V4 services, and tables and BAPIs by RFC where a `pyrfc` is installed."""

from typing import Any

from hubblewave_pipelines.connectors.sap.config import CONFIG, Config
from hubblewave_pipelines.connectors.sap.connector import SapConnector
from hubblewave_pipelines.core.credentials import CredentialKind, credentials_schema
from hubblewave_pipelines.core.stream import ConnectorType
from hubblewave_pipelines.outbound.manners import Manners
from hubblewave_pipelines.outbound.session import Session

MANNERS = Manners(
    token_path="/sap/bc/sec/oauth2/token",  # noqa: S106 - where, not what
    rebase_links=True,  # `__next` names the host that the system believes to have
)

TYPE = ConnectorType(
    name="sap",
    title="SAP",
    config=CONFIG,
    credentials=credentials_schema(
        CredentialKind.BASIC, CredentialKind.BEARER, CredentialKind.CLIENT_CREDENTIALS
    ),
    capabilities={
        "deletes": ["delta", "snapshot"],
        "compareAndSet": "etag",
        "markPrecision": "second, or day where a service tells no more",
        "orderedByKey": True,
        "engines": ["odata-v2", "odata-v4", "rfc"],
        "maxBatch": 100,
    },
)


def connect(config: dict[str, Any], session: Session) -> SapConnector:
    """Raises Invalid for a configuration that fits the schema and cannot be used."""
    return SapConnector(Config.read(config), session)
