"""Rows that take over each other's values under constraints besides the key."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from sync_assets.engine import Receipt, RelationName, SyncMode, Table
from sync_assets.engine.errors import DeleteGuard, SchemaConflict
from sync_assets.engine.table import Deletes, LateCommits
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CONSTRAINTS = (
    "ALTER TABLE t ADD CONSTRAINT t_rank_key UNIQUE (rank)",
    "CREATE UNIQUE INDEX t_code ON t (lower(code)) WHERE code <> 'free'",
    "ALTER TABLE t ADD CONSTRAINT t_span_excl EXCLUDE USING gist (span WITH &&)",
)
CREATE = "CREATE TABLE t (id integer PRIMARY KEY, rank integer NOT NULL, code text NOT NULL, span int4range)"
FILL = "INSERT INTO t SELECT i, i, 'C' || i, int4range(i * 10, i * 10 + 5) FROM generate_series(1, 300) i"
LATER = ("ALTER TABLE t DROP CONSTRAINT {0}", "ALTER TABLE t ADD CONSTRAINT {0} {1} DEFERRABLE {2}")
EXTRA = "ALTER TABLE t ADD COLUMN mine text DEFAULT 'default'"
MARK_EXTRA = "UPDATE t SET mine = 'own ' || id"


def deferred(*statements: str) -> tuple[str, ...]:
    """Statements of one transaction that may break the source's constraints on their way."""
    names = "t_rank_key, t_span_excl"
    return (f"BEGIN; SET CONSTRAINTS {names} DEFERRED; {'; '.join(statements)}; COMMIT",)


def mends(error: SchemaConflict) -> list[str]:
    """The statements that a remedy holds."""
    return re.findall(r"(?:ALTER|DROP) [^;]*;", error.remedy)


@pytest.fixture
def ranked(pair: Pair) -> Pair:
    """A synced table with three constraints besides its key on both ends."""
    later = (
        "ALTER TABLE t ADD CONSTRAINT t_rank_key UNIQUE (rank) DEFERRABLE",
        CONSTRAINTS[1],
        "ALTER TABLE t ADD CONSTRAINT t_span_excl EXCLUDE USING gist (span WITH &&) DEFERRABLE",
    )
    pair.source(CREATE, FILL, *later)
    pair.sync(deletes="hard")
    pair.target(*CONSTRAINTS, EXTRA, MARK_EXTRA)
    return pair


SWAP = deferred(
    "UPDATE t SET rank = 3 - rank, span = int4range(30 - lower(span), 35 - lower(span)) WHERE id <= 2"
)
SHIFT = deferred(
    "UPDATE t SET rank = rank + 1, span = int4range(lower(span) + 10, upper(span) + 10)"
)
TAKEN_OVER = (
    "CREATE TEMP TABLE was AS SELECT * FROM t WHERE id = 9",
    "DELETE FROM t WHERE id = 9",
    "INSERT INTO t SELECT 1009, rank, lower(code), span FROM was",
)
CHANGES = {
    "two rows swap": SWAP,
    "all values shift": SHIFT,
    "a code moves through a third": (
        "CREATE TEMP TABLE was AS SELECT * FROM t WHERE id IN (3, 4)",
        "UPDATE t SET code = 'free' WHERE id IN (3, 4)",
        "UPDATE t SET code = was.code FROM was WHERE t.id = 7 - was.id",
    ),
    "a new row takes what an old one left": (
        "CREATE TEMP TABLE was AS SELECT * FROM t WHERE id = 5",
        "UPDATE t SET rank = 999, code = 'x', span = NULL WHERE id = 5",
        "INSERT INTO t SELECT 1005, rank, lower(code), span FROM was",
    ),
    "a deleted row's values are taken over": TAKEN_OVER,
}
MODES: dict[str, Callable[[Pair], Receipt]] = {
    "hard": lambda pair: pair.sync(deletes="hard"),
    "ignore": lambda pair: pair.sync(),
    "full refresh": lambda pair: pair.sync(full_refresh=True),
    "full sync": lambda pair: pair.engine().copy_table_data("t", "t"),
}


