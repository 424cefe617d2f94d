"""Makes the pictures of docs/images: the running platform as headless chromium sees it.

Usage: python -m tests.proof.pictures. Needs chromium and chromedriver (Debian: apt-get install
chromium chromium-driver).
"""

import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.plugins.browser import chromium
from tests.proof.flights_stack import flights_stack

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def _shows(page: webdriver.Chrome, texts: list[str]) -> bool:
    shown = page.find_element(By.TAG_NAME, "body").text
    return all(text in shown for text in texts) and "Loading" not in shown


def shoot(chrome: webdriver.Chrome, url: str, texts: list[str], name: str) -> None:
    """Open a page, wait until it shows every text and has come to rest, save it."""
    chrome.get(url)
    WebDriverWait(chrome, 90).until(
        lambda page: _shows(page, texts),
        f"{url} does not show {texts}",
    )
    time.sleep(4)  # the graph is laid out by a worker after its texts are there
    IMAGES.mkdir(parents=True, exist_ok=True)
    chrome.save_screenshot(str(IMAGES / f"{name}.png"))
    print(f"{name}.png", file=sys.stderr)


def main() -> None:
    with flights_stack() as stack, tempfile.TemporaryDirectory() as profile:
        job = stack.import_flights()
        newest = (
            "/api/v1/flights?sort=-timeHour&pageSize=1&fields=carrier,number,origin,dest,timeHour"
        )
        print(stack.client.get(newest).text)  # the answer that the README shows
        dagster = stack.platform.ready["dagster_url"]
        chrome = chromium(Path(profile))
        try:
            shoot(
                chrome,
                f"{dagster}/asset-groups",
                ["flights", "airports", "planes", "airlines"],
                "asset-graph",
            )
            shoot(
                chrome,
                f"{dagster}/assets/entity/default/flights?view=overview",
                ["flights", "336776"],
                "flights-asset",
            )
            shoot(
                chrome,
                f"{dagster}/assets/entity/default/flights?view=lineage",
                ["flights"],
                "flights-lineage",
            )
            shoot(chrome, job["runUrl"], ["Success"], "import-run")
        finally:
            chrome.quit()


if __name__ == "__main__":
    main()
