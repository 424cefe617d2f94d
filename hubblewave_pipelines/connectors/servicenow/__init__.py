"""ServiceNow: tables by the Table API v2, in the order of sys_id, with deletes from the audits."""

from typing import Any

from hubblewave_pipelines.connectors.servicenow.config import CONFIG, Config
from hubblewave_pipelines.connectors.servicenow.connector import ServiceNowConnector
from hubblewave_pipelines.core.credentials import CredentialKind, credentials_schema
from hubblewave_pipelines.core.stream import ConnectorType
from hubblewave_pipelines.outbound.manners import Manners
from hubblewave_pipelines.outbound.session import Session

MANNERS = Manners(token_path="/oauth_token.do")  # noqa: S106 - where, not what

TYPE = ConnectorType(
    name="servicenow",
    title="ServiceNow",
    config=CONFIG,
    credentials=credentials_schema(
        CredentialKind.BASIC,
        CredentialKind.BEARER,
        CredentialKind.CLIENT_CREDENTIALS,
        CredentialKind.REFRESH_TOKEN,
        CredentialKind.PASSWORD,
    ),
    capabilities={
        "deletes": ["feed", "snapshot"],
        "compareAndSet": "none",
        "markPrecision": "second",
        "orderedByKey": True,
        "filter": "an encoded query",
    },
)


def connect(config: dict[str, Any], session: Session) -> ServiceNowConnector:
    return ServiceNowConnector(Config.read(config), session)