@pytest.mark.parametrize("mode", MODES)
def test_values_that_rows_take_over_from_each_other_arrive(ranked: Pair, mode: str) -> None:
    for change in CHANGES.values():
        rows = dict(ranked.source("SELECT id, t::text FROM t"))
        ranked.source(*change)
        now = dict(ranked.source("SELECT id, t::text FROM t"))
        receipt = MODES[mode](ranked)
        assert receipt.rows_inserted == len(now.keys() - rows.keys())
        assert receipt.rows_updated == sum(now[n] != rows[n] for n in now.keys() & rows.keys())
        assert receipt.rows_deleted == len(rows.keys() - now.keys())
        assert ranked.is_exact()
        assert receipt.rows_in_target in {None, len(now)}
    # What only the target has stays with its row, and a new one has the default.
    assert ranked.target("SELECT id FROM t WHERE mine <> 'own ' || id ORDER BY id") == [
        (1005,),
        (1009,),
    ]


def test_a_row_that_makes_way_is_named_and_guarded(ranked: Pair) -> None:
    ranked.source(*TAKEN_OVER)
    receipt = ranked.sync()
    assert (receipt.rows_deleted, receipt.rows_inserted) == (1, 1)
    assert receipt.events == ("1 rows that the source no longer has made way at t_code",)
    ranked.source(
        "CREATE TEMP TABLE was AS SELECT * FROM t WHERE id < 200",
        "DELETE FROM t WHERE id < 200",
        "INSERT INTO t SELECT id + 5000, rank, code, span FROM was",
    )
    with pytest.raises(DeleteGuard, match="198 of 300 rows"):
        ranked.sync()
    assert ranked.sync(confirm_deletes=198).rows_deleted == 198
    assert ranked.is_exact()


def test_a_row_makes_way_by_a_key_of_several_columns(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (a integer, b text, rank integer, PRIMARY KEY (a, b))",
        "INSERT INTO t SELECT i, 'b', i FROM generate_series(1, 30) i",
    )
    pair.sync()
    pair.target("ALTER TABLE t ADD CONSTRAINT t_rank_key UNIQUE (rank)")
    pair.source("DELETE FROM t WHERE a = 9", "INSERT INTO t VALUES (9, 'another', 9)")
    receipt = pair.sync()
    assert (receipt.rows_deleted, receipt.rows_inserted) == (1, 1)
    assert pair.is_exact()


def test_a_marked_row_makes_way_too(ranked: Pair) -> None:
    ranked.sync(deletes="soft")
    ranked.source("DELETE FROM t WHERE id = 8", *TAKEN_OVER)
    receipt = ranked.sync(deletes="soft")
    # Marked first, and so counted once.
    assert (receipt.rows_deleted, receipt.rows_inserted, receipt.rows_in_target) == (2, 1, 299)
    assert "made way" in receipt.events[0]
    assert ranked.target("SELECT id FROM t WHERE deleted_at IS NOT NULL") == [(8,)]


def test_rows_found_wrong_are_repaired_whatever_is_in_their_way(ranked: Pair) -> None:
    ranked.target(
        "UPDATE t SET rank = 1000 + id, span = NULL WHERE id < 4",
        "UPDATE t SET rank = CASE id WHEN 1 THEN 2 WHEN 2 THEN 3 ELSE 1 END WHERE id < 4",
        "DELETE FROM t WHERE id = 7",
        "INSERT INTO t SELECT 5000, 7, 'C7'",
    )
    seen = ranked.verify(repair=True)
    assert seen.repaired is not None
    assert (seen.repaired.rows_deleted, seen.repaired.rows_updated) == (1, 3)
    assert seen.equal
    assert ranked.is_exact()
    ranked.source(*SWAP)
    assert ranked.verify().rows_pending == 2
    assert ranked.verify(sync=True).equal


@pytest.fixture
def unique(pair: Pair) -> Pair:
    """A synced table whose `u` is unique on both ends."""
    pair.source("CREATE TABLE t (id integer PRIMARY KEY, u text UNIQUE)")
    pair.source("INSERT INTO t SELECT i, 'U' || i FROM generate_series(1, 9) i")
    pair.target("CREATE TABLE t (id integer PRIMARY KEY, u text CONSTRAINT t_u UNIQUE)")
    pair.sync()
    return pair


@pytest.mark.parametrize("deletes", ["ignore", "hard"])
def test_a_row_that_was_changed_by_hand_does_not_make_way(unique: Pair, deletes: str) -> None:
    unique.target("UPDATE t SET u = 'taken' WHERE id = 1")
    unique.source("UPDATE t SET u = 'taken' WHERE id = 2")
    with pytest.raises(SchemaConflict, match="the source still has them") as caught:
        unique.sync(deletes=deletes)
    assert "--full-refresh" in caught.value.remedy
    assert unique.target("SELECT count(*) FROM t") == [(9,)]
    unique.sync(deletes=deletes, full_refresh=True)
    assert unique.is_exact()


