"""What `plan` prints and what a run executes on the target are one list, as the target saw it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sync_assets.engine import RelationName, Table
from sync_assets.engine.table import Deletes, SyncMode
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

WATCH = (
    "CREATE SCHEMA watch",
    "CREATE TABLE watch.seen (n bigserial, query text)",
    """CREATE FUNCTION watch.see() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS
       'BEGIN INSERT INTO watch.seen (query) VALUES (pg_catalog.current_query()); END'""",
    "CREATE EVENT TRIGGER see ON ddl_command_end EXECUTE FUNCTION watch.see()",
)
OURS = re.compile(
    # Temporary tables, the staging table of a first load that a killed run may have left, and what
    # is in our own schema.
    r"CREATE TEMP TABLE|DROP TABLE IF EXISTS|TABLE IF NOT EXISTS sync_assets\.|\"sync_assets\"\.\"keys"
)
OTHERWISE = "-- or: "
STAGING = r'("[^"]+"\."sync_assets_staging_\w+")'


def executed(pair: Pair) -> list[str]:
    """The DDL of the last run, with the staging table of a first load called what it became."""
    found: list[str] = []
    for (query,) in pair.target("SELECT query FROM watch.seen ORDER BY n"):
        if OURS.search(query) or query in found[-1:]:
            continue
        constraint = re.match(f'ALTER TABLE {STAGING} RENAME CONSTRAINT (".+") TO (".+")', query)
        table = re.match(f'ALTER TABLE {STAGING} RENAME TO (".+")', query)
        if constraint:
            found = [each.replace(constraint[2], constraint[3]) for each in found]
        elif table:
            schema = table[1].partition(".")[0]
            found = [each.replace(table[1], f"{schema}.{table[2]}") for each in found]
        else:
            found.append(query)
    pair.target("TRUNCATE watch.seen")
    return found


def compared(pair: Pair, name: str = "public.t", **options: Any) -> list[str]:
    """Plan, run, and see that both say the same; return it."""
    engine, relation = pair.engine(), RelationName.parse(name)
    table = Table(relation, relation, **options)
    planned = engine.plan(table).ddl
    engine.sync(table)
    found = executed(pair)
    # What is tried where a statement fails stands below it.
    choices: list[list[str]] = []
    for each in planned:
        if each.startswith(OTHERWISE):
            choices[-1].append(each.removeprefix(OTHERWISE))
        else:
            choices.append([each])
    assert len(found) == len(choices)
    assert [each for each, among in zip(found, choices, strict=True) if each not in among] == []
    assert pair.is_exact(name)
    return found


@pytest.fixture
def watched(pair: Pair) -> Pair:
    pair.target(*WATCH)
    return pair


TYPES = (
    "CREATE SCHEMA kinds",
    "CREATE SCHEMA shop",
    "CREATE EXTENSION citext SCHEMA kinds",
    "CREATE EXTENSION hstore SCHEMA kinds",
    "CREATE TYPE kinds.mood AS ENUM ('sad', 'o''k')",
    "CREATE DOMAIN kinds.moods AS kinds.mood[] NOT NULL DEFAULT '{}' CHECK (cardinality(VALUE) < 9)",
    "CREATE TYPE kinds.place AS (x float8, m kinds.moods, c kinds.citext)",
    "CREATE TYPE shop.span AS RANGE (subtype = float8)",
    """CREATE TABLE shop."T t" (id integer, "K" kinds.citext, h kinds.hstore, p kinds.place, s shop.span,
       n integer DEFAULT 7 CHECK (n > 0), g integer GENERATED ALWAYS AS (n * 2) STORED, PRIMARY KEY (id, "K"))""",
    "INSERT INTO shop.\"T t\" VALUES (1, 'a', 'b=>c', ROW(1, '{sad}', 'X'), '[1,2]')",
    "COMMENT ON TABLE shop.\"T t\" IS E'it''s\\n{two} \\\\ lines\\u001b[31m %s'",
    'COMMENT ON COLUMN shop."T t"."K" IS \'100 %\'',
)


def test_a_first_load_with_all_that_its_columns_need(watched: Pair) -> None:
    watched.source(*TYPES)
    planned = compared(watched, 'shop."T t"', deletes=Deletes.HARD)
    assert [re.sub(r' ".*', "", each) for each in planned] == [
        "CREATE SCHEMA",
        "CREATE SCHEMA",
        "CREATE SCHEMA",
        "CREATE EXTENSION IF NOT EXISTS",
        "CREATE EXTENSION IF NOT EXISTS",
        "CREATE TYPE",
        "CREATE TYPE",
        "CREATE DOMAIN",
        "CREATE TYPE",
        "CREATE TABLE",
        "ALTER TABLE",
        "COMMENT ON TABLE",
        "COMMENT ON COLUMN",
    ]
    # To be read and pasted, whatever a comment holds.
    assert "".join(planned).isprintable()
    comment = "SELECT obj_description('shop.\"T t\"'::regclass, 'pg_class')"
    assert watched.target(comment) == watched.source(comment)
    assert compared(watched, 'shop."T t"', deletes=Deletes.HARD) == []


def test_plain_first_loads(watched: Pair) -> None:
    watched.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        "CREATE TABLE u (id integer NOT NULL UNIQUE)",
        "CREATE TABLE keyless (a integer)",
        "INSERT INTO t VALUES (1, 'a')",
    )
    # Somebody has the name that the key would have.
    watched.target("CREATE TABLE u_id_key (x integer)", "TRUNCATE watch.seen")
    columns = (
        '"id" integer CONSTRAINT "t_id_not_null" NOT NULL, "v" text, "source_xmin" bigint,'
        ' "deleted_at" timestamptz'
    )
    assert compared(watched, deletes=Deletes.SOFT) == [
        'CREATE SCHEMA "sync_assets"',
        f'CREATE TABLE "public"."t" ({columns}) WITH (fillfactor = 95)',
        'ALTER TABLE "public"."t" ADD CONSTRAINT "t_pkey" PRIMARY KEY ("id")',
    ]
    assert 'ADD CONSTRAINT "u_id_key1" UNIQUE' in compared(watched, "public.u")[-1]
    assert len(compared(watched, "public.keyless", mode=SyncMode.FULL_SYNC)) == 1


def test_what_a_target_is_changed_by_to_follow_its_source(watched: Pair) -> None:
    watched.source(
        "CREATE TYPE mood AS ENUM ('a', 'b', 'c')",
        "CREATE TYPE pair_of AS (x integer, y text)",
        "CREATE TABLE t (id integer PRIMARY KEY, n smallint NOT NULL, v varchar(5), m mood, p pair_of, gone text NOT NULL)",
        "INSERT INTO t VALUES (1, 1, 'a', 'a', '(1,a)', 'x'), (2, 2, 'b', 'b', NULL, 'y')",
    )
    compared(watched)
    watched.source(
        "ALTER TABLE t RENAME v TO w",
        "ALTER TABLE t ALTER n TYPE bigint",
        "ALTER TABLE t ADD c integer DEFAULT 5",
        "ALTER TABLE t DROP gone",
        "COMMENT ON COLUMN t.c IS 'new'",
        "ALTER TYPE mood RENAME VALUE 'a' TO 'x'",
        "ALTER TYPE mood RENAME VALUE 'b' TO 'a'",
        "ALTER TYPE mood RENAME VALUE 'x' TO 'b'",
        "ALTER TYPE mood ADD VALUE 'd' BEFORE 'c'",
        "CREATE DOMAIN fresh AS text",
        "ALTER TYPE pair_of RENAME ATTRIBUTE x TO z",
        "ALTER TYPE pair_of ADD ATTRIBUTE f fresh",
        "CREATE SCHEMA later",
        "ALTER TYPE mood SET SCHEMA later",
        "ALTER TYPE later.mood RENAME TO feeling",
        "INSERT INTO t VALUES (3, 3, 'c', 'd', '(3,c,d)')",
    )
    said = "\n".join(compared(watched, deletes=Deletes.HARD))
    for each in (
        "RENAME VALUE",
        "ADD VALUE 'd'",
        "SET SCHEMA",
        "CREATE DOMAIN",
        "ADD ATTRIBUTE",
        "RENAME COLUMN",
        "ADD COLUMN",
        "COMMENT ON",
        "TYPE bigint",
        'ALTER COLUMN "gone" DROP NOT NULL',
    ):
        assert each in said
    watched.source(
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (n)",
        "ALTER TABLE t ALTER w TYPE integer USING length(w)",
    )
    said = "\n".join(compared(watched, deletes=Deletes.HARD))
    for each in ("DROP CONSTRAINT", "ADD PRIMARY KEY", "TYPE integer USING NULL"):
        assert each in said


def test_a_history_that_is_made_and_follows_its_target(watched: Pair) -> None:
    watched.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text, n integer)",
        "CREATE TABLE u (id integer PRIMARY KEY, v varchar(5))",
        "INSERT INTO t VALUES (1, 'a', 1)",
    )
    assert "CREATE UNIQUE INDEX" in compared(watched, history=True)[-2]
    compared(watched, "public.u")
    assert "COMMENT ON TABLE" in compared(watched, "public.u", history="versions")[1]
    watched.source(
        "ALTER TABLE t RENAME v TO w", "ALTER TABLE t ALTER n TYPE bigint, ADD later text"
    )
    assert len(compared(watched, history=True)) == 6


def test_of_rows_that_are_gone_it_says_what_the_runs_do(pair: Pair) -> None:
    name = RelationName("public", "t")
    pair.source("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")

    def said(**options: Any) -> str:
        return pair.engine().plan(Table(name, name, **options)).deletes

    stay = "rows that are gone from the source stay"
    new = "the target is new and has no such rows; by later runs rows that are gone from the source"
    assert said() == stay
    assert said(deletes=Deletes.HARD) == f"{new} are deleted"
    assert said(deletes=Deletes.SOFT) == f"{new} are marked"
    assert said(mode=SyncMode.FULL_SYNC) == f"{new} are deleted"
    pair.sync()
    assert said() == stay
    assert said(deletes=Deletes.HARD) == "rows that are gone from the source are deleted"
