"""The statements that export, load and merge build, as text: `statements.sql`.

Each public builder of their modules of statements is shown, in the forms that tell its branches
apart; what other modules write where they send it is in `sent.sql`. White space does not count.
`SYNC_TEST_RENEW=1 pytest` on this file writes the text anew: read the difference before you commit.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.sql import SQL, Composable, Identifier

from sync_assets.engine import Deletes, RelationName, SyncMode, Table
from sync_assets.engine.export import copy_statements
from sync_assets.engine.layout.layout import fit
from sync_assets.engine.load import staging_statements
from sync_assets.engine.merge import merge_statements
from sync_assets.engine.plan.batch_format import BatchFormat
from sync_assets.engine.plan.cursor_range import CursorRange
from sync_assets.engine.plan.plan import (
    Chunk,
    How,
    KeyBuckets,
    KeysByPage,
    KeySearch,
    LeafRead,
    Part,
    Plan,
    Scan,
)
from sync_assets.engine.plan.reads import Basis, plan_changes
from sync_assets.engine.postgres.relation import Column, Key, Leaf, Relation
from sync_assets.engine.snapshot.pages import PageRange
from sync_assets.engine.snapshot.snapshot import Snapshot, SourceIdentity, SourceRelation
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.sent import in_lines, on_one_line

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


def planned(
    table: Table,
    source: Relation = SOURCE,
    *,
    window: int = 0,
    creates: bool = False,
    **changes: Any,
) -> Plan:
    """The plan of a first run, over a target that is there unless the run creates it."""
    there = [(column, column.name, column.type) for column in source.columns]
    there.append((COLUMNS[1], "source_xmin", "bigint"))
    if table.deletes is Deletes.SOFT:
        there.append((COLUMNS[1], "deleted_at", "timestamp with time zone"))
    columns = tuple(
        dataclasses.replace(column, name=name, type=type_) for column, name, type_ in there
    )
    target = None if creates else dataclasses.replace(source, oid=77, columns=columns)
    view = SourceRelation(source, COLUMNS, (), (), SNAPSHOT)
    plan = plan_changes(Basis(table, view, fit(table, source, target), None, target))
    start = dataclasses.replace(plan.window, start=window)
    return dataclasses.replace(plan, window=start, **changes)


def changed(table: Table, source: Relation = SOURCE, **changes: Any) -> Plan:
    """The plan of a later run, which reads what has changed since transaction 900."""
    return planned(table, source, window=900, full=False, **changes)


def with_fields(plan: Plan, **changes: Any) -> Plan:
    """The plan with its last field changed."""
    *others, last = plan.layout.fields
    fields = (*others, dataclasses.replace(last, **changes))
    return dataclasses.replace(plan, layout=dataclasses.replace(plan.layout, fields=fields))


HARD = Table(NAME, NAME, deletes=Deletes.HARD)
SOFT = dataclasses.replace(HARD, deletes=Deletes.SOFT)
SCOPED = Table(NAME, NAME, where="total > 0")
FULL = Table(NAME, NAME, mode=SyncMode.FULL_SYNC)
BY_CURSOR = Table(NAME, NAME, mode=SyncMode.INCREMENTAL_SYNC, cursor="id")
PARTS = dataclasses.replace(
    SOURCE, kind="p", partitioned_by=("id",), leaves=(dataclasses.replace(LEAF, readable=False),)
)
PLAN, MARKED, SCOPE = planned(HARD), planned(SOFT), changed(SCOPED)
KEYLESS = planned(FULL, dataclasses.replace(SOURCE, keys=()))
PLACED = dataclasses.replace(PLAN, keys=KeySearch(KeysByPage.BUILD))
NOTED = changed(HARD, reads=(LeafRead(LEAF, How.XID, ""),))
SINCE = changed(
    BY_CURSOR,
    cursor=CursorRange("id", "bigint", "7", "9"),
    reads=(LeafRead(LEAF, How.CURSOR, ""),),
)
AGAIN = dataclasses.replace(
    changed(dataclasses.replace(HARD, where="total > 0")),
    table=dataclasses.replace(HARD, where="total > 0", rows="id < 9"),
    part=Part(SQL('("id" < 9)')),
)
TWO = Key(("id", "total"), (KEY.operators[0],) * 2, primary=False)
BUCKETS = KeyBuckets(("0f", "a1"), 500, 256)

WHOLE = Chunk(0, 0, LEAF, How.WHOLE, 0, 1024)
XID = dataclasses.replace(WHOLE, how=How.XID)
KEYS_ALONE = dataclasses.replace(WHOLE, keys_only=True)
PAGES = Chunk(0, 0, LEAF, How.BLOCKS, runs=(PageRange(3, 5), PageRange(9, 10)))
CURSOR = Chunk(0, 0, LEAF, How.CURSOR)
FOREIGN = Chunk(0, 0, dataclasses.replace(LEAF, kind="f"), How.WHOLE)
UNDIVIDED = Chunk(0, 0, None, How.XID)


def of_export() -> dict[str, Composable]:
    c = copy_statements
    both = dataclasses.replace(SINCE, reads=(*SINCE.reads, *NOTED.reads))
    computed = with_fields(PLAN, expression="lower(email)")
    chunks = {
        "whole, a range of pages": (PLAN, WHOLE),
        "by xid": (changed(HARD), XID),
        "a piece: rows older than the mark": (
            changed(HARD),
            dataclasses.replace(WHOLE, how=How.OLDER),
        ),
        "a piece, by a scan": (
            changed(HARD),
            dataclasses.replace(WHOLE, how=How.OLDER, first=512, scan=Scan(9000, 640, 896)),
        ),
        "a piece, after a scan": (
            changed(HARD),
            dataclasses.replace(WHOLE, how=How.OLDER, first=None, after="(1008,7)"),
        ),
        "changed pages": (changed(HARD), PAGES),
        "from a cursor on": (SINCE, CURSOR),
        "from a cursor on, without what is read by xid": (both, CURSOR),
        "a computed column": (computed, WHOLE),
        "filtered": (planned(SCOPED), WHOLE),
        "filtered, by xid, with what left the scope": (SCOPE, XID),
        "a part": (AGAIN, WHOLE),
        "keys alone beside a part": (AGAIN, KEYS_ALONE),
        "keys alone": (PLAN, KEYS_ALONE),
        "keys alone, filtered": (planned(SCOPED), KEYS_ALONE),
        "keys with their pages": (PLACED, KEYS_ALONE),
        "keys that note the pages of changed rows": (
            NOTED,
            dataclasses.replace(KEYS_ALONE, notes=True),
        ),
        "keys of some buckets": (PLAN, dataclasses.replace(KEYS_ALONE, buckets=BUCKETS)),
        "binary": (dataclasses.replace(PLAN, format=BatchFormat(binary=True)), WHOLE),
        "a foreign table": (PLAN, FOREIGN),
        "partitions through their parent": (changed(HARD, PARTS, reads=()), UNDIVIDED),
        "partitions through their parent, one of them whole": (
            changed(HARD, PARTS, reads=(LeafRead(LEAF, How.WHOLE, ""),)),
            UNDIVIDED,
        ),
    }
    return {
        **{f"export_chunk: {name}": c.export_chunk(*each) for name, each in chunks.items()},
        "copy_format": c.copy_format(PLAN, keys_only=False),
        "max_xmin": c.max_xmin(NAME, 1010),
    }


def of_load() -> dict[str, Composable]:
    s, roomy = staging_statements, dataclasses.replace(LEAF, pages=5_000)
    large_rows = dataclasses.replace(SOURCE, leaves=(roomy,))
    return {
        "staging_columns": s.staging_columns(PLAN),
        "staging_columns: of a table to be made": s.staging_columns(planned(HARD, creates=True)),
        "create_table": s.create_table(planned(HARD, creates=True), STAGING),
        "create_table: with room for one more row": s.create_table(
            planned(HARD, large_rows, creates=True), STAGING
        ),
        "create_table: where rows are marked": s.create_table(planned(SOFT, creates=True), STAGING),
        "add_key": s.add_key(KEY, STAGING, "orders_pkey"),
        "add_key: unique, of two columns": s.add_key(TWO, STAGING, "orders_key"),
        "analyze_briefly": s.analyze_briefly(STAGING, KEY),
        "analyze_briefly: rows without a key": s.analyze_briefly(STAGING, None),
        "create_temporary": s.create_temporary(STAGING, s.staging_columns(SCOPE)),
        "no_rows": s.no_rows(s.staging_columns(SCOPE)),
        "few_rows": s.few_rows(s.key_columns(PLAN), [{"id": "1"}, {"id": "2"}]),
        "key_columns": s.key_columns(PLAN),
        "key_columns: with their pages": s.key_columns(PLACED),
        "load_batch: rows": s.load_batch(PLAN, STAGING, keys_only=False),
        "load_batch: keys": s.load_batch(PLAN, STAGING, keys_only=True),
        "load_batch: keys with their pages": s.load_batch(PLACED, STAGING, keys_only=True),
    }


def of_merge() -> dict[str, Composable]:
    m = merge_statements
    within = m.within_buckets(KEY, BUCKETS)
    return {
        "joined": m.joined(KEY),
        "joined: by two columns": m.joined(TWO),
        "differs": m.differs(PLAN),
        "differs: where rows are marked": m.differs(MARKED),
        "staged": m.staged(PLAN, STAGING),
        "staged: with what left the scope": m.staged(SCOPE, STAGING),
        "merge": m.merge(PLAN, KEY, STAGING),
        "merge: where rows are marked": m.merge(MARKED, KEY, STAGING),
        "merge: a column that is set once": m.merge(
            with_fields(PLAN, settable=False), KEY, STAGING
        ),
        "counted_merge": m.counted_merge(m.merge(PLAN, KEY, STAGING)),
        "count_changes": m.count_changes(PLAN, KEY, STAGING),
        "count_lacking": m.count_lacking(PLAN, KEY, STAGING),
        "live": m.live(PLAN),
        "live: where rows are marked": m.live(MARKED),
        "within_buckets": within,
        "remove_others": m.remove_others(PLAN, KEY, KEYS),
        "remove_others: in some buckets": m.remove_others(PLAN, KEY, KEYS, within),
        "remove_others: of a part": m.remove_others(AGAIN, KEY, KEYS, m.within(AGAIN, KEY, None)),
        "remove_others: of a part, in some buckets": m.remove_others(
            AGAIN, KEY, KEYS, m.within(AGAIN, KEY, BUCKETS)
        ),
        "remove_others: where rows are marked": m.remove_others(MARKED, KEY, KEYS),
        "remove_others: where rows are marked, in some buckets": m.remove_others(
            MARKED, KEY, KEYS, within
        ),
        "remove_gone": m.remove_gone(PLAN, KEY, KEYS),
        "remove_gone: where rows are marked": m.remove_gone(MARKED, KEY, KEYS),
        "any_live": m.any_live(MARKED),
        "count_missing": m.count_missing(PLAN, KEY, KEYS),
        "count_missing: in some buckets": m.count_missing(PLAN, KEY, KEYS, within),
        "count_there": m.count_there(PLAN, KEY, KEYS),
        "count_live": m.count_live(PLAN, 10),
        "count_left": m.count_left(SCOPE, KEY, STAGING),
        "delete_surplus": m.delete_surplus(KEYLESS, STAGING),
        "insert_lacking": m.insert_lacking(KEYLESS, STAGING),
        "count_unlike": m.count_unlike(KEYLESS, STAGING),
    }


SHOWN = {**of_export(), **of_load(), **of_merge()}


def expected() -> dict[str, str]:
    parts = re.split(r"^-- (.+)$", GOLDEN.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], map(on_one_line, parts[2::2]), strict=True))


@pytest.fixture(scope="module")
def texts(server18: PostgresServer) -> dict[str, str]:
    with closing(psycopg2.connect(server18.url())) as connection:
        texts = {name: in_lines(built.as_string(connection)) for name, built in SHOWN.items()}
    if os.environ.get("SYNC_TEST_RENEW") == "1":
        sections = (f"-- {name}\n{text}\n" for name, text in texts.items())
        GOLDEN.write_text("\n".join(sections), encoding="utf-8")
    return texts


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_sent_is_what_is_written_down(texts: dict[str, str], name: str) -> None:
    assert texts[name] == in_lines(expected()[name])


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