def test_a_row_that_only_a_stricter_target_forbids_does_not_make_way(unique: Pair) -> None:
    unique.target("ALTER TABLE t DROP CONSTRAINT t_u", "CREATE UNIQUE INDEX t_u ON t (lower(u))")
    unique.source("INSERT INTO t VALUES (10, 'u1')")
    with pytest.raises(SchemaConflict, match="the source still has them") as caught:
        unique.sync()
    unique.target(*mends(caught.value))
    unique.sync()
    assert unique.is_exact()


def test_a_row_that_was_not_yet_synced_does_not_make_way_for_a_repaired_one(unique: Pair) -> None:
    unique.target(
        "CREATE TABLE child (t integer REFERENCES t ON DELETE CASCADE)",
        "INSERT INTO child VALUES (1)",
        "UPDATE t SET u = 'wrong' WHERE id = 2",
    )
    unique.source("UPDATE t SET u = 'moved' WHERE id = 1")
    unique.target("UPDATE t SET u = 'U2' WHERE id = 1")
    with pytest.raises(SchemaConflict, match="the source still has them"):
        unique.verify(repair=True, deletes=Deletes.HARD)
    assert unique.target("SELECT count(*) FROM child") == [(1,)]
    unique.verify(sync=True)
    unique.verify(repair=True)
    assert unique.is_exact()


def test_a_row_that_is_gone_makes_way_though_the_cursor_cannot_tell(unique: Pair) -> None:
    name = RelationName("public", "t")
    table = Table(
        name, name, SyncMode.INCREMENTAL_SYNC, cursor="id", late_commits=LateCommits.LOOKBACK
    )
    unique.engine().sync(table)
    unique.source("DELETE FROM t WHERE id = 9", "INSERT INTO t VALUES (10, 'U9')")
    assert unique.engine().sync(table).rows_deleted == 1
    assert unique.is_exact()


@pytest.mark.parametrize(
    ("code", "said"),
    [("c1", "t_code does not allow"), ("same", r"t_code of public\.t does not allow")],
)
def test_rows_that_the_target_does_not_allow_beside_each_other_are_told(
    ranked: Pair, code: str, said: str
) -> None:
    ranked.source("DROP INDEX t_code", f"UPDATE t SET code = '{code}' WHERE id IN (2, 3)")
    with pytest.raises(SchemaConflict, match=said) as caught:
        ranked.sync(deletes="hard")
    assert caught.value.remedy.endswith('Drop it, on the target: DROP INDEX "public"."t_code";')
    ranked.target(*mends(caught.value))
    ranked.sync(deletes="hard")
    assert ranked.is_exact()


@pytest.mark.parametrize("action", ["CASCADE", "RESTRICT", "SET NULL"])
def test_a_foreign_key_that_acts_on_deletes_is_not_set_off(ranked: Pair, action: str) -> None:
    ranked.target(
        f"CREATE TABLE child (t integer REFERENCES t ON DELETE {action}, code text)",
        "INSERT INTO child SELECT id, code FROM t",
        "ALTER TABLE t ALTER code DROP NOT NULL, DROP CONSTRAINT t_rank_key",
        "CREATE UNIQUE INDEX t_plain ON t (code) WHERE code <> 'free'",
        "DROP INDEX t_code",
    )
    # What may be NULL is parked, what may not is refused with a way out.
    ranked.source(*CHANGES["a code moves through a third"])
    assert ranked.sync(deletes="hard").rows_updated == 2
    assert ranked.is_exact()
    ranked.target(CONSTRAINTS[0], "ALTER TABLE t ALTER code SET NOT NULL")
    for change in (SWAP, CHANGES["a code moves through a third"]):
        ranked.source(*change)
        with pytest.raises(SchemaConflict, match=r"child_t_fkey on .*child acts") as caught:
            ranked.sync(deletes="hard")
        ranked.target(*mends(caught.value))
        ranked.sync(deletes="hard")
        assert ranked.is_exact()
    assert ranked.target("SELECT count(*) FROM child JOIN t ON t.id = child.t") == [(300,)]


def test_constraints_that_are_checked_late_need_nothing(ranked: Pair) -> None:
    for name, definition in (
        ("t_rank_key", "UNIQUE (rank)"),
        ("t_span_excl", "EXCLUDE USING gist (span WITH &&)"),
    ):
        for statement in LATER:
            ranked.target(statement.format(name, definition, "INITIALLY DEFERRED"))
    for change in CHANGES.values():
        ranked.source(*change)
        ranked.sync()
        assert ranked.is_exact()


