"""State that follows its tables to another server, and state that is dropped."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sync_assets.engine import DataCopyEngine, RelationName, errors
from sync_assets.engine.inspection.status import read_status
from sync_assets.engine.postgres.lock import advisory_key
from sync_assets.engine.state.export_import import export_state, import_state
from sync_assets.engine.state.forget import forget, remembered
from sync_assets.engine.table import Table
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import Connect, NewDatabase, both_ways

T = RelationName("public", "t")


@pytest.fixture
def moved(pair: Pair, new_database: NewDatabase, target_server: PostgresServer) -> Pair:
    """The same source, and a new target whose table holds what the old one's does."""
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    pair.sync()
    new = Pair(pair.source_url, new_database(target_server))
    new.target(
        "CREATE TABLE t (id int PRIMARY KEY, source_xmin bigint)", "INSERT INTO t VALUES (1), (2)"
    )
    return new


@both_ways
def test_imported_state_costs_one_full_pass(pair: Pair, moved: Pair) -> None:
    document = json.loads(json.dumps(export_state(pair.target_url), default=str))
    assert import_state(moved.target_url, document) == [T]
    receipt = moved.sync()
    assert receipt.watermark_before is not None
    assert receipt.rows_exported == 2
    assert moved.target("SELECT count(*) FROM sync_assets.receipt") == [(2,)]
    assert moved.sync().rows_exported == 0


@both_ways
def test_a_trusted_target_goes_on_from_the_mark(pair: Pair, moved: Pair) -> None:
    pair.source("INSERT INTO t VALUES (3)")
    import_state(moved.target_url, export_state(pair.target_url), trust_target=True)
    receipt = moved.sync()
    assert (receipt.rows_exported, receipt.rows_inserted) == (1, 1)
    assert moved.is_exact()


def test_only_a_table_that_is_there_can_be_trusted(pair: Pair, moved: Pair) -> None:
    moved.target("DROP TABLE t")
    with pytest.raises(errors.NoSuchRelation, match="to trust"):
        import_state(moved.target_url, export_state(pair.target_url), trust_target=True)
    assert export_state(moved.target_url)["tables"] == []


def test_what_is_remembered_is_not_overwritten(pair: Pair, moved: Pair) -> None:
    document = export_state(pair.target_url)
    with pytest.raises(errors.ConfigurationError, match="already"):
        import_state(pair.target_url, document)
    twice = {**document, "tables": document["tables"] * 2}
    with pytest.raises(errors.ConfigurationError):
        import_state(moved.target_url, twice)
    assert export_state(moved.target_url)["tables"] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state_version": 1}, "state version 1"),
        ({"state_version": "2"}, "not an exported state"),
        ({"tables": {}}, "not an exported state"),
        ({"tables": [{}]}, "not an exported state"),
        ({"tables": [{"state": {}, "state_leaf": [], "receipt": []}]}, "not an exported state"),
    ],
)
def test_another_document_is_refused(change: dict[str, Any], said: str) -> None:
    document = {"state_version": 2, "tables": []}
    with pytest.raises(errors.ConfigurationError, match=said):
        import_state("host=/nowhere", document | change)


def test_a_target_without_state_exports_none(pair: Pair) -> None:
    assert export_state(pair.target_url)["tables"] == []
    assert pair.target("SELECT to_regnamespace('sync_assets')") == [(None,)]


@both_ways
def test_a_forgotten_table_keeps_its_rows_and_starts_anew(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    pair.sync()
    pair.sync()
    known = remembered(pair.target_url, T)
    assert (known.source, known.receipts) == ("public.t", 2)
    assert forget(pair.target_url, T) == known
    for table in ("state", "state_leaf", "receipt"):
        assert pair.target(f"SELECT count(*) FROM sync_assets.{table}") == [(0,)]
    assert pair.is_exact()
    with pytest.raises(errors.NoSuchRelation, match="remembers no table"):
        forget(pair.target_url, T)
    assert pair.sync().watermark_before is None


def test_a_target_without_state_has_nothing_to_forget(pair: Pair) -> None:
    with pytest.raises(errors.NoSuchRelation, match="status --all"):
        forget(pair.target_url, T)


def test_nothing_is_forgotten_while_a_run_works_on_it(pair: Pair, connect: Connect) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)")
    pair.sync()
    connect(pair.target_url).cursor().execute("SELECT pg_advisory_lock(%s)", (advisory_key(T),))
    with pytest.raises(errors.ConcurrentRun):
        forget(pair.target_url, T)
    assert remembered(pair.target_url, T).receipts == 1


def test_status_shows_what_nobody_asked_for_when_told_to(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    engine = DataCopyEngine(pair.source_url, pair.target_url)
    for name in ("t", "u"):
        engine.copy_table_data_with_xmin(name, f"replica.{name}")
    asked = [Table(T, RelationName("replica", "t"))]
    assert [each.target for each in read_status(pair.source_url, pair.target_url, asked)] == [
        "replica.t"
    ]
    asked_for, other = read_status(pair.source_url, pair.target_url, asked, others=True)
    assert (asked_for.configured, other.configured) == (True, False)
    assert (other.source, other.target, other.lag_xids) == ("public.u", "replica.u", None)
