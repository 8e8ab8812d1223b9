"""Types of the source's own making are made on the target, in an order that works."""

from __future__ import annotations

from typing import Any

import pytest

from sync_assets.engine.errors import ConfigurationError, SchemaConflict, UnsupportedRelation
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways


def test_types_that_need_each_other_are_made_in_order(pair: Pair) -> None:
    pair.source(
        "CREATE SCHEMA kinds",
        "CREATE TYPE kinds.outer_one AS (x integer)",
        "CREATE TYPE kinds.late AS ENUM ('a', 'b')",
        "CREATE DOMAIN kinds.lates AS kinds.late[] CHECK (cardinality(VALUE) < 3)",
        "ALTER TYPE kinds.outer_one ADD ATTRIBUTE y kinds.late[]",
        "ALTER TYPE kinds.outer_one ADD ATTRIBUTE z kinds.lates",
        "CREATE TABLE t (id integer PRIMARY KEY, o kinds.outer_one, os kinds.outer_one[])",
        "INSERT INTO t VALUES (1, ROW(1, '{a,NULL}', '{b}'), ARRAY[ROW(2, '{}', NULL)]::kinds.outer_one[])",
    )
    pair.sync()
    assert pair.is_exact()


def test_a_range_keeps_its_collation_and_its_multirange(pair: Pair) -> None:
    pair.source(
        'CREATE TYPE words AS RANGE (subtype = text, collation = "C", '
        "multirange_type_name = many_words)",
        "CREATE TABLE t (id integer PRIMARY KEY, r words, m many_words)",
        "INSERT INTO t VALUES (1, '[B,a]', '{[B,a],[b,c)}')",
    )
    pair.sync()
    assert pair.is_exact()


def test_a_domain_s_unvalidated_check_is_left_behind(pair: Pair) -> None:
    pair.source(
        "CREATE DOMAIN small AS integer",
        "CREATE TABLE t (id integer PRIMARY KEY, v small)",
        "INSERT INTO t VALUES (1, 1000)",
        "ALTER DOMAIN small ADD CONSTRAINT below CHECK (VALUE < 10) NOT VALID",
    )
    pair.sync()
    assert pair.is_exact()


def test_an_enum_gains_labels_in_the_source_s_order(pair: Pair) -> None:
    pair.source(
        "CREATE TYPE mood AS ENUM ('b', 'd')",
        "CREATE TABLE t (id integer PRIMARY KEY, m mood)",
        "INSERT INTO t VALUES (1, 'b')",
    )
    pair.sync()
    pair.source(
        "ALTER TYPE mood ADD VALUE 'a' BEFORE 'b'",
        "ALTER TYPE mood ADD VALUE 'c' AFTER 'b'",
        "ALTER TYPE mood ADD VALUE 'e, \"f\"'",
    )
    pair.source("INSERT INTO t VALUES (2, 'a'), (3, 'c'), (4, 'e, \"f\"')")
    pair.sync()
    assert pair.is_exact()
    labels = "SELECT enumlabel::text FROM pg_enum ORDER BY enumsortorder"
    assert pair.target(labels) == pair.source(labels)


def test_the_row_type_of_a_table_asks_for_that_table_first(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE o (id integer PRIMARY KEY)",
        "CREATE TABLE t (id integer PRIMARY KEY, r o)",
        "INSERT INTO t VALUES (1, ROW(7))",
    )
    with pytest.raises(UnsupportedRelation, match="Sync that table first"):
        pair.sync()
    assert pair.leftovers() == []


def test_citext_keys_are_joined_by_citext_s_own_equality(pair: Pair) -> None:
    pair.source(
        "CREATE SCHEMA ext",
        "CREATE EXTENSION citext SCHEMA ext",
        "CREATE TABLE t (k ext.citext PRIMARY KEY, v text)",
        "INSERT INTO t VALUES ('abc', '1')",
    )
    pair.sync()
    pair.source("UPDATE t SET k = 'ABC'")
    receipt = pair.sync()
    assert (receipt.rows_updated, receipt.rows_inserted) == (1, 0)
    assert pair.is_exact()


def test_an_error_about_a_value_does_not_repeat_it(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, secret text)",
        "INSERT INTO t VALUES (1, '99999999999')",
    )
    pair.target(
        "CREATE TABLE t (id integer PRIMARY KEY, secret text, "
        "n integer GENERATED ALWAYS AS (secret::integer) STORED)"
    )
    with pytest.raises(SchemaConflict, match="out of range") as caught:
        pair.sync()
    assert "99999999999" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_collation_goes_along_and_one_that_the_target_lacks_is_named(pair: Pair) -> None:
    pair.source(
        "CREATE COLLATION plain (locale = 'C')",
        'CREATE DOMAIN code AS text COLLATE "C"',
        'CREATE TYPE two AS (x text COLLATE "C", y integer)',
        'CREATE TABLE t (id text COLLATE plain PRIMARY KEY, c code, v text COLLATE "C", w two)',
        "INSERT INTO t VALUES ('a10', 'b', 'c', '(d,1)'), ('a9', NULL, '', NULL)",
    )
    with pytest.raises(SchemaConflict, match=r"no collation public\.plain"):
        pair.sync()
    assert pair.leftovers() == []
    pair.target("CREATE COLLATION plain (locale = 'C')")
    pair.sync()
    assert pair.is_exact()
    collations = (
        "SELECT attname::text, attcollation::regcollation::text FROM pg_attribute "
        "WHERE attrelid = 't'::regclass AND attnum BETWEEN 1 AND 4 ORDER BY attname"
    )
    assert pair.target(collations) == pair.source(collations)


def test_composites_multiranges_and_domains_over_each_other_arrive(pair: Pair) -> None:
    pair.source(
        "CREATE DOMAIN few AS integer[] CHECK (cardinality(VALUE) < 4)",
        "CREATE TYPE inner_one AS (xs few, y int4multirange)",
        "CREATE TYPE outer_one AS (i inner_one, more inner_one[])",
        "CREATE TABLE t (id integer PRIMARY KEY, o outer_one, m nummultirange[])",
        "INSERT INTO t VALUES (1, ROW(ROW('{1,2}', '{[1,3),[5,)}'), ARRAY[ROW(NULL, '{}')::inner_one]), "
        "'{\"{[1.50,2)}\",NULL}')",
    )
    pair.sync()
    assert pair.is_exact()


def test_the_text_of_an_enum_is_followed_and_nothing_made_of_it(pair: Pair) -> None:
    pair.source(
        """CREATE TYPE "the ""mood" AS ENUM ('low', 'high')""",
        """CREATE TABLE t (id integer PRIMARY KEY, "M" "the ""mood")""",
        "INSERT INTO t VALUES (1, 'low'), (2, 'high'), (3, NULL)",
    )
    shown: dict[str, Any] = {"expressions": {"M": ' "M" ::text'}}
    pair.sync(**shown)
    pair.source("UPDATE t SET \"M\" = 'low' WHERE id = 2")
    assert not pair.sync(**shown).full
    pair.source("""ALTER TYPE "the ""mood" RENAME VALUE 'low' TO 'down'""")
    told = pair.sync(**shown)
    assert (told.rows_exported, told.rows_updated) == (3, 2)
    assert not pair.sync(**shown).full
    assert pair.target('SELECT id, "M" FROM t ORDER BY 1') == [(1, "down"), (2, "down"), (3, None)]
    with pytest.raises(ConfigurationError, match="must depend on the row alone"):
        pair.sync(expressions={"M": """"M"::text || 'er'"""})
