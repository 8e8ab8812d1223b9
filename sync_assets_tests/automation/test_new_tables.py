"""Tables that are new on the source are told once, whichever of the processes finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml

from sync_assets.definitions import load_tables
from sync_assets_tests.fixtures.documents import forget_definitions, printed
from sync_assets_tests.fixtures.inbox import Inbox
from sync_assets_tests.fixtures.pair import Pair

Look = Callable[[], str]

ALERT = "*parts: new tables on the source*\n"
ADDED = "New on the source, and synced once the definitions are loaded anew: parts.{}."
WAITING = "New on the source, and not synced: parts.{}. Take it: sync-assets refresh --take TABLE."


@pytest.fixture
def start(
    pair: Pair,
    inbox: Inbox,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Look]:
    """Load the definitions as a process that starts now does; return its hindrance sensor's look."""
    pair.source("CREATE SCHEMA parts", "CREATE TABLE parts.old (id int PRIMARY KEY)")
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    monkeypatch.setenv("SYNC_ALERT_WEBHOOK", inbox.webhook)
    (tmp_path / "parts").mkdir()

    def load(**attributes: str) -> Look:
        values = {"alerts": {"webhook": True}, "tables": [{"source": "parts.*"}], **attributes}
        document = {"type": "sync_assets.TableSync", "attributes": values}
        (tmp_path / "parts" / "defs.yaml").write_text(yaml.safe_dump(document))
        forget_definitions()
        loaded = load_tables(tmp_path)
        sensor = loaded.resolve_sensor_def("parts_hindrances")

        def look() -> str:
            context = dg.build_sensor_context(
                instance, definitions=loaded, resources=loaded.resources or {}
            )
            with context:
                return sensor.evaluate_tick(context).skip_message or ""

        return look

    return load


def told(inbox: Inbox) -> list[str]:
    return [post["text"] for post in inbox.posts]


def test_a_new_table_is_told_once_by_all_who_look(
    start: Callable[..., Look], pair: Pair, inbox: Inbox
) -> None:
    first, beside = start(), start()
    assert "New on" not in first() + beside()
    pair.source("CREATE TABLE parts.new (id int PRIMARY KEY)")
    after = start()
    assert ADDED.format("new") in first()
    assert "New on" not in beside() + after() + start()() + first()
    pair.source("CREATE TABLE parts.newer (id int PRIMARY KEY)")
    assert ADDED.format("newer") in beside()
    assert told(inbox) == [ALERT + ADDED.format(name) for name in ("new", "newer")]


def test_what_a_command_found_before_is_told_all_the_same(
    start: Callable[..., Look], pair: Pair, inbox: Inbox
) -> None:
    start()()
    pair.source("CREATE TABLE parts.new (id int PRIMARY KEY)")
    printed("refresh")
    start()()
    assert told(inbox) == [ALERT + ADDED.format("new")]


def test_what_could_not_be_sent_is_sent_by_the_next_look(
    start: Callable[..., Look], pair: Pair, inbox: Inbox
) -> None:
    look = start()
    look()
    pair.source("CREATE TABLE parts.new (id int PRIMARY KEY)")
    inbox.status = 503
    with pytest.raises(Exception, match="503"):
        look()
    inbox.status = 200
    inbox.posts.clear()
    assert ADDED.format("new") in look()
    assert told(inbox) == [ALERT + ADDED.format("new")]


@pytest.mark.parametrize(
    ("on_new_table", "says"), [("ask", [WAITING.format("new")]), ("ignore", [])]
)
def test_what_waits_is_told_unless_new_tables_are_ignored(
    start: Callable[..., Look], pair: Pair, inbox: Inbox, on_new_table: str, says: list[str]
) -> None:
    look = start(on_new_table=on_new_table)
    look()
    pair.source("CREATE TABLE parts.new (id int PRIMARY KEY)")
    look()
    look()
    assert told(inbox) == [ALERT + text for text in says]


def test_a_component_of_another_location_is_not_taken_for_one_of_the_same_name(
    start: Callable[..., Look],
    pair: Pair,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = start()
    here()
    pair.source("CREATE TABLE parts.new (id int PRIMARY KEY)")
    printed("refresh")
    monkeypatch.setenv("DAGSTER_LOCATION_NAME", "elsewhere")
    assert "New on" not in start()()
    monkeypatch.delenv("DAGSTER_LOCATION_NAME")
    assert ADDED.format("new") in here()
    assert told(inbox) == [ALERT + ADDED.format("new")]
