"""What a SAP system can do to its connector: every fault at every request, foreign links, hostile metadata."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubblewave_pipelines.connectors.sap.edmx import parse
from hubblewave_pipelines.connectors.sap.odata import Feed
from hubblewave_pipelines.connectors.sap.values import join_key, key_values, split_key
from hubblewave_pipelines.core.errors import (
    ForeignLink,
    Invalid,
    PartialAnswer,
    PlatformError,
    Unauthorized,
    VendorRefused,
)
from hubblewave_pipelines.core.stream import Level, Window
from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from tests.plugins.sandboxes import START
from tests.plugins.sap_system import (
    ITEMS,
    ORDERS,
    ORDERS_V4,
    PARTNERS,
    PRODUCTS,
    V2,
    Serve,
    cells,
    connected,
)

# What the session mends by asking again, and what the reader mends by how it reads.
MENDED = frozenset(FaultKind) - {
    FaultKind.UNAUTHORIZED,  # basic credentials have no newer ones
    FaultKind.ROWS_AND_ERROR,
}


@pytest.mark.parametrize("name", [ORDERS, ORDERS_V4])
def test_every_fault_at_every_request_loses_and_doubles_nothing(serve: Serve, name: str) -> None:
    run = serve("sap", records=120, extra={"page": 50})
    window = Window(None, START + timedelta(days=1))
    clean = connected(run)
    wanted = sorted(cells(clean.pages(name, window), "SalesOrder"))  # type: ignore[type-var]
    requests = clean.session.requests
    cases = refused = 0
    for kind in FaultKind:
        for number in range(1, requests + 1):
            run.sandbox.faults.set(Fault(kind, request=number, seconds=0))
            system, position, seen = connected(run), None, []
            for _ in range(3):  # a run that fails is started again where its last page stood
                try:
                    stream = system.stream(name)
                    plan = system.connector.plan(stream, [], window)
                    for page in system.connector.read(plan, plan.slices[0], position):
                        seen += page.columns["SalesOrder"]
                        position = page.position
                    break
                except PlatformError:
                    refused += 1
                    assert kind not in MENDED, (kind, number)
                    system = connected(run)
            cases += 1
            assert sorted(seen) == wanted, (kind, number)
    assert cases == len(FaultKind) * requests
    assert refused > 0


def test_a_filter_read_in_another_zone_is_noticed(serve: Serve) -> None:
    for name in (ORDERS, ORDERS_V4):
        system = connected(serve("sap", records=200))
        stamps = sorted(row["LastChangeDateTime"] for row in system.rows("orders").values())
        window = Window(stamps[50], stamps[150])
        assert sum(page.rows for page in system.pages(name, window)) == 100
        system.sandbox.faults.set(Fault(FaultKind.WRONG_ZONE, rate=1))
        with pytest.raises(VendorRefused, match="outside of what was asked"):
            system.pages(name, window)


@pytest.mark.parametrize("name", [PRODUCTS, ORDERS_V4])
def test_a_delta_under_faults_is_read_whole_or_not_at_all(serve: Serve, name: str) -> None:
    run = serve("sap", records=120, extra={"page": 50})
    system = connected(run)
    table = "products" if name == PRODUCTS else "orders"
    wanted = len(system.rows(table))
    key = system.stream(name).key
    for kind in (
        FaultKind.REPEATED_TOKEN,
        FaultKind.EMPTY_PAGE_WITH_TOKEN,
        FaultKind.SHORT_PAGE,
        FaultKind.TRUNCATE,
    ):
        for number in range(1, 4):
            run.sandbox.faults.set(Fault(kind, request=number))
            try:
                pages = system.pages(name, Window(None, None, {}))
            except PartialAnswer:
                assert kind is FaultKind.REPEATED_TOKEN
            else:
                assert len(set(cells(pages, key))) == wanted, (kind, number)
                assert pages[-1].token is not None
    run.sandbox.faults.set()


def test_a_service_that_gives_the_same_page_for_ever_is_left(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = connected(serve("sap", records=10))
    service = system.connector.services.find("API_SALES_ORDER_SRV")
    same = Feed([{"SalesOrder": "9500"}], [], "A_SalesOrder?$skiptoken=1", None)
    stream = system.stream(ORDERS)
    monkeypatch.setattr(service, "feed", lambda *_, **__: same)
    with pytest.raises(PartialAnswer, match="same record again"):
        list(system.connector.keys(stream, None))
    monkeypatch.setattr(service, "feed", lambda *_, **__: Feed([], [], same.next_link, None))
    monkeypatch.setattr(service, "follow", lambda *_, **__: Feed([], [], same.next_link, None))
    with pytest.raises(PartialAnswer, match="leads back"):
        list(system.connector.keys(stream, None))


def test_links_are_followed_at_home_or_not_at_all(serve: Serve) -> None:
    system = connected(serve("sap", records=10))
    service = system.connector.services.find("API_SALES_ORDER_SRV")
    root = f"{V2}/API_SALES_ORDER_SRV"
    always = "sap-language=EN&sap-client=100"
    for link in (
        f"https://erp.internal:44300{root}/A_SalesOrder?$skiptoken=5",
        f"{root}/A_SalesOrder?$skiptoken=5",
        "A_SalesOrder?$skiptoken=5",
        f"https://proxy.example.com/behind/it{root}/A_SalesOrder?$skiptoken=5",
    ):
        assert service.at_home(link) == f"{root}/A_SalesOrder?$skiptoken=5&{always}"
    for link in (
        "https://evil.example.com/collect?$skiptoken=5",
        "//evil.example.com/",
        f"{root}/../../admin",
        f"{root}/%2e%2e/admin",
        "/sap/bc/other",
    ):
        with pytest.raises(ForeignLink):
            service.at_home(link)


def test_tokens_of_writes_are_fetched_with_their_session_and_again_when_they_expire(
    serve: Serve,
) -> None:
    system = connected(serve("sap", records=10))
    service = system.connector.services.find("API_SALES_ORDER_SRV")
    order, change = "A_SalesOrder('9500')", {"PurchaseOrderByCustomer": "PO 1"}
    assert service.write("PATCH", order, json=change, headers={"If-Match": "*"}).status == 204
    asked = system.session.requests
    service.write("PATCH", order, json=change, headers={"If-Match": "*"})
    assert system.session.requests == asked + 1
    system.sandbox.clock.advance(timedelta(hours=2))
    assert service.write("PATCH", order, json=change, headers={"If-Match": "*"}).status == 204
    assert system.session.requests == asked + 4  # refused, fetched, sent again
    assert service.write("PATCH", order, json=change, accept=(428,)).status == 428
    with pytest.raises(VendorRefused) as refused:
        service.write("PATCH", order, json=change, headers={"If-Match": 'W/"old"'})
    assert refused.value.answered == 412


def test_a_check_says_what_is_wrong_and_what_to_do(serve: Serve) -> None:
    run = serve("sap", records=10)

    def findings(**config: Any) -> dict[str, Any]:
        return {one.what: one for one in connected(run, **config).connector.check().findings}

    good = findings()
    assert {one.level for one in good.values()} == {Level.OK, Level.WARNING}
    assert "OData only" in good["engine"].detail
    assert good["clock"].level is Level.WARNING  # START is not now
    listed = connected(run, services=["API_SALES*"])
    told = {one.detail for one in listed.connector.check().findings}
    assert any("saves two requests" in detail for detail in told)
    assert sum(page.rows for page in listed.pages(ORDERS_V4)) == len(listed.rows("orders"))
    wrong = findings(client="200")
    assert wrong["identity"].level is Level.ERROR
    assert "SU01" in wrong["identity"].detail
    assert findings(services=["Z_NONE*"])["services"].level is Level.WARNING
    hidden = findings(services=["X=/sap/opu/odata/sap/NOT_ACTIVE"])["permissions"]
    assert (hidden.level, "S_SERVICE" in hidden.detail) == (Level.ERROR, True)
    bare = connected(serve("sap", records=5, extra={"catalog": "missing"}))
    assert bare.connector.describe(PARTNERS).key == "BusinessPartner"
    oauth = connected(run, "client_credentials")
    assert sum(page.rows for page in oauth.pages(ITEMS)) == len(oauth.rows("items"))
    with pytest.raises(Invalid):
        connected(run, timeZone="Mars/Olympus")


def test_a_password_that_ends_is_told_and_never_shown(serve: Serve) -> None:
    system = connected(serve("sap", records=10))
    system.sandbox.faults.set(Fault(FaultKind.UNAUTHORIZED, rate=1))
    with pytest.raises(Unauthorized) as refused:
        system.pages(ORDERS)
    assert "Welcome1" not in str(refused.value)


HOSTILE: dict[str, tuple[bytes, type[PlatformError]]] = {
    "doctype": (b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x"><edmx:Edmx xmlns:edmx="e" Version="1.0"/>', VendorRefused),
    "entity": (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Edmx>&a;</Edmx>', VendorRefused),
    "laughs": (
        b"<!DOCTYPE x [<!ENTITY a 'ha'>"
        + b"".join(b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10 if n else b"&a;" * 10) for n in range(12))
        + b"]><Edmx>&a11;</Edmx>",
        PlatformError,
    ),
    "cut": (b'<?xml version="1.0"?><edmx:Edmx xmlns:edmx="e"><a>', PartialAnswer),
    "page": (b"<html><body>Service Unavailable</body></html>", VendorRefused),
    "empty": (b"", PartialAnswer),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_metadata_are_read_without_documents_types_or_entities(case: str) -> None:
    text, error = HOSTILE[case]
    with pytest.raises(error):
        parse(text)


@given(st.lists(st.text(max_size=12), min_size=2, max_size=4))
def test_composite_keys_are_one_text_and_come_apart_again(parts: list[str]) -> None:
    joined = join_key(parts)
    assert split_key(joined) == tuple(parts)
    assert key_values(joined, [str(n) for n in range(len(parts))]) == tuple(parts)
