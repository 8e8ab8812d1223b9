"""`alerts: {on: …}`: people are told of what they want to hear of, once, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from sync_assets_tests.fixtures.inbox import Inbox
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.ticks import Ticks

CHANGED = "columns changed on the source, and the target followed"
PASSED = "all of a table was read"
STALE = "something is in the way of a sync"
FAILED = "a sync failed"


@pytest.fixture
def component(
    pair: Pair, inbox: Inbox, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ticks]:
    """Two tables that nobody has synced, and alerts of these kinds."""
    monkeypatch.setenv("SYNC_ALERT_WEBHOOK", inbox.webhook)
    for name in ("a", "b"):
        pair.source(f"CREATE TABLE {name} (id int PRIMARY KEY)", f"INSERT INTO {name} VALUES (1)")

    def make(*on: str, **options: str) -> Ticks:
        alerts = {"webhook": True, **({"on": list(on)} if on else {})}
        tables = [{"source": "a", **options}, {"source": "b", **options}]
        attributes = {"alerts": alerts, "tables": tables}
        return Ticks(instance, pair.source_url, pair.target_url, attributes)

    return make


def run(ticks: Ticks) -> None:
    """A run, what the failure sensor says of it, if there is one, and two looks around."""
    result = ticks.run()
    if not result.success and "failure" in ticks.attributes["alerts"].get("on", ["failure"]):
        ticks.tell_of(result.dagster_run)
    for _ in range(2):
        ticks.evaluate("_hindrances")


def told(inbox: Inbox) -> list[tuple[str, str]]:
    """Subject and first line of each alert that came."""
    texts = [post["text"].split("\n") for post in inbox.posts]
    return [(first.strip("*").partition(": ")[2], second) for first, second, *_ in texts]


def break_(pair: Pair) -> None:
    pair.target("ALTER TABLE a ADD CHECK (id < 2)")
    pair.source("INSERT INTO a VALUES (2)")


def test_by_default_changed_columns_and_failures_are_told_and_full_passes_are_not(
    component: Callable[..., Ticks], pair: Pair, inbox: Inbox
) -> None:
    ticks = component()
    run(ticks)
    assert told(inbox) == []
    pair.source("ALTER TABLE a ADD v text", "ALTER TABLE b ADD v text, ADD w int")
    run(ticks)
    assert told(inbox) == [(CHANGED, 'public.a: "v" text was added')]
    assert inbox.posts[0]["text"].endswith('\npublic.b: "v" text was added; "w" integer was added')
    inbox.posts.clear()
    break_(pair)
    run(ticks)
    assert [subject for subject, _ in told(inbox)] == [FAILED]


def test_a_full_pass_is_told_with_its_reason_to_who_wants_to_hear_of_it(
    component: Callable[..., Ticks], pair: Pair, inbox: Inbox
) -> None:
    ticks = component("full_pass")
    ticks.evaluate("_hindrances")
    run(ticks)
    assert told(inbox) == [
        (PASSED, "public.a, public.b: every row was read: first load: the target does not exist")
    ]
    inbox.posts.clear()
    pair.source("ALTER TABLE b ADD v text", "INSERT INTO b VALUES (2)")
    break_(pair)
    run(ticks)
    assert told(inbox) == []


def test_a_table_that_got_too_old_is_told_alone_where_that_is_asked_for(
    component: Callable[..., Ticks], pair: Pair, inbox: Inbox
) -> None:
    ticks = component("stale", freshness="1 hour")
    run(ticks)
    pair.target("UPDATE sync_assets.state SET synced_at = synced_at - interval '2 hours'")
    break_(pair)
    pair.source("DROP TABLE b")
    run(ticks)
    ((subject, line),) = told(inbox)
    assert subject == STALE
    assert line.startswith("public.a, public.b: was last synced at")
    assert not [each for each in ticks.definitions.sensors or () if "_failures" in each.name]


def test_what_was_done_before_the_first_look_is_not_told(
    component: Callable[..., Ticks], inbox: Inbox
) -> None:
    run(component("full_pass"))
    assert told(inbox) == []
