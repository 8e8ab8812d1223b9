"""Every statement that export, load, merge and deletes can send, as text: `statements.sql`.

White space does not count. `SYNC_TEST_RENEW=1 pytest` on this file writes the text anew; read the
difference before you commit it.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.sql import Composable, Identifier

from sync_assets.engine import Deletes, RelationName, SyncMode, Table
from sync_assets.engine.export import copy_statements
from sync_assets.engine.layout.layout import fit
from sync_assets.engine.load import staging_statements
from sync_assets.engine.merge import merge_statements
from sync_assets.engine.plan.decide import make_plan
from sync_assets.engine.plan.plan import Chunk, How, KeyBuckets, KeysByPage, Plan
from sync_assets.engine.postgres.relation import Column, Key, Leaf, Relation
from sync_assets.engine.snapshot.pages import PageRange
from sync_assets.engine.snapshot.snapshot import Snapshot, SourceIdentity, SourceRelation
from sync_assets.private_server.server import PostgresServer

GOLDEN = Path(__file__).with_name("statements.sql")
MODULES = (copy_statements, staging_statements, merge_statements)

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
NAME = RelationName("shop", "orders")
COLUMNS = (
    Column(1, "id", "bigint", 20, True, None, False, False),
    Column(2, "total", "numeric", 1700, False, None, False, False),
    Column(3, "email", "text", 25, False, None, False, False),
)
KEY = Key(("id",), ("OPERATOR(pg_catalog.=)",), primary=True)
LEAF = Leaf(10, NAME, "r", "heap", 100, 0, False, True, "a", 1000, 50_000, 8_192_000)
SOURCE = Relation(10, NAME, "r", False, True, COLUMNS, (KEY,), (LEAF,), "columns")
SNAPSHOT = Snapshot(1000, 1010, NOW, 5000, NOW, SourceIdentity("7000", 5, 1), 5000)
STAGING, KEYS = Identifier("pg_temp", "staged"), Identifier("pg_temp", "keys")


def planned(table: Table, *, keyed: bool = True, window: int = 0, **changes: Any) -> Plan:
    soft = table.deletes is Deletes.SOFT
    source = SOURCE if keyed else dataclasses.replace(SOURCE, keys=())
    columns = tuple(
        dataclasses.replace(each, name=name, type=type_, type_oid=0)
        for each, name, type_ in (
            *((each, each.name, each.type) for each in COLUMNS),
            (COLUMNS[1], "source_xmin", "bigint"),
            *([(COLUMNS[1], "deleted_at", "timestamp with time zone")] if soft else []),
        )
    )
    target = dataclasses.replace(source, oid=77, columns=columns)
    view = SourceRelation(source, COLUMNS, (), (), SNAPSHOT)
    plan = make_plan(table, view, fit(table, source, target), None, target)
    start = dataclasses.replace(plan.window, start=window)
    return dataclasses.replace(plan, window=start, **changes)


HARD = Table(NAME, NAME, deletes=Deletes.HARD)
SOFT = dataclasses.replace(HARD, deletes=Deletes.SOFT)
SCOPED = Table(NAME, NAME, where="total > 0")
FULL = Table(NAME, NAME, mode=SyncMode.FULL_SYNC)
PLAN, CHANGES = planned(HARD), planned(HARD, window=900)
KEYLESS = planned(FULL, keyed=False)
CHUNK = Chunk(0, 0, LEAF, How.WHOLE, 0, 1024)
RANGES = (PageRange(3, 5), PageRange(9, 10))
CHANGED = dataclasses.replace(CHUNK, how=How.XID)

Shown = dict[str, Callable[[], Composable]]


def exported(plan: Plan, chunk: Chunk) -> Callable[[], Composable]:
    return lambda: copy_statements.export_chunk(plan, chunk)


def of_export() -> Shown:
    by_page = dataclasses.replace(PLAN, keys_by_page=KeysByPage.BUILD)
    pages = dataclasses.replace(CHANGED, first=None, end=None, how=How.BLOCKS, runs=RANGES)
    keys = dataclasses.replace(CHUNK, keys_only=True)
    buckets = dataclasses.replace(PLAN, key_buckets=KeyBuckets(("0f", "a1"), 500))
    return {
        "export_chunk: whole, a range of pages": exported(PLAN, CHUNK),
        "export_chunk: by xid": exported(CHANGES, CHANGED),
        "export_chunk: changed pages": exported(CHANGES, pages),
        "export_chunk: filtered": exported(planned(SCOPED), CHUNK),
        "export_chunk: filtered, by xid, with what left the scope": exported(
            planned(SCOPED, window=900, full=False), CHANGED
        ),
        "export_chunk: keys alone": exported(PLAN, keys),
        "export_chunk: keys with the page of each": exported(by_page, keys),
        "export_chunk: keys of some buckets": exported(buckets, keys),
        "export_chunk: binary": exported(dataclasses.replace(PLAN, binary=True), CHUNK),
        "export_chunk: a whole view": exported(KEYLESS, dataclasses.replace(CHUNK, leaf=None)),
        "copy_format": lambda: copy_statements.copy_format(PLAN, keys_only=False),
        "value_of": lambda: copy_statements.value_of(PLAN.layout.fields[0]),
        "max_xmin": lambda: copy_statements.max_xmin(NAME, 1010),
    }


def of_load() -> Shown:
    s = staging_statements
    return {
        "staging_columns": lambda: s.staging_columns(PLAN),
        "create_table": lambda: s.create_table(PLAN, STAGING),
        "add_key": lambda: s.add_key(KEY, STAGING, "orders_pkey"),
        "create_temporary": lambda: s.create_temporary(planned(SCOPED, full=False), STAGING),
        "key_columns": lambda: s.key_columns(PLAN),
        "load_batch: rows": lambda: s.load_batch(PLAN, STAGING, keys_only=False),
        "load_batch: keys": lambda: s.load_batch(PLAN, STAGING, keys_only=True),
    }


def of_merge() -> Shown:
    m, soft = merge_statements, planned(SOFT)
    return {
        "joined": lambda: m.joined(KEY),
        "differs": lambda: m.differs(PLAN),
        "differs: where rows are marked": lambda: m.differs(soft),
        "staged: with what left the scope": lambda: m.staged(planned(SCOPED, full=False), STAGING),
        "merge": lambda: m.merge(PLAN, KEY, STAGING),
        "merge: where rows are marked": lambda: m.merge(soft, KEY, STAGING),
        "counted_merge": lambda: m.counted_merge(m.merge(PLAN, KEY, STAGING)),
        "count_changes": lambda: m.count_changes(PLAN, KEY, STAGING),
        "live: where rows are marked": lambda: m.live(soft),
        "within_buckets": lambda: m.within_buckets(KEY, KeyBuckets(("0f", "a1"), 500)),
        "delete_missing": lambda: m.delete_missing(PLAN, KEY, KEYS),
        "mark_missing": lambda: m.mark_missing(soft, KEY, KEYS, NOW),
        "delete_gone": lambda: m.delete_gone(PLAN, KEY, KEYS),
        "mark_gone": lambda: m.mark_gone(soft, KEY, KEYS, NOW),
        "any_live": lambda: m.any_live(soft),
        "count_missing": lambda: m.count_missing(PLAN, KEY, KEYS),
        "count_there": lambda: m.count_there(PLAN, KEY, KEYS),
        "count_live": lambda: m.count_live(PLAN, 10),
        "count_left": lambda: m.count_left(planned(SCOPED, full=False), KEY, STAGING),
        "delete_surplus": lambda: m.delete_surplus(KEYLESS, STAGING),
        "insert_lacking": lambda: m.insert_lacking(KEYLESS, STAGING),
        "count_unlike": lambda: m.count_unlike(PLAN, STAGING),
    }


SHOWN = {**of_export(), **of_load(), **of_merge()}


def on_one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def in_lines(text: str) -> str:
    """A statement with its clauses on lines of their own, for whoever reads the difference."""
    words = r"FROM|WHERE|USING|WHEN (?:NOT )?MATCHED|ON|LEFT JOIN|FULL JOIN|UNION ALL|SET|VALUES|RETURNING|TO STDOUT"
    return re.sub(rf" (?=(?:{words})\b)", "\n  ", on_one_line(text))


def expected() -> dict[str, str]:
    parts = re.split(r"^-- (.+)$", GOLDEN.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], map(on_one_line, parts[2::2]), strict=True))


@pytest.fixture(scope="module")
def texts(server18: PostgresServer) -> dict[str, str]:
    with closing(psycopg2.connect(server18.url())) as connection:
        return {name: build().as_string(connection) for name, build in SHOWN.items()}


@pytest.mark.skipif(os.environ.get("SYNC_TEST_RENEW") != "1", reason="SYNC_TEST_RENEW=1")
def test_the_text_is_written_anew(texts: dict[str, str]) -> None:
    sections = (f"-- {name}\n{in_lines(text)}\n" for name, text in texts.items())
    GOLDEN.write_text("\n".join(sections), encoding="utf-8")


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_sent_is_what_is_written_down(texts: dict[str, str], name: str) -> None:
    assert in_lines(texts[name]) == in_lines(expected()[name])


def test_every_builder_is_shown_and_nothing_else_is() -> None:
    builders = {
        name
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and function.__annotations__["return"] == "Composable"
    }
    assert {name.partition(":")[0] for name in SHOWN} == builders
    assert expected().keys() == SHOWN.keys()
