"""Which columns and rows travel, and what is computed in a column's place on the source."""

from __future__ import annotations

from typing import Any

import pytest

from sync_assets.engine import Deletes
from sync_assets.engine.errors import ConfigurationError, SyncError
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, status text, email varchar(80), n integer)"
FILL = (
    "INSERT INTO t SELECT i, CASE WHEN i % 2 = 0 THEN 'paid' ELSE 'open' END, "
    "'u' || i || '@example.org', i FROM generate_series(1, 100) i"
)
COLUMNS = "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"


@pytest.fixture(autouse=True)
def _filled(pair: Pair) -> None:
    pair.source(CREATE, FILL)


@pytest.mark.parametrize("choice", [{"columns": ["n", "id"]}, {"exclude": ["status", "email"]}])
def test_only_chosen_columns_travel(pair: Pair, choice: dict[str, Any]) -> None:
    pair.sync(**choice)
    assert [name for name, _ in pair.target(COLUMNS)] == ["id", "n", "source_xmin"]
    pair.source("UPDATE t SET status = 'x' WHERE id = 1", "UPDATE t SET n = 0 WHERE id = 2")
    receipt = pair.sync(**choice)
    assert (receipt.rows_exported, receipt.rows_updated, receipt.rows_unchanged) == (2, 1, 1)


def test_a_column_that_is_chosen_later_arrives_with_all_its_values(pair: Pair) -> None:
    pair.sync(exclude="email")
    pair.sync()
    assert pair.is_exact()


def test_an_expression_replaces_what_must_not_leave(pair: Pair) -> None:
    options: dict[str, Any] = {
        "expressions": {"email": "md5(email)", "domain": "split_part(email, '@', 2)"}
    }
    exported = pair.engine().export_to_csv_with_xmin("t", **options)
    assert all(b"@" not in path.read_bytes() for path in exported.paths)
    exported.remove()
    pair.sync(**options)
    assert pair.target(COLUMNS) == [
        ("id", "integer"),
        ("status", "text"),
        ("email", "text"),
        ("n", "integer"),
        ("domain", "text"),
        ("source_xmin", "bigint"),
    ]
    wanted = "SELECT count(*) FROM t WHERE email = md5('u' || id || '@example.org') AND domain = 'example.org'"
    assert pair.target(wanted) == [(100,)]
    pair.source("UPDATE t SET email = 'new@example.com' WHERE id = 1")
    assert pair.sync(**options).rows_updated == 1
    changed = pair.target("SELECT domain FROM t WHERE email = md5('new@example.com')")
    assert changed == [("example.com",)]
    assert pair.target("SELECT count(*) FROM t WHERE t::text ~ '@'") == [(0,)]


def test_what_an_expression_replaces_is_never_filled_from_the_catalog(pair: Pair) -> None:
    pair.sync()
    pair.source("DELETE FROM t WHERE id = 1", "ALTER TABLE t ADD phone text DEFAULT '555 1234'")
    pair.sync(expressions={"phone": "md5(phone)"})
    seen = "SELECT phone = md5('555 1234'), count(*) FROM t GROUP BY 1 ORDER BY 1"
    # The row that only the target has was never older than the column.
    assert pair.target(seen) == [(True, 99), (None, 1)]


def test_an_expression_s_type_flows_into_the_target(pair: Pair) -> None:
    pair.sync(
        expressions={
            "n": "n / 3.0",
            "email": "ARRAY[email, NULL]",
            "flag": "status = 'paid'",
            "code": "id::character(4)",
        }
    )
    assert dict(pair.target(COLUMNS)) == {
        "id": "integer",
        "status": "text",
        "email": "character varying[]",
        "n": "numeric",
        "flag": "boolean",
        "code": "bpchar",
        "source_xmin": "bigint",
    }


def test_only_rows_that_pass_the_filter_travel(pair: Pair) -> None:
    receipt = pair.sync(where="status = 'paid' AND n > 10")
    assert receipt.rows_inserted == 45
    pair.source("UPDATE t SET n = n + 1000 WHERE id <= 4")
    assert pair.sync(where="status = 'paid' AND n > 10").rows_inserted == 2


