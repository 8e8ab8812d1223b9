"""Take the pictures in this folder from a running UI: `python docs/take_pictures.py URL`.

Opens the demo's UI in a headless Chromium, materializes one table by its button, waits for the
run, and keeps what a person sees: the lineage, the run, and the receipt on the asset's page.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from sync_assets_tests.fixtures.browser import Browser, opened_browser  # noqa: E402 (see above)

ASSET = "target/sym_v1/sym_ticker_exchange"


def keep(browser: Browser, name: str, show: str | None = None) -> None:
    """Save what the window shows, scrolled to a text."""
    if show:
        browser.driver.execute_script("arguments[0].scrollIntoView()", browser.see(show))
    time.sleep(1.5)  # the page fades in what it has loaded
    browser.driver.save_screenshot(str(HERE / f"{name}.png"))


def main(url: str) -> None:
    """Take every picture."""
    with opened_browser(url) as browser:
        browser.open("asset-groups", "sym_company", height=1200)
        browser.gone("Loading")
        keep(browser, "lineage")
        browser.open(f"assets/{ASSET}", "Materialize")
        browser.click("Materialize")
        browser.see("Launched run")
        browser.click("View")
        browser.see("RUN_SUCCESS")
        keep(browser, "run")
        browser.open(f"assets/{ASSET}", "sync/source_max_xmin", height=1800)
        keep(browser, "receipt", show="Metadata")


if __name__ == "__main__":
    main(sys.argv[1])
