"""Many tables, each for itself: they share what can be shared, and no one's failure."""

from __future__ import annotations

import random
import re
from contextlib import closing

import psycopg2
import pytest

from sync_assets.engine import Deletes, Receipt, RelationName, SyncError, SyncMode, Table
from sync_assets.engine.errors import (
    Cancelled,
    ConcurrentRun,
    LockTimeout,
    NoSuchRelation,
    SchemaConflict,
)
from sync_assets.engine.plan import unchanged
from sync_assets.engine.postgres import time_outs
from sync_assets.engine.postgres.lock import advisory_key
from sync_assets.engine.progress import Progress
from sync_assets.engine.run import each, together
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways
from sync_assets_tests.fixtures.sessions import end_idle

pytestmark = both_ways

SESSIONS = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
MARKS = "SELECT target_table, watermark FROM sync_assets.state ORDER BY 1"


def made(pair: Pair, number: int) -> list[Table]:
    """So many tables of the source with a few rows each, named after their places."""
    names = [f"t{place:02d}" for place in range(number)]
    for name in names:
        pair.source(
            f"CREATE TABLE {name} (id integer PRIMARY KEY, v text)",
            f"INSERT INTO {name} SELECT i, '{name}' FROM generate_series(1, 10) i",
        )
    return [table(name) for name in names]


def table(name: str, **options: object) -> Table:
    relation = RelationName("public", name)
    return Table(relation, relation, **options)  # type: ignore[arg-type]


def written(outcomes: tuple[Receipt | SyncError, ...]) -> list[int]:
    """The rows that each run wrote; what failed is raised."""
    for outcome in outcomes:
        if isinstance(outcome, SyncError):
            raise outcome
    return [outcome.rows_written for outcome in outcomes if isinstance(outcome, Receipt)]


def failures(outcomes: tuple[Receipt | SyncError, ...]) -> dict[int, SyncError]:
    return {n: each for n, each in enumerate(outcomes) if isinstance(each, SyncError)}


def test_each_ends_exact_over_connections_that_are_as_many_for_few_as_for_many(pair: Pair) -> None:
    tables = made(pair, 30)
    end_idle()
    before = pair.source(SESSIONS)[0][0]
    assert written(pair.engine().sync_each(tables)) == [10] * 30
    assert pair.source(SESSIONS)[0][0] - before <= 4
    assert pair.is_exact(*(str(each.target) for each in tables))
    pair.source("UPDATE t03 SET v = 'new' WHERE id < 4", "INSERT INTO t17 VALUES (11, 'new')")
    assert written(pair.engine().sync_each(tables)) == [0] * 3 + [3] + [0] * 13 + [1] + [0] * 12
    assert pair.is_exact(*(str(each.target) for each in tables))
    assert pair.leftovers() == []


def test_what_has_not_changed_is_looked_at_and_its_mark_goes_on(pair: Pair) -> None:
    tables = made(pair, 4)
    pair.engine().sync_each(tables)
    receipts = "SELECT count(*) FROM sync_assets.receipt"
    before, told = pair.target(MARKS), pair.target(receipts)
    pair.source("INSERT INTO t02 VALUES (11, 'new')")
    outcomes = pair.engine().sync_each(tables)
    assert written(outcomes) == [0, 0, 1, 0]
    now = pair.target(MARKS)
    assert all(after > mark for (_, after), (_, mark) in zip(now, before, strict=True))
    assert len({mark for _, mark in now}) == 1
    assert pair.target(receipts) == [(told[0][0] + 1,)]
    # What they came to know is what the next run, of one alone, goes on from.
    assert pair.sync("public.t01").watermark_before == now[1][1]


def test_one_that_fails_takes_no_other_along(pair: Pair) -> None:
    tables = made(pair, 8)
    pair.engine().sync_each(tables)
    for each_ in tables:
        pair.source(f"UPDATE {each_.source.name} SET v = 'new' WHERE id = 1")
    pair.source("DROP TABLE t01")
    pair.target(
        "ALTER TABLE t03 ADD CHECK (v <> 'new')",
        "ALTER TABLE t04 ADD CHECK (id > 1) NOT VALID",
        "TRUNCATE t05",
        "ALTER TABLE t06 ALTER v TYPE bytea USING v::bytea",
    )
    outcomes = pair.engine().sync_each(tables)
    found = failures(outcomes)
    assert {n: type(error) for n, error in found.items()} == {
        1: NoSuchRelation,
        3: SchemaConflict,
        4: SchemaConflict,
        6: SchemaConflict,
    }
    assert all(error.table == f"public.t0{n}" for n, error in found.items())
    assert pair.is_exact("public.t00", "public.t02", "public.t05", "public.t07")
    assert pair.leftovers() == []


def test_a_target_that_another_run_works_on_holds_up_itself_alone(pair: Pair) -> None:
    tables = made(pair, 6)
    with closing(psycopg2.connect(pair.target_url)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (advisory_key(tables[2].target),))
        outcomes = pair.engine().sync_each(tables)
    assert {n: type(error) for n, error in failures(outcomes).items()} == {2: ConcurrentRun}
    assert pair.is_exact(*(str(each.target) for each in tables if each is not tables[2]))


