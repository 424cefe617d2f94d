"""A headless chromium for tests of pages: the system's own, which talks to this machine alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

MISSING = (
    "chromium or chromedriver is not on PATH, so no page is tested; to test them: "
    "apt-get install chromium chromium-driver"
)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


class NoBrowser(Exception):
    """What is missing, and how to get it."""


def chromium(profile: Path, width: int = 1500, height: int = 940) -> webdriver.Chrome:
    """A browser of its own profile, to be quit by the caller. Raises NoBrowser."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        raise NoBrowser(MISSING)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*_FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """Skips the test, saying how to enable it, where there is no chromium."""
    try:
        found = chromium(tmp_path / "profile")
    except NoBrowser as missing:
        pytest.skip(str(missing))
    yield found
    found.quit()
