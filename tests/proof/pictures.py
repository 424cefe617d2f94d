"""Makes the pictures of docs/images: the running platform as headless chromium sees it.

Usage: python -m tests.proof.pictures. Needs chromium and chromedriver (Debian: apt-get install
chromium chromium-driver).
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.proof.flights_stack import flights_stack

IMAGES = Path(__file__).parents[2] / "docs" / "images"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def browser(profile: Path, width: int = 1500, height: int = 940) -> webdriver.Chrome:
    """A headless chromium from the system's packages. Raises SystemExit where there is none."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        raise SystemExit("chromium is missing: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


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
        chrome = browser(Path(profile))
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
