"""`sync-assets compare`: a copy that is not ours is compared as it is, and nothing is written."""

from __future__ import annotations

import re
from typing import Any

import pytest
from click.testing import CliRunner, Result
from psycopg2.extensions import parse_dsn

from sync_assets.cli import main, run_display
from sync_assets.engine.errors import Cancelled, PrivilegeError
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.connection import Sessions
from sync_assets.engine.verify import copies
from sync_assets.engine.verify.copied_columns import Copy
from sync_assets.engine.verify.copies import compare_copy
from sync_assets_tests.fixtures.documents import valid
from sync_assets_tests.fixtures.pair import Pair

ORDERS = (
    "CREATE TABLE orders (id integer, line integer, v text, PRIMARY KEY (id, line))",
    "INSERT INTO orders SELECT i, 1, 'classified' FROM generate_series(1, 50) AS i",
)


@pytest.fixture
def ends(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """A table and its copy, made by nobody of ours."""
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    pair.source(*ORDERS)
    pair.target(*ORDERS)
    return pair


def compared(*words: str) -> Result:
    return CliRunner().invoke(main, ["compare", "source", "target", *words, "--again-after", "0"])


def seen(*words: str) -> list[dict[str, Any]]:
    result = compared(*words, "--json")
    tables: list[dict[str, Any]] = valid("compare", result.stdout)["tables"]
    return tables


def test_a_copy_is_equal_and_nothing_of_ours_is_made(ends: Pair) -> None:
    result = compared("public.orders")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].split() == [
        "public.orders",
        *("50", "50", "0", "0", "0"),
        "equal",
    ]
    made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'sync_assets'"
    assert ends.source(made) == ends.target(made) == [(0,)]


def test_rows_that_differ_are_named_by_their_keys(ends: Pair) -> None:
    ends.target(
        "CREATE SCHEMA raw",
        "ALTER TABLE orders SET SCHEMA raw",
        "UPDATE raw.orders SET v = 'other' WHERE id = 7",
        "DELETE FROM raw.orders WHERE id IN (8, 9)",
        "INSERT INTO raw.orders VALUES (99, 1, 'x')",
    )
    result = compared("orders=raw.orders", "--examples", "3")
    assert result.exit_code == 1
    assert "id=7, line=1" in result.stdout
    assert "classified" not in result.output
    (found,) = seen("orders=raw.orders")
    assert (found["rows_source"], found["rows_target"]) == (50, 49)
    assert found["looked_again"]
    counts = ("rows_differing", "rows_only_in_source", "rows_only_in_target", "rows_settled")
    assert [found[name] for name in counts] == [1, 2, 1, 0]
    assert {"kind": "only_in_target", "key": {"id": "99", "line": "1"}} in found["examples"]


def test_a_glob_stands_for_the_tables_of_the_source(ends: Pair) -> None:
    for side, schema in ((ends.source, "sales"), (ends.target, "raw")):
        side(f"CREATE SCHEMA {schema}")
        for name in ("items", "prices", "주문"):
            side(f"CREATE TABLE {schema}.{name} (id int PRIMARY KEY)")
    ends.source(
        "CREATE VIEW sales.recent AS TABLE sales.items", "INSERT INTO sales.주문 VALUES (1)"
    )
    found = {each["target"]: each["equal"] for each in seen("sales.*=raw.*", "orders")}
    assert found == {
        "raw.items": True,
        "raw.prices": True,
        "raw.주문": False,
        "public.orders": True,
    }
    assert [each["target"] for each in seen("ord*", "public.orders")] == ["public.orders"]
    # One that was not copied is told, and takes no other along.
    ends.target("ALTER TABLE raw.items SET SCHEMA public")
    missing, *others = seen("sales.*=raw.*")
    assert (missing["target"], missing["error"]["kind"]) == ("raw.items", "SchemaConflict")
    assert len(others) == 2


