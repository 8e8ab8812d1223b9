"""Take the pictures in this folder from a running UI: `python docs/take_pictures.py URL`.

Opens the demo's UI in a headless Chromium, materializes one table by its button, waits for the
run, and keeps what a person sees: the lineage, the run, and the receipt on the asset's page. The
browser test takes the others: SYNC_TEST_PICTURES=$PWD/docs pytest sync_assets_tests/live -k browser
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from sync_assets_tests.fixtures.browser import opened_browser  # noqa: E402 (see above)

ASSET = "target/sym_v1/sym_ticker_exchange"


def main(url: str) -> None:
    """Take every picture."""
    with opened_browser(url, HERE) as browser:
        browser.open("asset-groups", "sym_company", height=1200)
        browser.gone("Loading")
        browser.keep("lineage")
        browser.open(f"assets/{ASSET}", "Materialize")
        browser.click("Materialize")
        browser.see("Launched run")
        browser.click("View")
        browser.see("RUN_SUCCESS")
        browser.keep("run")
        browser.open(f"assets/{ASSET}", "sync/source_max_xmin", height=1800)
        browser.keep("receipt", show="Metadata")


if __name__ == "__main__":
    main(sys.argv[1])