def test_a_row_that_leaves_the_scope_is_kept_and_counted(pair: Pair) -> None:
    where = "status = 'paid'"
    pair.sync(where=where)
    pair.source(
        "UPDATE t SET status = 'secret', email = 'hidden' WHERE id IN (2, 4)",
        "UPDATE t SET n = 0 WHERE id IN (1, 6)",
    )
    receipt = pair.sync(where=where)
    assert (receipt.rows_left_scope, receipt.rows_updated, receipt.rows_inserted) == (2, 1, 0)
    assert receipt.rows_unchanged == 0
    assert pair.target("SELECT count(*) FROM t WHERE status <> 'paid' OR email = 'hidden'") == [
        (0,)
    ]
    assert pair.target("SELECT count(*) FROM t") == [(50,)]


@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_a_row_that_leaves_the_scope_is_removed_where_deletes_are(pair: Pair, deletes: str) -> None:
    options: dict[str, Any] = {"where": "status = 'paid'", "deletes": deletes}
    pair.sync(**options)
    pair.source("UPDATE t SET status = 'open' WHERE id IN (2, 4)", "DELETE FROM t WHERE id = 6")
    assert pair.sync(**options).rows_deleted == 3
    gone = "SELECT count(*) FROM t" + (" WHERE deleted_at IS NULL" if deletes == "soft" else "")
    assert pair.target(gone) == [(47,)]
    pair.source("UPDATE t SET status = 'paid' WHERE id = 2")
    receipt = pair.sync(**options)
    assert receipt.rows_inserted + receipt.rows_updated == 1
    assert pair.target(gone) == [(48,)]


def test_a_changed_filter_is_a_full_pass(pair: Pair) -> None:
    pair.sync(where="n <= 10")
    receipt = pair.sync(where="n <= 20")
    assert "configuration of the table changed" in receipt.reason
    assert (receipt.rows_inserted, receipt.rows_only_in_target) == (10, 0)
    assert pair.sync(where="n <= 5", deletes="hard").rows_deleted == 15


@pytest.mark.parametrize(
    "where",
    ["n > extract(day FROM now())", "random() < 0.5", "id IN (SELECT 1)", "n > nowhere(1)"],
)
def test_a_filter_must_depend_on_the_row_alone_unless_everything_is_read(
    pair: Pair, where: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"could not prove|refuses") as caught:
        pair.sync(where=where)
    assert "full_sync" in caught.value.remedy or "nowhere" in where
    assert pair.target("SELECT to_regclass('t') IS NULL") == [(True,)]
    if "nowhere" not in where:
        pair.engine().copy_table_data("t", "t", where=where, allow_empty=True)
    assert pair.leftovers() == []


@pytest.mark.parametrize(
    "where", ["true) OR (true", "true; DROP TABLE t", "n > 1 -- all", "n > 1 /* all */", "'", " "]
)
def test_a_filter_is_one_expression(pair: Pair, where: str) -> None:
    with pytest.raises(ConfigurationError, match="not one SQL expression"):
        pair.sync(where=where)


def test_parentheses_and_quotes_within_quotes_are_text(pair: Pair) -> None:
    where = """status <> ') ; -- ''' AND email <> E'\\'(' AND status <> $x$ '; $x$ AND "n" > 90"""
    assert pair.sync(where=where).rows_inserted == 10


def test_a_filter_cannot_write(pair: Pair) -> None:
    pair.source(
        "CREATE FUNCTION spoil(n integer) RETURNS boolean LANGUAGE plpgsql AS "
        "$$ BEGIN DELETE FROM t; RETURN true; END $$"
    )
    with pytest.raises(SyncError, match="read-only transaction"):
        pair.engine().copy_table_data("t", "t", where="spoil(n)")
    assert pair.source("SELECT count(*) FROM t") == [(100,)]