def test_a_line_says_where_it_is(ends: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sales.one", "sales.two"):
        ends.source("CREATE SCHEMA IF NOT EXISTS sales", f"CREATE TABLE {name} AS TABLE orders")
        ends.target("CREATE SCHEMA IF NOT EXISTS sales", f"CREATE TABLE {name} AS TABLE orders")
    monkeypatch.setattr(run_display, "SIGN_OF_LIFE_SECONDS", 0.001)
    result = compared("sales.*")
    assert result.exit_code == 0, result.output
    assert re.search(r": .*sales\.one: compare", result.stderr)
    assert re.search(r": 1 of 2 tables.*; sales\.two: ", result.stderr)


def test_an_error_of_many_tables_is_told_once(ends: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = ends.target_url.replace("@/", "@/no_")
    monkeypatch.setenv("SYNC_TARGET_URL", nowhere)
    ends.source("CREATE TABLE other (id int PRIMARY KEY)")
    result = compared("public.*")
    assert result.exit_code == 1
    assert [line[:7] for line in result.stderr.splitlines()] == ["Error: ", "       "]


def test_urls_are_taken_as_they_are(ends: Pair) -> None:
    words = ["compare", ends.source_url, ends.target_url, "orders"]
    assert CliRunner().invoke(main, words).exit_code == 0


def test_rows_that_are_on_their_way_are_not_told(
    ends: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends.source("UPDATE orders SET v = 'new' WHERE id = 7", "DELETE FROM orders WHERE id = 8")

    def caught_up(*_: object) -> None:
        ends.target("UPDATE orders SET v = 'new' WHERE id = 7", "DELETE FROM orders WHERE id = 8")
        # Later ones are on their way in turn.
        ends.source("UPDATE orders SET v = 'newer' WHERE id > 20")

    monkeypatch.setattr(copies, "_wait", caught_up)
    result = compared("orders")
    assert result.exit_code == 0, result.output
    assert "2 more rows differed at a first look, and no longer at a later one." in result.stdout
    ends.target("UPDATE orders SET v = 'newer' WHERE id > 21")
    (found,) = seen("orders")
    assert (found["rows_differing"], found["rows_settled"]) == (1, 0)


def test_rows_that_change_at_every_look_are_not_judged(
    ends: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that always lags: its row is never the source's, and never what it was before."""
    turns = iter(range(10))

    def written_on(*_: object) -> None:
        turn = next(turns)
        ends.source(f"UPDATE orders SET v = 'v{turn + 1}' WHERE id = 7")
        ends.target(f"UPDATE orders SET v = 'v{turn}' WHERE id = 7")

    written_on()
    ends.target("DELETE FROM orders WHERE id = 8")
    monkeypatch.setattr(copies, "_wait", written_on)
    (found,) = seen("orders")
    assert (found["rows_changing"], found["rows_settled"]) == (1, 0)
    assert (found["rows_differing"], found["rows_only_in_source"]) == (0, 1)
    ends.source("DELETE FROM orders WHERE id = 8")
    result = compared("orders")
    assert result.exit_code == 0
    assert "1 more differed at every look" in result.stdout


def test_a_wait_between_two_looks_can_be_cancelled() -> None:
    sessions = Sessions("", "")
    sessions.cancel()
    with pytest.raises(Cancelled):
        copies._wait(sessions, 3600)


def test_roles_that_may_only_read_are_enough_and_are_told_what_they_lack(ends: Pair) -> None:
    name, urls = RelationName.parse("orders"), []
    sides = {ends.source: ends.source_url, ends.target: ends.target_url}
    roles = {side: f"looks_at_{parse_dsn(url)['dbname']}" for side, url in sides.items()}
    try:
        for side, role in roles.items():
            side(
                f"CREATE ROLE {role} LOGIN",
                f"ALTER ROLE {role} SET default_transaction_read_only = on",
            )
            urls.append(sides[side].replace("//postgres@", f"//{role}@"))
        for side, end in ((ends.source, "source"), (ends.target, "target")):
            with pytest.raises(PrivilegeError) as refused:
                compare_copy((urls[0], urls[1]), Copy(name, name))
            where, _, statement = str(refused.value.remedy).partition(": ")
            assert where == f"Run on the {end}"
            side(statement.removesuffix("."))
        found = compare_copy((urls[0], urls[1]), Copy(name, name))
        assert (found.equal, found.rows_target) == (True, 50)
    finally:
        for side, role in roles.items():
            side(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_columns_that_one_end_lacks_are_named_and_left_out_if_told_so(ends: Pair) -> None:
    ends.source("ALTER TABLE orders ADD total numeric, ADD note text")
    ends.target(
        "ALTER TABLE orders ADD total double precision, ADD deleted_at timestamptz",
        "UPDATE orders SET deleted_at = now() WHERE id = 1",
    )
    result = compared("orders")
    assert result.exit_code == 1
    assert "note only on the source; deleted_at only on the target" in result.stderr
    assert "--shared-columns" in result.stderr
    result = compared("orders", "--shared-columns")
    assert result.exit_code == 0, result.output
    assert "not compared, as only the source has them: note." in result.stdout
    assert (
        "total is numeric on the source and double precision on the target; compared by its text."
        in result.stdout
    )
    # A row that some tool has marked in a column of its own is a row.
    assert seen("orders", "--exclude", "note,deleted_at")[0]["rows_target"] == 50
    assert seen("orders", "--columns", "id,v")[0]["columns"] == ["id", "v"]


def test_columns_that_we_add_to_a_copy_are_known_and_told(ends: Pair) -> None:
    ends.target("DROP TABLE orders")
    ends.sync("public.orders", deletes="soft")
    ends.source("DELETE FROM orders WHERE id = 7")
    ends.sync("public.orders", deletes="soft")
    result = compared("orders")
    assert result.exit_code == 1
    assert re.search(r"orders +49 +50 +0 +0 +1 +differs", result.stdout)
    assert "adds them to its copies: source_xmin, deleted_at." in result.stdout
    assert "marked in deleted_at is on the target all the same" in result.stdout
    (found,) = seen("orders")
    assert found["columns_of_ours"] == found["columns_only_in_target"]
    # What somebody else added is asked for as ever, and so is one of ours that is asked for.
    ends.target("ALTER TABLE orders ADD batch int")
    assert "columns: batch only on the target." in compared("orders").stderr
    assert (
        "source_xmin only on the target" in compared("orders", "--columns", "id,source_xmin").stderr
    )


def test_a_column_that_is_only_called_like_ours_is_asked_for(ends: Pair) -> None:
    ends.target("ALTER TABLE orders ADD source_xmin text, ADD deleted_at timestamptz")
    assert "source_xmin, deleted_at only on the target" in compared("orders").stderr


def test_rows_without_a_key_are_told_apart_by_all_their_values(ends: Pair) -> None:
    for side in (ends.source, ends.target):
        side("ALTER TABLE orders DROP CONSTRAINT orders_pkey", "CREATE VIEW big AS TABLE orders")
    ends.target("UPDATE orders SET v = 'other' WHERE id = 7")
    result = compared("orders")
    assert result.exit_code == 1
    assert "no key is among the columns" in result.stdout
    (found,) = seen("orders")
    assert (found["rows_only_in_source"], found["rows_only_in_target"]) == (1, 1)
    # Nothing can enforce a key of a view: it is taken as it is told.
    (found,) = seen("big=orders", "--key", "id,line")
    assert (found["rows_differing"], found["key"]) == (1, ["id", "line"])
    assert "name the ends the other way round" in compared("orders=big").stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing"], 1, "the source has no table public.nothing"),
        (["orders=raw.nothing"], 1, "Write schema.table=other.table"),
        (["orders", "--exclude", "w"], 1, "has a column 'w'. Their columns are id, line, v"),
        (["orders", "--exclude", "v", "--columns", "v"], 2, "chosen and excluded at once"),
        (["orders", "--key", "w"], 1, "the key names 'w'"),
        (["=orders"], 2, "is not the name of a table"),
        (["publik.*"], 1, "no table of the source matches 'publik.*'. Did you mean public.*?"),
        (["public.*=raw.orders"], 2, "'raw.orders' is one place for many tables"),
        ([], 2, "Missing argument 'TABLE...'"),
    ],
)
def test_what_cannot_be_compared_says_why(
    ends: Pair, words: list[str], code: int, said: str
) -> None:
    result = compared(*words)
    assert said in result.stderr
    assert result.exit_code == code
    if words[:1] == ["nothing"]:
        failed, found = seen("nothing", "orders")
        assert (failed["error"]["kind"], found["equal"]) == ("NoSuchRelation", True)


def test_a_table_is_not_its_own_copy(ends: Pair) -> None:
    words = ["compare", "source", "source", "orders"]
    assert "one and the same table" in CliRunner().invoke(main, words).stderr


def test_a_connection_without_a_url_says_what_to_set(ends: Pair) -> None:
    result = CliRunner().invoke(main, ["compare", "source", "lake", "orders"])
    assert result.exit_code == 2
    assert "SYNC_LAKE_URL is not set, and 'lake' is no URL" in result.stderr
