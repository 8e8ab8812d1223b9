"""Random changes of a table on both ends between syncs: every sync ends exact, or is refused in words.

A few stories each time; `make random` tells hundreds, and counts how often each kind of change
ended exact. SYNC_TEST_STORIES says how many, SYNC_TEST_SEED which; a failure prints every
statement of the shortest story that fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from sync_assets.engine.merge.alter import DEPENDS
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import INSPECTED_FROM, both_ways
from sync_assets_tests.random_changes.sequences import (
    COLUMNS,
    KINDS,
    PLAIN,
    STORAGE,
    TARGET,
    Story,
    stories,
)
from sync_assets_tests.random_changes.telling import SHARED, StoryFailed, Tally, tell

STORIES = int(os.environ.get("SYNC_TEST_STORIES", "12"))
SEED = os.environ.get("SYNC_TEST_SEED") or "1"
MANY = 250
EACH_KIND = 15
"""How often each kind ends exact at least, in as many stories as MANY, and so on."""

NOT_EVERYWHERE = {"set_expression"}
"""Expressions of generated columns change from PostgreSQL 17 on."""

MOST_REFUSED = 0.05

ALLOWED: Mapping[tuple[str, str, str], str] = {
    ("SchemaConflict", "rename_target_column", "violates not-null constraint"): (
        "somebody gave a NOT NULL column of the target another name, so no new row has a value for it"
    ),
    ("SchemaConflict", "swap_table", "a value that is there does not allow it"): (
        "the table that took the name has another key, by which the target's rows are nothing"
    ),
    ("SchemaConflict", "change_primary_key", "the key; a value that is there does not allow it"): (
        "the target's rows, as they were, are not unique by the key that the source has now"
    ),
    ("SchemaConflict", "drop_target_column", "which its rows are told apart by"): (
        "somebody dropped a column of the target that the source has made part of the key since"
    ),
    ("SchemaConflict", "rename_target_column", "which its rows are told apart by"): (
        "somebody renamed a column of the target that the source has made part of the key since"
    ),
    ("SchemaConflict", "build_on_view", DEPENDS): (
        "somebody built on a view of the target that reads a column whose type the source has changed since"
    ),
}
"""What may be refused: the error, the change and words of the message, and why no run could go on
by itself."""


@both_ways
@pytest.mark.timeout(600 + 20 * STORIES)
def test_random_changes_end_exact(pair: Pair) -> None:
    tally = told(pair, STORIES)
    if STORIES >= MANY:
        enough = EACH_KIND * STORIES // MANY
        rare = {kind: tally.exact[kind] for kind in KINDS if tally.exact[kind] < enough}
        assert set(rare) <= NOT_EVERYWHERE, rare
        assert tally.refusals <= MOST_REFUSED * tally.syncs


@both_ways
@pytest.mark.timeout(600 + 20 * STORIES)
def test_random_changes_of_what_a_table_carries_end_exact(pair: Pair) -> None:
    told(pair, max(3, STORIES // 3), carries=True)


@both_ways
@pytest.mark.timeout(600 + 20 * STORIES)
def test_random_changes_of_a_table_with_a_masked_column_end_exact(pair: Pair) -> None:
    told(pair, max(3, STORIES // 3), masked=True)


OF_PARTITIONS = {
    ("SchemaConflict", kind, words)
    for kind in (*COLUMNS, *PLAIN, *TARGET, *STORAGE)
    for words in SHARED
}
"""What is refused because other sources have these columns, too."""


@both_ways
@pytest.mark.timeout(600 + 20 * STORIES)
def test_random_changes_of_one_source_of_many_end_exact(pair: Pair) -> None:
    told(pair, max(3, STORIES // 3), shared=True)


CONTROLS: Mapping[str, tuple[str, Callable[..., object], str]] = {
    "what had not been committed yet is forgotten": (
        "sync_assets.engine.run.outcome._watermark",
        lambda plan, known: plan.view.snapshot.xmax,
        "2",
    ),
    "a leaf that is new is read by its xids": (
        "sync_assets.engine.plan.reads._why_whole",
        lambda leaf, known, view: None,
        "301",
    ),
    "a new column's value in older rows is forgotten": (
        "sync_assets.engine.layout.following.Following._value_of_old_rows",
        lambda following, column: None,
        "213",
    ),
    "changed pages are asked for from where the last run read": (
        "sync_assets.engine.plan.changed_pages.safe_start",
        lambda positions, xmin: max((each.lsn for each in positions), default=None),
        "202",
    ),
}
"""Rules of the engine got wrong, with a seed whose stories betray it soon."""


@pytest.mark.from_15
@pytest.mark.parametrize("control", CONTROLS)
def test_an_engine_that_gets_one_rule_wrong_is_caught(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, control: str
) -> None:
    rule, wrong, chosen = CONTROLS[control]
    monkeypatch.setattr(rule, wrong)
    with pytest.raises(StoryFailed, match="the ends differ"):
        tell_all(pair, Tally(), 100, chosen, shrinks=False)


def told(pair: Pair, number: int, **of: bool) -> Tally:
    """Tell so many stories `of` that kind; pytest shows with -rP how they ended."""
    tally = Tally()
    print(f"seed {SEED}")  # noqa: T201 (repeats these stories)
    tell_all(pair, tally, number, SEED, **of)
    print(tally.table())  # noqa: T201
    return tally


def tell_all(
    pair: Pair,
    tally: Tally,
    number: int,
    chosen: str = SEED,
    *,
    shrinks: bool = True,
    **of: bool,
) -> None:
    """Tell the stories `of` that kind that hypothesis draws; it looks for the shortest that fails."""
    if int(version_of_source(pair)) >= INSPECTED_FROM:
        pair.source("CREATE EXTENSION pg_walinspect")

    # Each way has stories of its own.
    @seed(f"{chosen} {version_of_source(pair)}")
    @settings(
        max_examples=number,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
    )
    @given(stories(**of))
    def telling(story: Story) -> None:
        tell(pair, story, tally, {*ALLOWED, *OF_PARTITIONS} if story.shared else ALLOWED)

    telling()


def version_of_source(pair: Pair) -> str:
    ((version,),) = pair.source("SHOW server_version_num")
    return str(version)[:2]
