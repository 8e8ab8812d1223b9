"""What a person sees in the UI, through a real browser: lineage, receipt, staleness."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_assets_tests.fixtures.browser import Browser, opened_browser, require_browser
from sync_assets_tests.fixtures.live import Live

pytestmark = pytest.mark.slow

GROUP = "locations/sync_assets/asset-groups/{}/lineage"
ASSET = "assets/target/shop/orders"
TARGET, SOURCE = "target/shop/orders", "source/shop/orders"


@pytest.fixture(scope="module")
def browser(live: Live) -> Iterator[Browser]:
    require_browser()
    folder = os.environ.get("SYNC_TEST_PICTURES")
    with opened_browser(live.url, Path(folder) if folder else None) as opened:
        yield opened


def test_a_table_is_followed_from_lineage_to_receipt_and_back_to_fresh(
    live: Live, browser: Browser
) -> None:
    # One test, as one person would go: each step stands on the one before.
    sees_the_lineage(browser)
    observe(live)
    materializes_by_the_button(browser)
    reads_the_receipt(live, browser, inserted=250, updated=0)
    is_fresh(live, browser)
    change_the_source(live)
    observe(live)
    assert live.staleness(TARGET) == "STALE"
    browser.open(ASSET, "Unsynced")
    browser.keep("stale")
    assert live.ends(live.launch([TARGET], in_one_process=True), "SUCCESS")
    reads_the_receipt(live, browser, inserted=0, updated=10)
    is_fresh(live, browser)


def sees_the_lineage(browser: Browser) -> None:
    browser.open(GROUP.format("source_shop"), "customers", "Never observed")
    browser.open(GROUP.format("shop"), "customers", "Never materialized")
    # Each table stands there twice: as itself, and as a link to the one on the source.
    assert browser.count("orders") == 2
    assert browser.count("customers") == 2


def materializes_by_the_button(browser: Browser) -> None:
    browser.open(ASSET, "Materialize")
    browser.click("Materialize")
    browser.see("Launched run")
    browser.click("View")
    browser.see("RUN_SUCCESS")


def reads_the_receipt(live: Live, browser: Browser, *, inserted: int, updated: int) -> None:
    browser.open(ASSET, "sync/source_max_xmin", height=1800)
    shown = browser.rows()
    [(xmin,)] = live.pair.target("SELECT max(source_xmin) FROM shop.orders")
    numbers = {"sync/source_max_xmin": xmin}
    numbers |= {"sync/rows_inserted": inserted, "sync/rows_updated": updated}
    assert {name: shown[name].replace(",", "") for name in numbers} == {
        name: str(number) for name, number in numbers.items()
    }
    assert live.pair.is_exact("shop.orders")


def is_fresh(live: Live, browser: Browser) -> None:
    # Asked for as well: a word that is not there may only not be there yet.
    assert live.staleness(TARGET) == "FRESH"
    browser.gone("Unsynced")


def observe(live: Live) -> None:
    assert live.ends(live.launch([SOURCE], in_one_process=True), "SUCCESS")


def change_the_source(live: Live) -> None:
    # The counters that an observation reads are sent by the session that changed the rows.
    live.pair.source(
        "UPDATE shop.orders SET note = 'changed' WHERE id <= 10; SELECT pg_stat_force_next_flush()"
    )


def test_a_check_that_fails_is_seen(live: Live, browser: Browser) -> None:
    assert live.ends(live.launch(["target/shop/customers"], in_one_process=True), "SUCCESS")
    browser.open("assets/target/shop/customers?view=checks", "Passed")
    live.pair.target("DELETE FROM shop.customers WHERE id = 1")
    browser.click("Execute all")
    browser.see("Failed")
    browser.see("Rows too few on the target: 1;")
    browser.keep("check")


def test_a_korean_table_is_found_by_its_name(live: Live, browser: Browser) -> None:
    assert live.ends(live.launch(["target/shop/주문"], in_one_process=True), "SUCCESS")
    browser.open("automation", "sync_changes", height=1800)
    browser.search("주문", "/assets/target/shop/주문")
    browser.see("sync/rows_inserted")
    assert browser.rows()["sync/rows_inserted"] == "250"
    assert live.pair.is_exact("shop.주문")
