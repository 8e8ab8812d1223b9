"""A marker moves when a table's rows may have, on a primary and on a standby alike."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from sync_assets.engine import RelationName, observe
from sync_assets.engine.inspection.observe import Observed
from sync_assets_tests.fixtures.pair import Pair, eventually, execute
from sync_assets_tests.fixtures.replicated import Replicated
from sync_assets_tests.fixtures.servers import Connect, both_ways

T, P, PARENT, EMPTY = (RelationName("public", name) for name in ("t", "p", "parent", "empty"))
TABLES = (
    "CREATE TABLE t (id int PRIMARY KEY, v int)",
    "INSERT INTO t SELECT g, 0 FROM generate_series(1, 1000) g",
    "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100)",
    "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200)",
    "CREATE TABLE parent (id int)",
    "CREATE TABLE child () INHERITS (parent)",
    "CREATE TABLE empty (id int) PARTITION BY RANGE (id)",
    "CREATE TABLE bystander (id int)",
)
ALL = (T, P, PARENT, EMPTY)


class Source:
    """A database that is written at one URL and observed at another."""

    def __init__(self, written: str, observed: str, settle: Callable[[], bool]) -> None:
        self.written, self.observed, self._settle = written, observed, settle
        self.execute(*TABLES)

    def execute(self, *statements: str) -> None:
        # Counters go to shared memory when a session ends, and are read from there at once.
        execute(self.written, *statements)
        assert self._settle()

    def look(self, before: Observed | None = None) -> Observed:
        return observe(self.observed, ALL, before)


@pytest.fixture(params=["primary", "standby"])
def source(request: pytest.FixtureRequest) -> Iterator[Source]:
    if request.param == "primary":
        url = request.getfixturevalue("source_url")
        yield Source(url, url, lambda: True)
        return
    replicated: Replicated = request.getfixturevalue("replicated")
    url = replicated.primary.create_database("observed")
    yield Source(url, replicated.standby.url("observed"), replicated.caught_up)
    replicated.primary.drop_database("observed")


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ("UPDATE t SET v = 1 WHERE id = 1", {T}),
        ("DELETE FROM t WHERE id = 1", {T}),
        ("TRUNCATE t", {T}),
        ("INSERT INTO p VALUES (150)", {P}),
        ("INSERT INTO child VALUES (1)", {PARENT}),
        ("CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (200) TO (300)", {P}),
        ("VACUUM FREEZE t", set()),
        ("INSERT INTO bystander VALUES (1)", set()),
        ("CHECKPOINT", set()),
    ],
)
def test_a_marker_moves_with_its_table_alone(
    source: Source, change: str, moved: set[RelationName]
) -> None:
    before = source.look()
    source.execute(change)
    after = source.look(before)
    assert {name for name in ALL if before.markers[name] != after.markers[name]} == moved


def test_a_relation_that_is_missing_has_no_marker(source_url: str) -> None:
    assert observe(source_url, [T]).markers == {}


def test_a_view_is_suspected_as_nothing_counts_what_it_shows(source_url: str) -> None:
    execute(source_url, *TABLES, "CREATE VIEW v AS SELECT * FROM t")
    name = RelationName("public", "v")
    before = observe(source_url, [name])
    assert before.suspected == {name}
    execute(source_url, "UPDATE t SET v = 1 WHERE id = 1")
    assert observe(source_url, [name]).markers != before.markers


def test_a_standby_that_replayed_nothing_is_not_read_again(replicated: Replicated) -> None:
    url = replicated.primary.create_database("quiet")
    source = Source(url, replicated.standby.url("quiet"), replicated.caught_up)

    def kept() -> bool:
        known = Observed({T: "kept", P: "kept"}, source.look().position)
        return source.look(known).markers[T] == "kept"

    # The primary writes a little WAL of its own now and then.
    assert eventually(kept)
    assert source.look(Observed({T: "kept"}, "0/0")).markers[T] != "kept"
    replicated.primary.drop_database("quiet")


def test_a_table_too_large_to_read_on_a_standby_is_suspected(
    replicated: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = replicated.primary.create_database("large")
    source = Source(url, replicated.standby.url("large"), replicated.caught_up)
    monkeypatch.setattr(sys.modules[observe.__module__], "PROBED_BYTES", 8192)
    before = source.look()
    assert before.suspected == {T}
    source.execute("INSERT INTO bystander VALUES (1)")
    after = source.look(before)
    assert before.markers[T] != after.markers[T]
    assert before.markers[P] == after.markers[P]
    replicated.primary.drop_database("large")


@both_ways
def test_what_a_procedure_commits_as_it_goes_moves_the_marker_when_its_call_ends(
    pair: Pair, connect: Connect
) -> None:
    pair.source(
        *TABLES,
        "CREATE PROCEDURE load() LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO t VALUES (5000); COMMIT; PERFORM pg_advisory_lock(1); END $$",
    )
    pair.sync()
    before = observe(pair.source_url, [T]).markers[T]
    holder = connect(pair.source_url).cursor()
    holder.execute("SELECT pg_advisory_lock(1)")
    calling = threading.Thread(target=pair.source, args=("CALL load()",))
    calling.start()
    assert eventually(lambda: pair.source("SELECT count(*) FROM t WHERE id = 5000") == [(1,)])
    assert observe(pair.source_url, [T]).markers[T] == before
    # A run that nobody's counters have to ask for reads it.
    assert pair.sync().rows_inserted == 1
    holder.execute("SELECT pg_advisory_unlock(1)")
    calling.join()
    assert eventually(lambda: observe(pair.source_url, [T]).markers[T] != before)


@both_ways
def test_a_marker_moves_when_the_counters_of_one_table_begin_anew(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id integer)", "INSERT INTO t VALUES (1)")
    before = observe(pair.source_url, [T]).markers[T]
    # They come to what they were before.
    pair.source("SELECT pg_stat_reset_single_table_counters('t'::regclass)")
    pair.source("INSERT INTO t VALUES (2)")
    assert observe(pair.source_url, [T]).markers[T] != before
