"""Pictures of Dagster's pages as a person sees them, for the documentation."""

import time
from pathlib import Path

from tests.plugins.browser import chromium


def take(url: str, pages: dict[str, str], into: Path, *, settle: float = 6) -> None:
    """`pages` is name -> path below `url`; each becomes INTO/NAME.png, taken once it stands still."""
    into.mkdir(parents=True, exist_ok=True)
    browser = chromium(into.absolute().parent / ".chromium-profile")
    try:
        for name, path in pages.items():
            browser.get(f"{url}{path}")
            time.sleep(settle)  # the page polls; there is no event that says it is complete
            browser.save_screenshot(str(into / f"{name}.png"))
    finally:
        browser.quit()
