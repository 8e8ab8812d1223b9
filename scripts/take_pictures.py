"""Take pictures for the documentation from a running UI: `python scripts/take_pictures.py URL`.

Opens the demo's UI in a headless Chromium, materializes one table by its button, waits for the
run, and keeps what a person sees: the lineage, and the receipt on the asset's page. The browser
test takes the others:
SYNC_TEST_PICTURES=$PWD/docs/pictures pytest sync_assets_tests/live -k browser
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from sync_assets_tests.fixtures.browser import opened_browser  # noqa: E402 (see above)

ASSET = "target/sym_v1/sym_ticker_exchange"


def main(url: str) -> None:
    """Take every picture."""
    with opened_browser(url, ROOT / "docs" / "pictures") as browser:
        browser.open("asset-groups", "sym_company", height=1200)
        browser.gone("Loading")
        browser.keep("lineage")
        browser.open(f"assets/{ASSET}", "Materialize")
        browser.click("Materialize")
        browser.see("Launched run")
        browser.click("View")
        browser.see("RUN_SUCCESS")
        browser.open(f"assets/{ASSET}", "sync/source_max_xmin", height=1800)
        browser.keep("receipt", show="Metadata")


if __name__ == "__main__":
    main(sys.argv[1])
