"""Whatever asks about both ends says so where the source is not that of the last run, or the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from sync_assets.engine import DataCopyEngine, Table
from sync_assets.engine.check.check import check
from sync_assets.engine.errors import ConfigurationError, SourceBehind, SourceIdentityChanged
from sync_assets.engine.inspection.why import why
from sync_assets.engine.names import RelationName
from sync_assets.engine.state.export_import import export_state, import_state
from sync_assets.engine.table import SyncMode
from sync_assets.engine.verify.counts import count_rows, schema_drift
from sync_assets.engine.verify.sample import sample_rows
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.replicated import Replicated
from sync_assets_tests.fixtures.servers import NewDatabase

CREATE = "CREATE TABLE t (id int PRIMARY KEY, v text)"
FILL = "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 20) AS i"
COLUMNS = "SELECT attname::text FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"

Ask = Callable[[str, str, Table], Any]


def engine(source: str, target: str) -> DataCopyEngine:
    return DataCopyEngine(source, target)


QUESTIONS: dict[str, Ask] = {
    "row_count": count_rows,
    "content": lambda source, target, table: sample_rows(source, target, table, 1.0),
    "schema_drift": schema_drift,
    "why": lambda source, target, table: why(source, target, table, ["1"]),
    "verify --no-sync": lambda *ends: engine(*ends[:2]).verify(ends[2], sync=False),
    "repair": lambda *ends: engine(*ends[:2]).verify(ends[2], sync=False, repair=True),
    "verify": lambda *ends: engine(*ends[:2]).verify(ends[2]),
    "plan": lambda *ends: engine(*ends[:2]).plan(ends[2]),
    "run": lambda *ends: engine(*ends[:2]).sync(ends[2]),
    "export": lambda *ends: engine(*ends[:2]).export_to_csv_with_xmin(
        str(ends[2].source), str(ends[2].target)
    ),
}


def named(source: str = "t", target: str = "t", **options: Any) -> Table:
    return Table(RelationName.parse(source), RelationName.parse(target), **options)


def test_another_database_is_not_asked_in_the_source_s_place(
    pair: Pair, new_database: NewDatabase, source_server: PostgresServer
) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    other = Pair(new_database(source_server), pair.target_url)
    other.source(CREATE)
    before = pair.target("SELECT * FROM t ORDER BY id")
    # The second time as for a role that has not the right to ask which server this is.
    for hide in ("SELECT", "UPDATE sync_assets.state SET system_identifier = NULL"):
        pair.target(hide)
        for ask in QUESTIONS.values():
            with pytest.raises(SourceIdentityChanged):
                ask(other.source_url, other.target_url, named())
    assert pair.target("SELECT * FROM t ORDER BY id") == before


def test_a_source_from_before_the_last_run_is_not_asked(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.target("UPDATE sync_assets.state SET source_lsn = source_lsn + (1::bigint << 40)")
    for ask in QUESTIONS.values():
        with pytest.raises(SourceBehind):
            ask(pair.source_url, pair.target_url, named())


def test_after_a_failover_no_row_counts_as_seen_by_the_last_run(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.target(
        "UPDATE sync_assets.state SET timeline = timeline + 1", "DELETE FROM t WHERE id = 1"
    )
    counted = count_rows(pair.source_url, pair.target_url, named())
    assert (counted.source, counted.settled, counted.tells) == (20, 0, False)
    assert pair.verify().rows_pending == 1


@pytest.mark.from_15
def test_a_table_is_never_its_own_target(pair: Pair) -> None:
    pair.source(CREATE, FILL, "CREATE TABLE other (id int PRIMARY KEY)")
    before = _everything(pair)
    itself = engine(pair.source_url, pair.source_url)
    exported = engine(pair.source_url, pair.target_url).export_to_csv_with_xmin("t")
    group = [named("other", "elsewhere.other"), named()]
    ways: list[Callable[[], Any]] = [
        *(partial(ask, pair.source_url, pair.source_url, named()) for ask in QUESTIONS.values()),
        partial(itself.sync_group, group),
        partial(itself.verify_group, group),
        partial(itself.import_csv_to_temp_table, exported),
    ]
    for way in ways:
        with pytest.raises(ConfigurationError, match="one and the same"):
            way()
    itself.cleanup_temp_files(exported)
    assert _everything(pair) == before


def _everything(pair: Pair) -> Sequence[Any]:
    return pair.source(
        "SELECT attrelid::regclass::text, attname FROM pg_attribute JOIN pg_class c"
        " ON c.oid = attrelid WHERE relnamespace::regnamespace::text !~ '^(pg_|info)'"
        " ORDER BY 1, attnum"
    )


PARTS = {
    "a partition into its parent": ("p1", "p", {}),
    "a parent into its partition": ("p", "p1", {}),
    "a view into its table": ("v", "t", {"mode": SyncMode.FULL_SYNC}),
    "a view of a view into its table": ("vv", "t", {"mode": SyncMode.FULL_SYNC}),
    "a parent of plain inheritance into a child": ("t", "c", {"mode": SyncMode.FULL_SYNC}),
    "a materialized view into its table": ("m", "t", {"mode": SyncMode.FULL_SYNC}),
}


@pytest.mark.from_15
def test_nor_is_a_part_of_it_or_what_reads_it(pair: Pair) -> None:
    pair.source(
        CREATE,
        FILL,
        "CREATE TABLE c (more int) INHERITS (t)",
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100)",
        "CREATE VIEW v AS SELECT * FROM t WHERE id < 10",
        "CREATE VIEW vv AS SELECT count(*)::int AS id FROM v",
        "CREATE MATERIALIZED VIEW m AS SELECT * FROM t",
    )
    tables = [named(source, target, **options) for source, target, options in PARTS.values()]
    before = _everything(pair)
    for table in tables:
        for way in ("run", "plan", "verify --no-sync"):
            with pytest.raises(ConfigurationError, match="one and the same"):
                QUESTIONS[way](pair.source_url, pair.source_url, table)
    assert _everything(pair) == before
    found = check(pair.source_url, pair.source_url, tables, max_workers=1).findings
    assert [each.check for each in found].count("one_table") == len(tables)


@pytest.mark.from_15
def test_a_table_may_be_copied_within_its_database(pair: Pair) -> None:
    pair.source(CREATE, FILL, "CREATE VIEW v AS SELECT * FROM t")
    inside = engine(pair.source_url, pair.source_url)
    assert inside.copy_table_data("t", "copies.t").rows_inserted == 20
    assert inside.copy_table_data("v", "copies.v").rows_inserted == 20
    assert inside.verify(named("t", "copies.t")).equal


def test_a_standby_is_not_copied_into_its_primary(replicated: Replicated) -> None:
    primary = Pair(replicated.primary.url(), replicated.primary.url())
    primary.source("DROP TABLE IF EXISTS t", CREATE, FILL)
    assert replicated.caught_up()
    with pytest.raises(ConfigurationError, match="one and the same"):
        engine(replicated.standby.url(), replicated.primary.url()).sync(named())
    assert primary.source(COLUMNS) == [("id",), ("v",)]
    primary.source("DROP TABLE t")


@pytest.mark.from_15
def test_a_state_is_not_imported_into_its_source(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    with pytest.raises(ConfigurationError, match="one and the same"):
        import_state(pair.source_url, export_state(pair.target_url))
    assert pair.source("SELECT to_regnamespace('sync_assets')") == [(None,)]
