"""What an operator may write, and what he is told when it is wrong: one error, exact to the line."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import dagster as dg
import pytest

from sync_assets.assets.launchpad import SyncConfig
from sync_assets.config.automation import longest_gap
from sync_assets.config.folder import group_name, locate, read_components
from sync_assets.config.model import TableSyncConfig
from sync_assets.config.parsing import parse_component
from sync_assets.config.value_types import OWNER, TAG_KEY, TAG_VALUE
from sync_assets.config.yaml_file import read_documents
from sync_assets.engine import Hours, Limits, PauseWhile
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.names import RelationName
from sync_assets.engine.table import SyncMode

HEAD = "type: sync_assets.TableSync\nattributes:\n"

MODES = "full_sync, incremental_sync, xmin_incremental"
# what is wrong: (the file from its third line on, the error after `FILE:`)
WRONG = {
    "unknown mode": (
        "  tables:\n  - source: a\n  - source: b\n    sync_mode: xmin\n",
        f"6: attributes.tables[1].sync_mode: 'xmin' is not allowed; use one of {MODES}.",
    ),
    "mode of the wrong type": (
        "  tables:\n  - {source: a, sync_mode: 5}\n",
        f"4: attributes.tables[0].sync_mode: 5 is not allowed; use one of {MODES}.",
    ),
    "unknown key of a table, with a close one": (
        "  tables:\n  - source: a\n    sync_mod: full_sync\n",
        "5: attributes.tables[0].sync_mod: the key is not known; did you mean sync_mode?",
    ),
    "unknown key of the component": (
        "  tabels: []\n  tables:\n  - source: a\n",
        "3: attributes.tabels: the key is not known; did you mean tables?",
    ),
    "unknown key with nothing close": (
        "  tables: [source: a]\n  workers:\n    qqq: 1\n",
        (
            "5: attributes.workers.qqq: the key is not known; known keys are default_workers,"
            " max_workers, min_workers, batch_size."
        ),
    ),
    "a schedule that is no cron expression": (
        "  tables:\n  - source: a\n    schedule: hourly\n",
        "5: attributes.tables[0].schedule: 'hourly' is not allowed; write five fields: minute,",
    ),
    "a schedule of six fields": (
        "  tables:\n  - source: a\n    schedule: '0 * * * * *'\n",
        (
            "5: attributes.tables[0].schedule: '0 * * * * *' is not allowed; write five fields:"
            ' minute, hour, day, month, day of the week, as in "*/15 * * * *"; it has 6.'
        ),
    ),
    "a nearest weekday, which Dagster's scheduler does not know": (
        "  tables:\n  - source: a\n    schedule: '0 0 15W * *'\n",
        "5: attributes.tables[0].schedule: '0 0 15W * *' is not allowed; write five fields: minute",
    ),
    "a zone that is none": (
        "  defaults: {timezone: Europe/Bonn}\n  tables: [source: a]\n",
        "3: attributes.defaults.timezone: 'Europe/Bonn' is not allowed; write a time zone's name",
    ),
    "an hour that no day has": (
        "  defaults: {reconcile: '0 24 * * *'}\n  tables: [source: a]\n",
        "3: attributes.defaults.reconcile: '0 24 * * *' is not allowed; write five fields: minute",
    ),
    "an age without a unit": (
        "  tables:\n  - source: a\n    freshness: '30'\n",
        "5: attributes.tables[0].freshness: '30' is not allowed; write a number and a unit, such",
    ),
    "automation that is neither": (
        "  tables:\n  - source: a\n    automation: on\n",
        "5: attributes.tables[0].automation: True is not allowed; use one of stopped, running.",
    ),
    "a sweep where nothing is deleted": (
        "  tables:\n  - source: a\n    delete_schedule: '@daily'\n",
        "5: attributes.tables[0].delete_schedule: needs deletes: hard or soft; with ignore there",
    ),
    "an unknown check": (
        "  tables:\n  - source: a\n    checks:\n      rowcount: true\n",
        "6: attributes.tables[0].checks.rowcount: the key is not known; did you mean row_count?",
    ),
    "an unknown option of a check": (
        "  defaults:\n    checks:\n      key: {sevrity: warn}\n  tables: [source: a]\n",
        "5: attributes.defaults.checks.key.sevrity: the key is not known; did you mean severity?",
    ),
    "an unknown severity": (
        "  defaults:\n    checks:\n      key: {severity: bad}\n  tables: [source: a]\n",
        "5: attributes.defaults.checks.key.severity: 'bad' is not allowed; use one of error, warn.",
    ),
    "mail to nobody": (
        "  alerts:\n    email: {to: [bob]}\n  tables: [source: a]\n",
        "4: attributes.alerts.email.to[0]: 'bob' is not allowed; write an e-mail address.",
    ),
    "members of a group at different times": (
        (
            "  tables:\n  - {source: a, snapshot_group: g, schedule: '@daily'}\n"
            "  - source: b\n    snapshot_group: g\n"
        ),
        "6: attributes.tables[1].snapshot_group: 'g' is synced at once: write the same schedule,",
    ),
    "no source": (
        "  tables:\n  - source: a\n  - target: b\n",
        "5: attributes.tables[1].source: is missing.",
    ),
    "no tables": ("  group: shop\n", "2: attributes.tables: is missing."),
    "an empty list of tables": (
        "  tables: []\n",
        "3: attributes.tables: the list is empty; name a table's source.",
    ),
    "tables that are no list": (
        "  tables: {source: a}\n",
        "3: attributes.tables: {'source': 'a'} is not allowed; write a list.",
    ),
    "a table that is only a name": (
        "  tables:\n  - public.orders\n",
        "4: attributes.tables[0]: 'public.orders' is not allowed; write source: public.orders.",
    ),
    "text for a number": (
        '  tables: [source: a]\n  workers:\n    max_workers: "4"\n',
        "5: attributes.workers.max_workers: '4' is not allowed; write a whole number.",
    ),
    "true for a number": (
        "  tables: [source: a]\n  workers: {batch_size: true}\n",
        "4: attributes.workers.batch_size: True is not allowed; write a whole number.",
    ),
    "true for a share": (
        "  tables: [{source: a, max_delete_ratio: true}]\n",
        "3: attributes.tables[0].max_delete_ratio: True is not allowed; write a number.",
    ),
    "a number for true": (
        "  tables: [{source: a, allow_empty: 1}]\n",
        "3: attributes.tables[0].allow_empty: 1 is not allowed; write true or false.",
    ),
    "no workers": (
        "  tables: [source: a]\n  workers: {default_workers: 0}\n",
        "4: attributes.workers.default_workers: 0 is not allowed; use at least 1.",
    ),
    "more workers at least than at most": (
        "  tables: [source: a]\n  workers:\n    max_workers: 2\n    min_workers: 3\n",
        "6: attributes.workers.min_workers: 3 is not allowed; use at most max_workers, 2.",
    ),
    "no rate": (
        "  tables: [source: a]\n  limits:\n    max_mb_per_second: 0\n",
        "5: attributes.limits.max_mb_per_second: 0 is not allowed; use more than 0.",
    ),
    "a lag without a unit": (
        "  tables: [source: a]\n  limits:\n    pause_while: {replication_lag: '30'}\n",
        (
            "5: attributes.limits.pause_while.replication_lag: '30' is not allowed; write a number"
            " and a unit"
        ),
    ),
    "fewer sessions than none": (
        "  tables: [source: a]\n  limits:\n    pause_while:\n      active_sessions: -1\n",
        "6: attributes.limits.pause_while.active_sessions: -1 is not allowed; use at least 0.",
    ),
    "hours without a zone": (
        "  tables: [source: a]\n  limits:\n    pause_while: {between: '08:00-18:00'}\n",
        (
            "5: attributes.limits.pause_while.between: '08:00-18:00' is not allowed; between is"
            " '08:00-18:00'; Write two times and a time zone, such as 08:00-18:00 Europe/Berlin."
        ),
    ),
    "a share above one": (
        "  defaults: {max_delete_ratio: 1.5}\n  tables: [source: a]\n",
        "3: attributes.defaults.max_delete_ratio: 1.5 is not allowed; use at most 1.",
    ),
    "a share that is no number": (
        "  defaults: {max_delete_ratio: .nan}\n  tables: [source: a]\n",
        "3: attributes.defaults.max_delete_ratio: nan is not allowed; write a number.",
    ),
    "a source among the defaults": (
        "  defaults:\n    source: a\n  tables: [source: a]\n",
        "4: attributes.defaults.source: the key is not known;",
    ),
    "a name of three parts": (
        "  tables:\n  - source: a.b.c\n",
        (
            "4: attributes.tables[0].source: 'a.b.c' is not allowed;"
            " 'a.b.c' is not the name of a table; Write schema.table"
        ),
    ),
    "a name that PostgreSQL would cut": (
        f"  tables:\n  - source: {'x' * 64}\n",
        f"4: attributes.tables[0].source: '{'x' * 64}' is not allowed; the name",
    ),
    "a key without columns": (
        "  tables: [{source: a, key: []}]\n",
        "3: attributes.tables[0].key: [] is not allowed; name each column once.",
    ),
    "a key that names a column twice": (
        "  tables: [{source: a, key: [id, id]}]\n",
        "3: attributes.tables[0].key: ['id', 'id'] is not allowed; name each column",
    ),
    "a number for a key": (
        "  tables: [{source: a, key: 1}]\n",
        "3: attributes.tables[0].key: 1 is not allowed; write a list.",
    ),
    "an owner Dagster refuses": (
        "  tables:\n  - source: a\n    owners:\n    - team:x\n    - bob\n",
        "7: attributes.tables[0].owners[1]: 'bob' is not allowed; write an e-mail address, or",
    ),
    "a tag Dagster refuses": (
        "  tables:\n  - source: a\n    tags: {tier: a b}\n",
        "5: attributes.tables[0].tags: {'tier': 'a b'} is not allowed; the tag 'tier': 'a b'",
    ),
    "a group Dagster refuses": (
        "  group: my group\n  tables: [source: a]\n",
        "3: attributes.group: 'my group' is not allowed; a group is written with letters",
    ),
    "a URL for a connection's name": (
        "  source_connection: postgresql://u:s3cret@h/d\n  tables: [source: a]\n",
        "3: attributes.source_connection: the value is not allowed; write the name of a",
    ),
    "two tables with one target": (
        "  tables:\n  - source: a\n  - source: public.b\n    target: a\n",
        "6: attributes.tables[1].target: 'public.a' is already the target of the table on line 4.",
    ),
    "a table of many sources that is a target": (
        "  tables:\n  - source: b\n  - source: a\n    partition_of: {table: b, column: c, value: v}\n",
        "5: attributes.tables[1].source: partition_of: 'public.b' is the target of the table in",
    ),
    "a table onto itself": (
        "  target_connection: source\n  tables:\n  - source: a\n",
        "5: attributes.tables[0].source: 'public.a' would be copied onto itself.",
    ),
    "a key written twice": (
        "  tables:\n  - source: a\n    key: id\n    key: no\n",
        "6: attributes.tables[0].key: the key is written twice, first on line 5; keep one.",
    ),
    "YAML that is none": ("  tables: [\n  - x: {\n", "4: not valid YAML: "),
    "a tab": ("\ttables: []\n", "3: not valid YAML: "),
    "an alias within itself": ("  tables: &a [*a]\n", "3: an alias contains itself."),
    "several mistakes, of which the first is told": (
        "  tables:\n  - source: a.b.c\n  workers: {batch_size: 0}\n",
        "4: attributes.tables[0].source: 'a.b.c' is not allowed;",
    ),
}
# what is wrong: (the whole file, the error after `FILE:`)
WRONG_FILES = {
    "nothing": ("", "1: the file is empty; write type: sync_assets.TableSync and attributes."),
    "only a comment": ("# nothing\n", "1: the file is empty;"),
    "a document of nothing": ("---\n", "2: write type: sync_assets.TableSync and attributes."),
    "a list": ("- a\n", "1: write type: sync_assets.TableSync and attributes."),
    "no type": (
        "\nattributes: {tables: [source: a]}\n",
        "2: type is missing; write type: sync_assets.TableSync.",
    ),
    "a type that does not exist": (
        "type: sync_assets.TableSink\nattributes: {}\n",
        "1: type: 'sync_assets.TableSink' is not a component; use sync_assets.TableSync.",
    ),
    "a type that is no text": (
        "type: 5\n",
        "1: type: 5 is not a component; use sync_assets.TableSync.",
    ),
    "no attributes": (
        "type: sync_assets.TableSync\n",
        "1: attributes are missing; write attributes: and below it tables:.",
    ),
    "empty attributes": (
        "type: sync_assets.TableSync\nattributes:\n",
        "2: attributes: attributes are missing; write attributes: and below it tables:.",
    ),
    "tables beside the attributes": (
        "type: sync_assets.TableSync\nattribute: {tables: []}\n",
        "2: attribute: the key is not known; did you mean attributes?",
    ),
    "the second document": (
        HEAD + "  tables: [source: a]\n---\n" + HEAD + "  tables:\n  - source: b\n    keys: id\n",
        "9: attributes.tables[0].keys: the key is not known; did you mean key?",
    ),
    "a target that is the first document's table of many sources": (
        HEAD
        + "  tables:\n  - source: a\n    partition_of: {table: b, column: c, value: v}\n---\n"
        + HEAD
        + "  tables:\n  - source: b\n",
        "10: attributes.tables[0].source: 'public.b' is the table of many sources of that in",
    ),
    "a target of the first document again": (
        HEAD + "  tables: [source: a]\n---\n" + HEAD + "  tables:\n  - source: a\n",
        "8: attributes.tables[0].source: 'public.a' is already the target of the table in",
    ),
}


def written(folder: Path, text: str) -> Path:
    file = folder / "defs.yaml"
    file.write_text(text)
    return file


def parsed(folder: Path, attributes: str) -> TableSyncConfig:
    (document,) = read_documents(written(folder, HEAD + attributes))
    config = parse_component(document, lambda _: None)
    assert config is not None
    return config


def error_of(file: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_components(file)
    return str(caught.value)


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_error_with_file_line_key_and_what_is_allowed(
    case: str, tmp_path: Path
) -> None:
    text, expected = WRONG[case]
    file = written(tmp_path, HEAD + text)
    said = error_of(file)
    assert said.startswith(f"{file}:{expected}")
    assert "\n" not in said
    assert "s3cret" not in said


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_file_that_is_no_component_is_one_error_too(case: str, tmp_path: Path) -> None:
    text, expected = WRONG_FILES[case]
    file = written(tmp_path, text)
    assert error_of(file).startswith(f"{file}:{expected}")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    assert error_of(file).startswith(f"{file}: cannot be read: ")


def test_a_target_of_another_file_is_named_with_its_line(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, HEAD + "  tables:\n  - source: a\n")
    assert error_of(tmp_path) == (
        f"{tmp_path}/two/defs.yaml:4: attributes.tables[0].source: 'public.a' is already"
        f" the target of the table in {tmp_path}/one/defs.yaml:4."
    )


def test_a_file_that_dagster_would_not_read_is_an_error(tmp_path: Path) -> None:
    written(tmp_path, HEAD + "  tables: [source: a]\n")
    (tmp_path / "below").mkdir()
    below = written(tmp_path / "below", HEAD + "  tables: [source: b]\n")
    assert f"would not read {below}" in error_of(tmp_path)


def test_limits_of_the_source_reach_each_table(tmp_path: Path) -> None:
    config = parsed(
        tmp_path,
        "  tables: [{source: a}, {source: b}]\n  limits:\n    max_mb_per_second: 5\n    pause_while:\n"
        "      replication_lag: 30 seconds\n      active_sessions: 40\n"
        "      between: 22:00-06:00 Europe/Berlin\n"
        "    piece_mb: 16\n    max_snapshot_age: 30 seconds\n",
    )
    hours = Hours.parse("22:00-06:00 Europe/Berlin")
    limits = Limits(5, PauseWhile(30.0, 40, hours), 16, 30.0)
    assert [each.limits for each in config.synced_tables("")] == [limits, limits]


def test_a_history_is_named_after_its_target_or_as_it_says(tmp_path: Path) -> None:
    config = parsed(
        tmp_path,
        "  defaults: {target: 'raw.{schema}_{table}', history: {table: '{table}_versions'}}\n"
        "  tables:\n    - source: shop.orders\n    - {source: shop.lines, history: true}\n"
        "    - {source: shop.notes, history: false}\n",
    )
    named = [str(each.table.history_table) for each in config.synced_tables("g")]
    assert named == ["raw.orders_versions", "raw.shop_lines_history", "None"]


def test_a_table_takes_the_defaults_and_its_own_words_win(tmp_path: Path) -> None:
    config = parsed(
        tmp_path,
        dedent("""\
          group: all
          defaults: {sync_mode: full_sync, min_deletes: 5, owners: ["team:a"], tags: {x: "1", y: "1"}}
          tables:
          - source: orders
          - source: Sales.Orders
            target: replica.orders
            sync_mode: xmin_incremental
            key: id
            group: own
            owners: [b@example.org]
            tags: {y: "2"}
            description: "{not} a template"
        """)
        .replace("\n", "\n  ")
        .join(["  ", "\n"]),
    )
    first, second = config.synced_tables("folder")
    assert first.table.source == first.table.target == RelationName("public", "orders")
    assert (first.table.mode, first.table.min_deletes) == (SyncMode.FULL_SYNC, 5)
    assert (first.group, first.owners, first.tags) == ("all", ("team:a",), {"x": "1", "y": "1"})
    assert second.table.source == RelationName("Sales", "Orders")
    assert (second.table.mode, second.table.key) == (SyncMode.XMIN_INCREMENTAL, ("id",))
    assert second.table.max_delete_ratio == 0.5, "what nobody names is the engine's default"
    assert (second.group, second.owners) == ("own", ("b@example.org",))
    assert second.tags == {"x": "1", "y": "2"}
    assert second.description == "{not} a template"


def test_the_folder_is_the_group_of_those_that_name_none(tmp_path: Path) -> None:
    (synced,) = parsed(tmp_path, "  tables: [source: a]\n").synced_tables("folder")
    assert synced.group == "folder"


@pytest.mark.parametrize("value", ["relative/path", "/does/not/exist", "", __file__])
def test_sync_defs_is_an_absolute_folder_or_a_defs_file(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"SYNC_DEFS is .* absolute path"):
        locate({"SYNC_DEFS": value})


def test_a_folder_without_tables_is_an_error(tmp_path: Path) -> None:
    first = tmp_path / "shop" / "defs.yaml"
    assert (
        f"holds no defs.yaml with type: sync_assets.TableSync. Write one: sync-assets init --output {first}"
        in error_of(tmp_path)
    )


@pytest.mark.parametrize("owner", ["a@b.org", "team:x", "team:", "bob", "a@b", "a@b.c", "a b@c.de"])
def test_owners_are_judged_as_dagster_does(owner: str, tmp_path: Path) -> None:
    def dagster_accepts() -> bool:
        try:
            dg.AssetSpec("a", owners=[owner])
        except dg.DagsterInvalidDefinitionError:
            return False
        return True

    assert bool(re.fullmatch(OWNER, owner)) == dagster_accepts()


@pytest.mark.parametrize(
    ("key", "value"), [("a", "b"), ("a/b", ""), ("a b", "c"), ("a/b/c", "d"), ("a", "x" * 64)]
)
def test_tags_are_judged_as_dagster_does(key: str, value: str) -> None:
    def dagster_accepts() -> bool:
        try:
            dg.AssetSpec("a", tags={key: value})
        except (dg.DagsterInvalidDefinitionError, dg.DagsterInvariantViolationError):
            return False
        return True

    assert bool(TAG_KEY.fullmatch(key) and TAG_VALUE.fullmatch(value)) == dagster_accepts()


@pytest.mark.parametrize(
    ("mode", "asked", "deletes"),
    [
        ("xmin_incremental", {}, "ignore"),
        ("xmin_incremental", {"sweep_deletes": True}, "soft"),
        ("xmin_incremental", {"full_refresh": True}, "soft"),
        ("xmin_incremental", {"confirm_deletes": 7}, "soft"),
        ("xmin_incremental", {"sync_mode": "full_sync"}, "soft"),
        # It would delete what it is to mark.
        ("full_sync", {}, "soft"),
        ("full_sync", {"sync_mode": "xmin_incremental"}, "ignore"),
    ],
)
def test_deletes_wait_for_their_schedule_in_runs_that_need_not_read_all_keys(
    mode: str, asked: dict[str, Any], deletes: str
) -> None:
    entry = {"source": "a", "sync_mode": mode, "deletes": "soft", "delete_schedule": "@daily"}
    (synced,) = TableSyncConfig.model_validate({"tables": [entry]}).synced_tables("g")
    assert SyncConfig(**asked).applied_to(synced).deletes.value == deletes


@pytest.mark.parametrize(
    ("folder", "group"), [("shop", "shop"), ("my-shop", "my_shop"), ("", "default")]
)
def test_the_folder_names_the_group(folder: str, group: str) -> None:
    assert group_name(Path("/") / folder) == group


@pytest.mark.parametrize(
    ("cron", "gap"),
    [
        ("* * * * *", timedelta(minutes=1)),
        ("*/25 * * * *", timedelta(minutes=25)),
        ("*/5 8-18 * * *", timedelta(hours=13, minutes=5)),
        ("* 8-18 * * mon-fri", timedelta(days=2, hours=13, minutes=1)),
        ("0 0 L * *", timedelta(days=31)),
    ],
)
def test_the_longest_time_that_a_schedule_leaves(cron: str, gap: timedelta) -> None:
    assert longest_gap(cron) == gap.total_seconds()
