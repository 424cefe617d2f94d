"""Salesforce: sObjects by REST and Bulk API 2.0 in the order of Id, with its own word for what is certain."""

from typing import Any

from hubblewave_pipelines.connectors.salesforce.config import CONFIG, Config
from hubblewave_pipelines.connectors.salesforce.connector import SalesforceConnector
from hubblewave_pipelines.core.credentials import CredentialKind, credentials_schema
from hubblewave_pipelines.core.stream import ConnectorType
from hubblewave_pipelines.outbound.manners import Manners
from hubblewave_pipelines.outbound.session import Session

MANNERS = Manners(
    token_path="/services/oauth2/token",  # noqa: S106 - where, not what
    again=frozenset({406, 420}),  # pages of Salesforce's edge, which mean: later
    quota_reserved=True,
)

TYPE = ConnectorType(
    name="salesforce",
    title="Salesforce",
    config=CONFIG,
    credentials=credentials_schema(
        CredentialKind.CLIENT_CREDENTIALS,
        CredentialKind.REFRESH_TOKEN,
        CredentialKind.JWT_BEARER,
        CredentialKind.PASSWORD,
    ),
    capabilities={
        "deletes": ["feed", "snapshot"],
        "compareAndSet": "unmodified_since",
        "markPrecision": "second",
        "orderedByKey": True,
        "bulkRead": True,
        "filter": "a condition of SOQL",
    },
)


def connect(config: dict[str, Any], session: Session) -> SalesforceConnector:
    return SalesforceConnector(Config.read(config), session)
