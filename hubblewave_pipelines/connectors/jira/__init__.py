"""Jira, Cloud and Data Center: issues by JQL over closed windows, deletes by listing all ids."""

from typing import Any

from hubblewave_pipelines.connectors.jira.config import CONFIG, Config
from hubblewave_pipelines.connectors.jira.connector import JiraConnector
from hubblewave_pipelines.core.credentials import CredentialKind, credentials_schema
from hubblewave_pipelines.core.stream import ConnectorType
from hubblewave_pipelines.outbound.manners import Manners
from hubblewave_pipelines.outbound.session import Session

MANNERS = Manners(token_path="https://auth.atlassian.com/oauth/token")  # noqa: S106 - where, not what

TYPE = ConnectorType(
    name="jira",
    title="Jira",
    config=CONFIG,
    credentials=credentials_schema(
        CredentialKind.BASIC, CredentialKind.BEARER, CredentialKind.REFRESH_TOKEN
    ),
    capabilities={
        "deletes": ["snapshot"],
        "compareAndSet": "none",
        "markPrecision": "minute",
        "orderedByKey": True,
        "filter": "JQL without ORDER BY",
        "deployments": ["cloud", "dataCenter"],
    },
)


def connect(config: dict[str, Any], session: Session) -> JiraConnector:
    return JiraConnector(Config.read(config), session)
