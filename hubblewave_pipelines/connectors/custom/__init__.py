"""Any JSON API over HTTP, described rather than programmed."""

from typing import Any

from hubblewave_pipelines.connectors.custom.config import CONFIG, capabilities, config_of
from hubblewave_pipelines.connectors.custom.connector import CustomConnector
from hubblewave_pipelines.core.credentials import CredentialKind, credentials_schema
from hubblewave_pipelines.core.stream import ConnectorType
from hubblewave_pipelines.outbound.session import Session

TYPE = ConnectorType(
    name="custom",
    title="Any JSON API over HTTP",
    config=CONFIG,
    credentials=credentials_schema(*CredentialKind),
    capabilities=capabilities(),
)


def connect(config: dict[str, Any], session: Session) -> CustomConnector:
    return CustomConnector(config_of(config), session)