def test_functions_are_found_where_the_role_would_find_them(pair: Pair) -> None:
    function = "CREATE FUNCTION masked(text) RETURNS text IMMUTABLE RETURN 'x' || length($1)"
    pair.source(function)
    pair.target(function)
    pair.sync(expressions={"email": "masked(email)"}, where="masked(status) = 'x4'")
    assert pair.target("SELECT DISTINCT left(email, 1) FROM t") == [("x",)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": ["id", "nope"]}, "columns names 'nope'"),
        ({"exclude": "nope"}, "exclude names 'nope'"),
        ({"columns": ["id"], "exclude": ["n"]}, "both set"),
        ({"exclude": "id"}, "neither a primary key"),
        ({"expressions": {"id": "id + 1"}}, "would change the key"),
        ({"expressions": {"n": "missing + 1"}}, "refuses"),
        ({"expressions": {"n": "n + 1"}, "exclude": "n"}, "left out"),
    ],
)
def test_a_wrong_scope_is_refused_in_words(pair: Pair, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SyncError, match=said) as caught:
        pair.sync(**options)
    assert caught.value.remedy
    assert pair.target("SELECT to_regclass('t') IS NULL") == [(True,)]


NAMED = {
    "regclass": ("public.t", "pg_catalog.pg_class"),
    "regtype": ("public.mood", "integer"),
    "regproc": ("public.f", "pg_catalog.now"),
    "regprocedure": ("public.f(integer)", "pg_catalog.abs(integer)"),
    "regcollation": ('public."odd one"', 'pg_catalog."C"'),
    "regnamespace": ("public", "pg_catalog"),
    "regrole": ("postgres", "postgres"),
    "aclitem": ("postgres=r/postgres", "=r/postgres"),
    "refcursor": ("public.t", ""),
    "regclass[]": ("{public.t,NULL}", "{}"),
    "place": ("(public.t)", "(pg_catalog.pg_class)"),
}


@pytest.fixture
def named(pair: Pair) -> Pair:
    """Values whose text says less, the more schemas the reader's search_path has."""
    objects = (
        "CREATE TYPE mood AS ENUM ('calm')",
        "CREATE FUNCTION f(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1'",
        'CREATE COLLATION "odd one" FROM pg_catalog."C"',
        "CREATE TYPE place AS (at regclass)",
    )
    pair.target(*objects, "CREATE TABLE t ()")
    pair.source(*objects, f"CREATE TABLE named (id integer PRIMARY KEY, {typed()})", fill())
    return pair


def typed() -> str:
    return ", ".join(f"c{number} {type_}" for number, type_ in enumerate(NAMED))


def fill() -> str:
    rows = zip(*NAMED.values(), strict=True)
    return "INSERT INTO named VALUES " + ", ".join(
        f"({number}, {', '.join(f'{value!r}' for value in values)})"
        for number, values in enumerate(rows)
    )


@pytest.mark.parametrize(
    "options",
    [{"where": "id < 100"}, {"expressions": (("twice", "id * 2"), ("again", "c0"))}],
    ids=["where", "expressions"],
)
def test_names_of_objects_arrive_with_their_schemas(named: Pair, options: dict[str, Any]) -> None:
    named.sync("named", **options)
    # Each end says the same under a path without any schema.
    for number in range(len(NAMED)):
        shown = (
            "SET search_path = pg_catalog",
            f"SELECT c{number}::text FROM public.named ORDER BY id",
        )
        assert named.target(*shown) == named.source(*shown)
    named.source("UPDATE named SET id = 7 WHERE id = 1")
    assert named.verify("named", sync=True, deletes=Deletes.HARD, **options).equal


def test_beside_them_a_function_is_named_with_its_schema(named: Pair) -> None:
    with pytest.raises(ConfigurationError, match=r"f\(integer\) does not exist.*the schemas"):
        named.sync("named", where="f(id) = 1")
    assert named.sync("named", where="public.f(id) = 1").rows_inserted == 1
    assert named.sync("named", where="f(id) = 1", columns=["id"]).rows_unchanged == 1