@pytest.mark.parametrize("action", ["", "ON DELETE CASCADE"])
def test_tables_of_a_group_swap_values_under_their_foreign_keys(pair: Pair, action: str) -> None:
    tables = (
        "CREATE TABLE a (id integer PRIMARY KEY, email text UNIQUE DEFERRABLE)",
        f"CREATE TABLE b (id integer PRIMARY KEY, a integer UNIQUE DEFERRABLE REFERENCES a {action})",
    )
    plain = [each.replace(" DEFERRABLE", "") for each in tables]
    pair.source(
        *tables,
        "INSERT INTO a SELECT i, 'e' || i FROM generate_series(1, 9) i",
        "INSERT INTO b SELECT i, i FROM generate_series(1, 9) i",
    )
    pair.target(*plain)
    names = [RelationName("public", name) for name in "ba"]
    group = [Table(n, n, SyncMode.XMIN_INCREMENTAL, deletes=Deletes.HARD) for n in names]
    pair.engine().sync_group(group)
    pair.source("UPDATE a SET email = 'e' || 10 - id", "UPDATE b SET a = 10 - a")
    pair.source(
        "DELETE FROM b WHERE id = 1",
        "DELETE FROM a WHERE id = 9",
        "INSERT INTO a VALUES (11, 'e1')",
    )
    pair.engine().sync_group(group)
    assert pair.is_exact("public.a", "public.b")


def test_rows_without_a_key_and_partitions_swap_as_well(pair: Pair) -> None:
    pair.source("CREATE TABLE t (u integer UNIQUE DEFERRABLE, v text)")
    pair.target("CREATE TABLE t (u integer UNIQUE, v text)")
    pair.source("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (NULL, 'c'), (NULL, 'c')")
    pair.engine().copy_table_data("t", "t")
    pair.source("UPDATE t SET u = 3 - u")
    pair.engine().copy_table_data("t", "t")
    parts = (
        "CREATE TABLE p (id integer, u integer, v text, PRIMARY KEY (id, u)) PARTITION BY RANGE (u)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE p2 PARTITION OF p DEFAULT",
    )
    pair.source(*parts, "INSERT INTO p SELECT i, i, 'v' || i FROM generate_series(1, 200) i")
    pair.target(*parts, "ALTER TABLE p1 ADD UNIQUE (v)", "ALTER TABLE p ADD UNIQUE (u, v)")
    pair.sync("public.p")
    pair.source("UPDATE p SET v = 'v' || 3 - id WHERE id < 3")
    assert pair.sync("public.p").rows_updated == 2
    assert pair.is_exact("public.t", "public.p")


def test_columns_that_only_the_target_has_stay_as_they_are(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id integer PRIMARY KEY, u integer UNIQUE DEFERRABLE)")
    pair.source("INSERT INTO t VALUES (1, 1), (2, 2)")
    pair.target(
        "CREATE TABLE t (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, u integer UNIQUE,"
        ' mine serial, "o\'%s ""x" text DEFAULT random(), twice integer GENERATED ALWAYS AS (2 * u)'
        " STORED, gone text)",
        "ALTER TABLE t DROP COLUMN gone",
    )
    pair.sync(deletes="soft")
    own = 'SELECT id, mine, "o\'%s ""x" FROM t ORDER BY id'
    before = pair.target(own)
    pair.source("UPDATE t SET u = 3 - u")
    assert pair.sync(deletes="soft").rows_updated == 2
    assert pair.target(own) == before
    assert pair.target("SELECT u, twice FROM t ORDER BY id") == [(2, 4), (1, 2)]


def test_any_permutation_arrives(ranked: Pair) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    dice = random.Random(seed)
    modes = list(MODES.values())
    for number in range(8):
        few = dice.sample([n for (n,) in ranked.source("SELECT id FROM t")], dice.randint(2, 12))
        values = ranked.source(f"SELECT rank, code, span::text FROM t WHERE id = ANY (ARRAY{few})")
        dice.shuffle(values)
        new = [dice.choice([each, 2000 + 20 * number + at]) for at, each in enumerate(few)]
        rows = ", ".join(
            f"({key}, {rank}, '{code.swapcase()}', nullif('{span}', 'None')::int4range)"
            for key, (rank, code, span) in zip(new, values, strict=True)
        )
        ranked.source(
            f"BEGIN; DELETE FROM t WHERE id = ANY (ARRAY{few}); INSERT INTO t VALUES {rows}; COMMIT"
        )
        dice.choice(modes)(ranked)
        assert ranked.is_exact(), seed
