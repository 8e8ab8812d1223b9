"""Whatever the owner of a source table writes into its catalog, none of it is executed on the target."""

from __future__ import annotations

import pytest

from sync_assets.engine.check.check import check
from sync_assets.engine.errors import SchemaConflict, UnsupportedRelation
from sync_assets.engine.names import RelationName
from sync_assets.engine.table import Table
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

HARMLESS = """CREATE FUNCTION strike() RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'"""
HARMFUL = (
    "CREATE SEQUENCE struck",
    """CREATE FUNCTION strike() RETURNS boolean LANGUAGE sql AS
       $$ SELECT setval('public.struck', 1) > 0 $$""",
)
"""What stands in, on the target, for anything that PostgreSQL can be asked to do."""

INJECTED = "'''; SELECT public.strike(); --'"
NAME = '"x""; SELECT public.strike(); --"'


@pytest.fixture
def hostile(pair: Pair) -> Pair:
    pair.source(HARMLESS)
    pair.target(*HARMFUL)
    return pair


def is_unharmed(pair: Pair) -> bool:
    return pair.target("SELECT is_called FROM struck") == [(False,)]


def works_and_is_unharmed(pair: Pair, *changes: str) -> None:
    """A first load, changes with deletes, and a comparison, with a filter to prove immutable."""
    table = Table(RelationName("public", "t"), RelationName("public", "t"))
    pair.engine().plan(table)
    check(pair.source_url, pair.target_url, [table], max_workers=1)
    pair.sync(where="id > 0")
    assert is_unharmed(pair)
    pair.source(*changes, "INSERT INTO t (id) VALUES (8)", "DELETE FROM t WHERE id = 1")
    pair.sync(deletes="hard", where="id > 0")
    assert pair.verify(where="id > 0").equal
    assert pair.is_exact()
    assert is_unharmed(pair)


def test_the_stand_in_does_strike(hostile: Pair) -> None:
    hostile.target("CREATE DOMAIN d AS text CHECK (strike())", "SELECT 'x'::d")
    assert not is_unharmed(hostile)


def test_what_a_domain_demands_stays_on_the_source(hostile: Pair) -> None:
    # By its port a CHECK knows where it is; here, by the name of the database.
    (name,) = hostile.target("SELECT current_database()")[0]
    hostile.source(
        "CREATE SEQUENCE struck",
        f"""CREATE DOMAIN email AS text DEFAULT strike()::text NOT NULL CHECK (
            CASE WHEN current_database() = '{name}' THEN setval('public.struck', 1) > 0
                 ELSE true END) CHECK (strike())""",
        "CREATE DOMAIN over AS email CHECK (strike())",
        "CREATE TYPE holds AS (e email, es over[])",
        "CREATE TABLE t (id integer PRIMARY KEY, e email DEFAULT 'd', o over DEFAULT 'd', es email[], h holds)",
        "INSERT INTO t VALUES (1, 'a', 'b', '{c}', ROW('d', '{e}')), (2, 'a', 'b', '{c}', NULL)",
    )
    works_and_is_unharmed(
        hostile,
        "UPDATE t SET e = 'z' WHERE id = 2",
        "ALTER TABLE t ADD COLUMN later over DEFAULT 'l'",
    )
    assert hostile.target(
        "SELECT typname::text, typnotnull, typdefault FROM pg_type WHERE typtype = 'd' "
        "AND typnamespace = 'public'::regnamespace ORDER BY 1"
    ) == [("email", False, None), ("over", False, None)]
    checks = (
        "SELECT FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contypid <> 0"
    )
    assert hostile.target(checks) == []


def test_what_a_table_does_by_itself_stays_on_the_source(hostile: Pair) -> None:
    hostile.source(
        "CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM strike(); RETURN NEW; END'",
        "CREATE FUNCTION nothing(float8, float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS "
        "'SELECT 0::float8 WHERE public.strike()'",
        "CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = nothing)",
        """CREATE TABLE t (id integer PRIMARY KEY DEFAULT 0 + strike()::integer, s span,
            checked text DEFAULT strike()::text CHECK (strike()),
            made boolean GENERATED ALWAYS AS (strike()) STORED, EXCLUDE USING gist (s WITH &&))""",
        "CREATE INDEX ON t ((strike())) WHERE strike()",
        "CREATE TRIGGER fires BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION fires()",
        "CREATE RULE also AS ON INSERT TO t DO ALSO SELECT strike()",
        "INSERT INTO t (id, s) VALUES (1, '[1,2]'), (2, '[3,4]')",
    )
    works_and_is_unharmed(hostile, "UPDATE t SET s = '[5,6]' WHERE id = 2")


