"""The interactive page of the document in a real browser that reaches this server alone."""

import json

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.facade import rich
from tests.facade.conftest import Standing

pytestmark = pytest.mark.browser
SECONDS = 60


@pytest.fixture(scope="module")
def number(standing: Standing) -> str:
    """The number of the one order there is."""
    with standing.client() as client:
        rich.define(client)
        ada = {"code": "C-1", "name": "Ada", "tier": "pro"}
        customer = client.post("/api/v1/customers", json=ada).json()["id"]
        order = {"number": "shown-on-the-page", "total": "1", "customerId": customer}
        client.post("/api/v1/orders", json=order).raise_for_status()
    return order["number"]


def there(page: Chrome, selector: str) -> WebElement:
    """The element, as soon as it can be seen."""

    def seen(page: Chrome) -> WebElement | None:
        found = page.find_elements(By.CSS_SELECTOR, selector)
        return found[0] if found and found[0].is_displayed() else None

    element: WebElement = WebDriverWait(page, SECONDS).until(seen, f"nothing at {selector}")
    return element


def press(page: Chrome, selector: str) -> None:
    page.execute_script("arguments[0].click()", there(page, selector))


def show(page: Chrome, standing: Standing, key: str) -> None:
    page.get(f"{standing.url}/api/docs")
    there(page, "#key").send_keys(key)
    there(page, "#credential button").click()


def test_it_shows_the_tenants_own_operations_and_tries_them_out(
    browser: Chrome, standing: Standing, number: str
) -> None:
    show(browser, standing, standing.key)
    tags = {"Platform", "Customer", "Order", "Tag"}
    there(browser, "#operations-tag-Order")
    shown = browser.find_elements(By.CSS_SELECTOR, ".opblock-tag")
    assert tags <= {tag.get_attribute("data-tag") for tag in shown}

    press(browser, "#operations-tag-Order button")
    listing = "#operations-Order-list_Order"
    press(browser, f"{listing} .opblock-summary-control")
    press(browser, f"{listing} .try-out__btn")
    press(browser, f"{listing} .execute")
    status = there(browser, f"{listing} .live-responses-table tbody .response-col_status")
    body = there(browser, f"{listing} .live-responses-table tbody .response-col_description").text
    assert "200" in status.text, body
    assert number in body
    assert '"customer": {' in body  # the example of `expand` was sent

    asked = json.loads(
        browser.execute_script(
            "return JSON.stringify(performance.getEntriesByType('resource').map(e => e.name))"
        )
    )
    assert any("/api/v1/orders" in address for address in asked), asked
    assert [a for a in asked if not a.startswith((standing.url, "data:"))] == []
    complaints = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert complaints == []


def test_a_wrong_key_is_told_so(browser: Chrome, standing: Standing, number: str) -> None:
    show(browser, standing, "hw_live_wrong")
    WebDriverWait(browser, SECONDS).until(
        lambda page: page.find_element(By.ID, "said").text.startswith("401"), "it says 401"
    )
    assert browser.find_elements(By.CSS_SELECTOR, ".opblock-tag") == []