def test_a_source_table_that_is_locked_holds_up_itself_alone_and_is_named_with_who_locks_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_outs, "LOCK", 500)
    tables = made(pair, 9)
    pair.source("CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    pair.source("CREATE TABLE leaf PARTITION OF parted FOR VALUES FROM (0) TO (9)")
    tables.append(table("parted"))
    with closing(psycopg2.connect(pair.source_url)) as migration, migration.cursor() as cursor:
        cursor.execute("LOCK TABLE t04, leaf")
        told = failures(pair.engine().sync_each(tables))
        holder = f"server process {migration.info.backend_pid} of the source .*holds a lock on "
    assert list(told) == [4, 9]
    for number, name in ((4, "t04"), (9, "parted")):
        assert isinstance(told[number], LockTimeout)
        assert re.search(holder + rf"public\.{name} ", str(told[number]))
    assert pair.target("SELECT count(*) FROM t05") == [(10,)]


def test_a_source_that_cannot_be_reached_is_told_of_each(pair: Pair) -> None:
    tables = made(pair, 3)
    gone = Pair(
        f"{pair.source_url.partition('?')[0]}_gone?{pair.source_url.partition('?')[2]}",
        pair.target_url,
    )
    assert sorted(failures(gone.engine().sync_each(tables))) == [0, 1, 2]


def test_a_cancelled_run_leaves_what_was_published_and_nothing_else(pair: Pair) -> None:
    tables = made(pair, 6)

    def follow(progress: Progress) -> None:
        if progress.table == "public.t03" and progress.phase == "merge":
            engine.cancel()

    engine = pair.engine(on_progress=follow)
    with pytest.raises(Cancelled):
        engine.sync_each(tables)
    assert pair.leftovers() == []
    pair.engine().sync_each(tables)
    assert pair.is_exact(*(str(each.target) for each in tables))


def test_the_same_run_asked_for_again_returns_what_it_did(pair: Pair) -> None:
    tables = made(pair, 3)
    first = pair.engine(run_id="once").sync_each(tables)
    pair.source("INSERT INTO t01 VALUES (11, 'later')")
    assert pair.engine(run_id="once").sync_each(tables) == first


def test_large_tables_and_other_relations_travel_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = made(pair, 4)
    pair.source("CREATE VIEW seen AS SELECT * FROM t00", "ALTER TABLE t03 ADD filler text")
    pair.source("UPDATE t03 SET filler = repeat('x', 1000)")
    monkeypatch.setattr(each, "SMALL", 1 << 13)
    viewed = table("seen", mode=SyncMode.FULL_SYNC, key=("id",))
    assert written(pair.engine().sync_each([*tables, viewed])) == [10] * 5
    assert pair.is_exact("public.t00", "public.t03", "public.seen")


@pytest.mark.parametrize("deletes", [Deletes.IGNORE, Deletes.HARD])
@pytest.mark.parametrize("seed", range(3))
def test_random_changes_of_many_tables_end_exact(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, seed: int, deletes: Deletes
) -> None:
    chance = random.Random(seed)
    tables = [table(str(each.source.name), deletes=deletes) for each in made(pair, 9)]
    monkeypatch.setattr(together, "TOGETHER", 4)
    with closing(psycopg2.connect(pair.source_url)) as late, late.cursor() as cursor:
        for turn in range(6):
            for changed in chance.sample(tables, 3):
                name = changed.source.name
                pair.source(f"INSERT INTO {name} VALUES (100 + {turn}, 'new {turn}')")
                pair.source(f"UPDATE {name} SET v = 'at {turn}' WHERE id % 5 = {turn % 5}")
                if deletes is Deletes.HARD:
                    pair.source(f"DELETE FROM {name} WHERE id = {chance.randint(1, 10)}")
            # A transaction that a run's snapshot does not see yet, and the next one must.
            cursor.execute(
                f"UPDATE {chance.choice(tables).source.name} SET v = 'late {turn}' WHERE id = 9"
            )
            written(pair.engine().sync_each(tables))
            late.commit()
        written(pair.engine().sync_each(tables))
    assert pair.is_exact(*(str(each.target) for each in tables))


def test_a_question_that_forgets_a_row_would_lose_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = made(pair, 3)
    pair.engine().sync_each(tables)
    pair.source("UPDATE t01 SET v = 'new'")
    monkeypatch.setattr(unchanged, "_can_be_asked", lambda plan: False)
    assert written(pair.engine().sync_each(tables)) == [0, 10, 0]


def test_what_each_of_many_would_do_is_told_over_one_connection_at_either_end(pair: Pair) -> None:
    tables = made(pair, 12)
    pair.engine().sync_each(tables[:6])
    pair.source("DROP TABLE t03", "UPDATE t04 SET v = 'new'")
    pair.target("ALTER TABLE t05 ALTER v TYPE bytea USING v::bytea")
    end_idle()
    before = pair.source(SESSIONS)[0][0]
    found = pair.engine().plan_each(tables)
    # One that reads, and one that watches over it where that takes a moment.
    assert pair.source(SESSIONS)[0][0] - before <= 4
    errors = {n: each_ for n, each_ in enumerate(found) if isinstance(each_, SyncError)}
    assert {n: type(error) for n, error in errors.items()} == {3: NoSuchRelation, 5: SchemaConflict}
    full = [not isinstance(each_, SyncError) and each_.full for each_ in found]
    assert full == [False] * 6 + [True] * 6
    told = {n: each_ for n, each_ in enumerate(found) if not isinstance(each_, SyncError)}
    # Of many it is known which of the small ones have changed.
    assert {n for n in range(6) if n in told and told[n].pages} == {4}
    for n in (4, 9):
        assert told[n] == pair.engine().plan(tables[n])
