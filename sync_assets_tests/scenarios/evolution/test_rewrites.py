"""A table below a view, in a sub-select or in a function is rewritten as a run comes to read it.

The snapshot is taken before the lock is had, and sees no row of what was rewritten in between.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

import psycopg2
import pytest

from sync_assets.engine import RelationName, SyncMode, Table
from sync_assets.engine.errors import SourceChanged
from sync_assets.engine.inspection.why import why
from sync_assets.engine.verify.counts import count_rows
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

Result = TypeVar("Result")

TWO = (
    "CREATE TABLE a (id integer PRIMARY KEY)",
    "CREATE TABLE b (id integer PRIMARY KEY)",
    "INSERT INTO a SELECT generate_series(1, 400)",
    "INSERT INTO b SELECT generate_series(401, 1000)",
)
BOTH = "SELECT id FROM a UNION ALL SELECT id FROM b"
REWRITE = "ALTER TABLE a ADD COLUMN r float DEFAULT random()"
V = Table(
    RelationName("public", "v"), RelationName("public", "v"), key=("id",), mode=SyncMode.FULL_SYNC
)


def while_waiting(pair: Pair, change: str, work: Callable[[], Result]) -> Result:
    """Commit a change once somebody who works on the source waits for its locks."""
    waits = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'sync_assets' "
        "AND wait_event_type = 'Lock' AND datname = current_database()"
    )
    with ThreadPoolExecutor(1) as pool, closing(psycopg2.connect(pair.source_url)) as session:
        with session.cursor() as cursor:
            cursor.execute(change)
        working = pool.submit(work)
        assert eventually(lambda: working.done() or bool(pair.source(waits)))
        assert not working.done()
        session.commit()
        return working.result()


def full(pair: Pair, **options: Any) -> int:
    return pair.engine().copy_table_data("v", "v", key="id", **options).rows_exported


@pytest.mark.parametrize(
    ("create", "change", "rows"),
    [
        ([f"CREATE VIEW v AS {BOTH}"], REWRITE, 1000),
        (
            [f"CREATE VIEW v AS {BOTH}"],
            "TRUNCATE a; INSERT INTO a SELECT generate_series(1, 300)",
            900,
        ),
        (
            [
                "CREATE VIEW w AS SELECT id FROM b WHERE EXISTS (SELECT FROM a)",
                "CREATE VIEW v AS SELECT id, (SELECT count(*) FROM w) AS n FROM w",
            ],
            REWRITE,
            600,
        ),
        (
            [
                "CREATE TABLE child () INHERITS (a)",
                "INSERT INTO child SELECT -1",
                f"CREATE VIEW v AS {BOTH}",
            ],
            "ALTER TABLE child ADD COLUMN r float DEFAULT random()",
            1001,
        ),
        (
            [f"CREATE VIEW v AS {BOTH}"],
            "CREATE OR REPLACE VIEW v AS SELECT id FROM b; INSERT INTO b SELECT id FROM a; DELETE FROM a",
            1000,
        ),
        (
            [
                "CREATE MATERIALIZED VIEW m AS SELECT id FROM b EXCEPT SELECT id FROM a",
                "CREATE VIEW v AS SELECT id FROM a UNION ALL SELECT id FROM m",
            ],
            "INSERT INTO a SELECT generate_series(401, 500); REFRESH MATERIALIZED VIEW m",
            1000,
        ),
        (
            [
                "CREATE TABLE p (id integer) PARTITION BY RANGE (id)",
                "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
                "CREATE TABLE p_2 PARTITION OF p DEFAULT",
                "INSERT INTO p VALUES (1), (2)",
                "CREATE VIEW v AS SELECT id FROM p",
            ],
            "ALTER TABLE p DETACH PARTITION p_1; INSERT INTO p VALUES (1), (2)",
            2,
        ),
    ],
    ids=["rewrite", "truncate", "nested", "inherited", "replaced", "refresh", "detach"],
)
def test_what_a_view_reads_is_locked_or_proven(
    pair: Pair, create: list[str], change: str, rows: int
) -> None:
    pair.source(*TWO, *create)
    assert while_waiting(pair, change, lambda: full(pair)) == rows
    assert pair.is_exact("public.v")


def test_a_view_whose_owner_may_read_columns_alone_is_proven(pair: Pair) -> None:
    role = "sync_view_owner"
    pair.source(
        *TWO,
        f"DROP ROLE IF EXISTS {role}",
        f"CREATE ROLE {role}",
        f"GRANT SELECT (id) ON a, b TO {role}",
        f"GRANT CREATE ON SCHEMA public TO {role}",
        f"SET ROLE {role}; CREATE VIEW v AS {BOTH}",
    )
    try:
        assert while_waiting(pair, REWRITE, lambda: full(pair)) == 1000
        assert pair.is_exact("public.v")
    finally:
        pair.source(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize("option", ["where", "expressions"])
def test_a_sub_select_of_the_operator_s_is_proven(pair: Pair, option: str) -> None:
    pair.source(*TWO, "CREATE TABLE v (id integer PRIMARY KEY, n integer)")
    pair.source("INSERT INTO v SELECT id FROM a")
    text = "id IN (SELECT id FROM public.a)"
    choices: dict[str, dict[str, Any]] = {
        "where": {"where": text},
        "expressions": {"expressions": {"n": f"CASE WHEN {text} THEN id END"}},
    }
    assert while_waiting(pair, REWRITE, lambda: full(pair, **choices[option])) == 400
    counted = "SELECT count(*), count(n) FROM v"
    assert pair.target(counted) == [(400, 400 if option == "expressions" else 0)]


@pytest.mark.parametrize("parallel", ["UNSAFE", "SAFE"])
def test_a_function_that_read_a_rewritten_table_fails_the_run_and_the_next_is_right(
    pair: Pair, parallel: str
) -> None:
    pair.source(
        *TWO,
        # Each call of the function starts workers too: a few rows prove as much.
        "DELETE FROM b WHERE id > 440",
        f"CREATE FUNCTION known(integer) RETURNS boolean STABLE LANGUAGE plpgsql PARALLEL {parallel} "
        "AS 'BEGIN RETURN EXISTS (SELECT FROM public.a WHERE id = $1 - 400); END'",
        "CREATE VIEW v AS SELECT id FROM b WHERE known(id)",
    )
    for setting in ("parallel_setup_cost = 0", "min_parallel_table_scan_size = 0"):
        # The function would be called by a worker, whose locks nobody sees afterwards.
        pair.source(
            f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting}', current_database()); END $$"
        )
    with pytest.raises(SourceChanged, match=r"public\.a was rewritten"):
        while_waiting(pair, REWRITE, lambda: full(pair))
    assert pair.leftovers() == []
    assert full(pair) == 40
    assert pair.is_exact("public.v")


def test_comparisons_and_checks_of_a_view_see_all_of_it(pair: Pair) -> None:
    pair.source(*TWO, f"CREATE VIEW v AS {BOTH}")
    full(pair)

    def compared() -> Any:
        return pair.engine().verify(V, sync=False).equal

    def counted() -> Any:
        found = count_rows(pair.source_url, pair.target_url, V)
        return found.source == found.target == 1000

    for number, work in enumerate((compared, counted)):
        again = f"ALTER TABLE a ADD COLUMN r{number} float DEFAULT random()"
        assert while_waiting(pair, again, work), work


def test_a_row_of_a_table_that_is_being_rewritten_is_not_explained_as_gone(pair: Pair) -> None:
    pair.source(*TWO)
    a = Table(RelationName("public", "a"), RelationName("public", "a"))
    found = while_waiting(pair, REWRITE, lambda: why(pair.source_url, pair.target_url, a, ["7"]))
    assert found.on_source


def test_what_comes_from_another_server_is_not_called_exact(pair: Pair) -> None:
    pair.source(
        *TWO,
        "CREATE EXTENSION postgres_fdw",
        "DO $$ BEGIN EXECUTE format('CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS "
        "(dbname %L, host %L)', current_database(), current_setting('unix_socket_directories')); "
        "END $$",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER here OPTIONS (user 'postgres')",
        "CREATE FOREIGN TABLE f (id integer) SERVER here OPTIONS (table_name 'b')",
        "CREATE VIEW v AS SELECT id FROM a UNION ALL SELECT id FROM f",
    )
    for name in ("f", "v"):
        receipt = pair.engine().copy_table_data(name, name, key="id")
        assert not receipt.exact
        assert pair.is_exact(f"public.{name}")
