"""A SAP sandbox with a connector to it, for tests: everything real, and no waiting between attempts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hubblewave_pipelines.connectors import sap
from hubblewave_pipelines.connectors.sap.connector import SapConnector
from hubblewave_pipelines.core.stream import Page, Stream, Window
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.sandboxes.app import Sandbox
from hubblewave_pipelines.sandboxes.serving import Running
from tests.plugins.sessions import plain_session

V2 = "/sap/opu/odata/sap"
V4 = "/sap/opu/odata4/sap/api_salesorder/srvd_a2x/sap/salesorder/0001"
ORDERS, ITEMS = "API_SALES_ORDER_SRV.A_SalesOrder", "API_SALES_ORDER_SRV.A_SalesOrderItem"
PARTNERS, ADDRESSES = (
    "API_BUSINESS_PARTNER.A_BusinessPartner",
    "API_BUSINESS_PARTNER.A_BusinessPartnerAddress",
)
PRODUCTS = "API_PRODUCT_SRV.A_Product"
ORDERS_V4, ITEMS_V4 = "API_SALESORDER.SalesOrder", "API_SALESORDER.SalesOrderItem"


@dataclass(frozen=True, slots=True)
class System:
    """`run` serves the sandbox; `session` counts what the connector asks of it."""

    run: Running
    session: HttpSession
    connector: SapConnector

    @property
    def sandbox(self) -> Sandbox:
        return self.run.sandbox

    def rows(self, table: str) -> dict[str, dict[str, Any]]:
        return self.sandbox.stage.tables[table].rows

    def stream(self, name: str) -> Stream:
        return self.connector.describe(name)

    def pages(
        self, name: str, window: Window | None = None, position: Any = None, **rest: Any
    ) -> list[Page]:
        """All pages of a stream with all its fields."""
        stream = self.stream(name)
        names = [field.name for field in stream.fields]
        plan = self.connector.plan(stream, names, window or Window(), **rest)
        return [page for part in plan.slices for page in self.connector.read(plan, part, position)]


def connected(run: Running, kind: str = "basic", **config: Any) -> System:
    """A connector as the sandbox itself says that it is made, with `config` on top."""
    made = run.sandbox.vendor.connector(run.url)
    credentials = made["credentials"]
    if kind == "client_credentials":
        credentials = {"kind": kind, "clientId": "sb-hubblewave", "clientSecret": "sandbox-secret"}
    session = plain_session(run.url, credentials, manners=sap.MANNERS, sleep=lambda _: None)
    return System(run, session, sap.connect({**made["config"], **config}, session))


Serve = Callable[..., Running]


def cells(pages: list[Page], name: str) -> list[str | None]:
    return [cell for page in pages for cell in page.columns[name]]
