"""The soak's ledger finds what was told too often, too little or unasked, and else nothing."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from sync_assets_tests.fixtures.inbox import Inbox
from sync_assets_tests.scenarios.soak.alerts import Ledger
from sync_assets_tests.scenarios.soak.stage import NOTHING, Told

GONE = Told({"orders": "NoSuchRelation"})
WHAT = "public.orders: NoSuchRelation: the source has no table public.orders. Check it."
BEGUN = f"*shop: something is in the way of a sync*\n{WHAT}"
OVER = "*shop: no longer in the way*\npublic.orders: over: NoSuchRelation: the source has no table."

FULL = "public.orders: OutOfSpace: the disk is full."
MENDED = "*shop: no longer in the way*\npublic.orders: over: OutOfSpace: the disk is full."


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Ledger(Inbox(), instance)


def arrive(ledger: Ledger, *texts: str) -> None:
    ledger.inbox.posts += [{"text": text} for text in texts]


def failed(ledger: Ledger) -> str:
    """A run that failed, and what is told of it."""
    run = create_run_for_test(
        ledger.instance,
        status=dg.DagsterRunStatus.FAILURE,
        asset_selection=frozenset([dg.AssetKey(["target", "public", "orders"])]),
    )
    return f"*shop: a sync failed*\n{FULL}\nRun {run.run_id}"


def test_what_is_told_once_and_once_that_it_is_over_is_right(ledger: Ledger) -> None:
    arrive(ledger, BEGUN)
    assert ledger.is_told(GONE)
    assert not ledger.is_settled(GONE)
    arrive(ledger, OVER)
    assert ledger.is_settled(GONE)
    assert list(ledger.settle(GONE)) == []


@pytest.mark.parametrize(
    ("texts", "wrong"),
    [
        ([], 2),
        ([BEGUN], 1),
        ([BEGUN, BEGUN, OVER], 1),
        ([BEGUN, OVER, OVER], 1),
        ([BEGUN, OVER, BEGUN.replace("orders", "lines")], 1),
        ([BEGUN, OVER, BEGUN.replace("NoSuchRelation", "PrivilegeError")], 1),
    ],
)
def test_what_is_missing_repeated_or_unasked_is_found(
    ledger: Ledger, texts: list[str], wrong: int
) -> None:
    arrive(ledger, *texts)
    assert len(list(ledger.settle(GONE))) == wrong


def test_a_run_that_failed_is_told_once_and_so_is_the_end_of_it(ledger: Ledger) -> None:
    told = failed(ledger)
    assert not ledger.is_settled(NOTHING)
    arrive(ledger, told)
    assert ledger.is_told(Told(failed="orders"))
    assert not ledger.is_settled(NOTHING)
    arrive(ledger, MENDED)
    assert ledger.is_settled(NOTHING)
    assert list(ledger.settle(NOTHING)) == []
    failed(ledger)
    assert ledger.is_settled(NOTHING), "it is known what fails"
    assert ledger.wanted(Told(failed="orders")) == NOTHING
    arrive(ledger, told)
    assert len(list(ledger.settle(NOTHING))) == 1


def test_a_table_that_is_told_twice_is_found(ledger: Ledger) -> None:
    arrive(ledger, failed(ledger), failed(ledger), MENDED)
    assert len(list(ledger.settle(NOTHING))) == 1


def test_what_comes_back_within_the_hour_is_not_told_again(ledger: Ledger) -> None:
    arrive(ledger, BEGUN, OVER)
    assert list(ledger.settle(GONE)) == []
    assert ledger.wanted(GONE) == NOTHING