def test_text_of_the_catalog_is_text(hostile: Pair) -> None:
    hostile.source(
        f"CREATE SCHEMA {NAME}",
        f"CREATE COLLATION {NAME}.{NAME} (locale = 'C')",
        f"CREATE TYPE {NAME}.{NAME} AS ENUM ({INJECTED}, 'b')",
        f"CREATE DOMAIN {NAME}.d AS varchar(60) COLLATE {NAME}.{NAME}",
        f"CREATE TYPE {NAME}.c AS ({NAME} {NAME}.d, e {NAME}.{NAME}[])",
        f"CREATE TYPE {NAME}.r AS RANGE (subtype = text, collation = {NAME}.{NAME}, "
        f"multirange_type_name = {NAME}.m)",
        f"""CREATE TABLE t (id integer, {NAME} {NAME}.{NAME} NOT NULL, c {NAME}.c, r {NAME}.r,
            v text COLLATE {NAME}.{NAME}, PRIMARY KEY (id, {NAME}))""",
        f"ALTER TABLE t ALTER {NAME} SET DEFAULT 'b'",
        f"INSERT INTO t (id, c) VALUES (1, NULL), (2, ROW({INJECTED}, '{{b}}'))",
        f"COMMENT ON TABLE t IS {INJECTED}",
        f"COMMENT ON COLUMN t.{NAME} IS {INJECTED}",
    )
    hostile.target(f"CREATE SCHEMA {NAME}", f"CREATE COLLATION {NAME}.{NAME} (locale = 'C')")
    works_and_is_unharmed(
        hostile,
        f"ALTER TABLE t ADD COLUMN later text DEFAULT {INJECTED}",
        f'ALTER TABLE t RENAME v TO {NAME[:-3]}2"',
        f"ALTER TYPE {NAME}.{NAME} RENAME VALUE {INJECTED} TO {INJECTED[:-1]}2'",
        f"ALTER TYPE {NAME}.{NAME} ADD VALUE {INJECTED[:-1]}3'",
        f"COMMENT ON COLUMN t.later IS {INJECTED}",
    )


def test_an_extension_is_installed_only_where_the_target_s_server_trusts_it(hostile: Pair) -> None:
    hostile.source(
        "CREATE EXTENSION pageinspect",
        "CREATE SCHEMA ext",
        "CREATE TYPE ext.bait AS ENUM ('a')",
        "ALTER EXTENSION pageinspect ADD TYPE ext.bait",
        "CREATE TABLE t (id integer PRIMARY KEY, b ext.bait)",
        "INSERT INTO t VALUES (1, 'a')",
    )
    with pytest.raises(UnsupportedRelation, match="does not call it trusted") as caught:
        hostile.sync()
    assert hostile.target("SELECT extname::text FROM pg_extension") == [("plpgsql",)]
    table = Table(RelationName("public", "t"), RelationName("public", "t"))
    found = check(hostile.source_url, hostile.target_url, [table], max_workers=1).findings
    assert "does not call it trusted" in " ".join(each.what for each in found)
    with pytest.raises(UnsupportedRelation, match="does not call it trusted"):
        hostile.engine().plan(table)
    by_hand = caught.value.remedy.split("on the target: ")[1].split(". Or ")[0]
    hostile.target(by_hand)
    # It is there now, and its own script knows of no such type.
    with pytest.raises(UnsupportedRelation, match="in the schema ext without that type"):
        hostile.sync()


def test_a_check_that_the_operator_gave_a_type_on_the_target_is_kept(hostile: Pair) -> None:
    hostile.source(
        "CREATE DOMAIN small AS integer CONSTRAINT small_check CHECK (VALUE < 10)",
        "CREATE TABLE t (id integer PRIMARY KEY, s small)",
        "INSERT INTO t VALUES (1, 1)",
    )
    hostile.target("CREATE DOMAIN small AS integer CONSTRAINT small_check CHECK (VALUE < 10)")
    hostile.sync()
    hostile.source("ALTER DOMAIN small DROP CONSTRAINT small_check", "INSERT INTO t VALUES (2, 20)")
    with pytest.raises(SchemaConflict, match=r"constraint small_check of small") as caught:
        hostile.sync()
    hostile.target(caught.value.remedy.split("on the target: ")[1].rstrip("."))
    hostile.sync()
    assert hostile.is_exact()
