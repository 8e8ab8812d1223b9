"""Random changes of a table on both ends between syncs: every sync ends exact, or is refused in words.

A few stories each time; `make random` tells hundreds, and counts how often each kind of change
ended exact. SYNC_TEST_STORIES says how many, SYNC_TEST_SEED which; a failure prints every
statement of the shortest story that fails.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways
from sync_assets_tests.random_changes.sequences import (
    DML,
    KINDS,
    Story,
    even_story,
    stories,
)
from sync_assets_tests.random_changes.telling import Tally, tell

STORIES = int(os.environ.get("SYNC_TEST_STORIES", "10"))
SEED = int(os.environ.get("SYNC_TEST_SEED") or random.SystemRandom().randrange(2**32))
MANY, VERY_MANY = 250, 1000
"""Stories each way: from the first on they are drawn so that each kind comes up often, from the
second on each must have."""

EACH_KIND = 30
"""How often each kind ends exact at least, in as many stories as VERY_MANY."""

MOST_REFUSED = 0.05

ALLOWED: Mapping[tuple[str, str, str], str] = {
    ("SchemaConflict", "rename_target_column", "violates not-null constraint"): (
        "somebody gave a NOT NULL column of the target another name, so no new row has a value for it"
    ),
    ("SchemaConflict", "rename_column", "has no unique index on its key"): (
        "the key took the name of a column that the source dropped and the target keeps"
    ),
}
"""What may be refused: the error, the change and words of the message, and why no run could go on
by itself."""


@both_ways
@pytest.mark.timeout(600 + 10 * STORIES)
def test_random_changes_end_exact(pair: Pair) -> None:
    tally = Tally()
    print(f"seed {SEED}")  # noqa: T201 (repeats these stories)
    if STORIES >= MANY:
        chance = random.Random(SEED)
        for _ in range(STORIES):
            tell(pair, even_story(chance, tally.exact), tally, ALLOWED)
    else:
        drawn(pair, tally)
    print(tally.table())  # noqa: T201 (pytest shows it with -rP)
    assert tally.refusals <= MOST_REFUSED * tally.syncs
    if STORIES >= VERY_MANY:
        rare = {kind: tally.exact[kind] for kind in KINDS if tally.exact[kind] < EACH_KIND}
        # Virtual columns' expressions change from PostgreSQL 17 on.
        assert set(rare) <= {*DML, "set_expression"}, rare


def drawn(pair: Pair, tally: Tally) -> None:
    """Tell the stories that hypothesis draws; it finds the shortest that fails."""

    @seed(SEED)
    @settings(
        max_examples=STORIES,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(stories())
    def told(story: Story) -> None:
        tell(pair, story, tally, ALLOWED)

    told()
