"""Names in our statements are PostgreSQL's own, whatever somebody has put into a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from sync_assets.engine import DataCopyEngine, RelationName, SyncMode, Table, observe, read_status
from sync_assets.engine.check.check import check
from sync_assets.engine.errors import ConfigurationError, SyncError
from sync_assets.engine.inspection.describe import describe
from sync_assets.engine.inspection.holders import watermark_age
from sync_assets.engine.inspection.inventory import inventory
from sync_assets.engine.inspection.why import why
from sync_assets.engine.state.export_import import export_state, import_state
from sync_assets.engine.state.forget import forget
from sync_assets.engine.table import table_of
from sync_assets.engine.verify.counts import check_key, count_rows, schema_drift
from sync_assets.engine.verify.sample import Sample, sample_rows
from sync_assets_tests.fixtures import hostile
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

TABLES = (
    "CREATE TYPE mood AS ENUM ('calm', 'cross')",
    "CREATE TABLE t (id integer PRIMARY KEY, name varchar(20), at timestamptz, m mood, d numeric)",
    """INSERT INTO t SELECT i, 'n' || i, timestamptz '2026-01-01Z' + i * interval '1 hour', 'calm', i
    FROM generate_series(1, 300) i""",
    """CREATE TABLE parted (day date, name varchar, v text, PRIMARY KEY (day, name))
    PARTITION BY RANGE (day)""",
    "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
    "INSERT INTO parted SELECT date '2026-01-01' + i, 'p' || i, 'v' FROM generate_series(0, 50) i",
    "CREATE TABLE keyless (name varchar, n oid, at date)",
    "INSERT INTO keyless SELECT 'k' || i % 7, i % 5, '2026-01-01' FROM generate_series(1, 100) i",
    "CREATE TABLE moody (m mood PRIMARY KEY)",
    "INSERT INTO moody VALUES ('calm')",
    "CREATE VIEW seen AS SELECT id, name, at FROM t",
)
CHANGES = (
    "UPDATE public.t SET name = 'new', m = 'cross' WHERE id % 10 = 0",
    "DELETE FROM public.t WHERE id % 10 = 1",
    "INSERT INTO public.t VALUES (1000, 'late', '2026-02-01Z', 'cross', 1)",
    "UPDATE public.parted SET v = 'w' WHERE day > '2026-02-01'",
    "DELETE FROM public.parted WHERE name = 'p3'",
    "UPDATE public.moody SET m = 'cross'",
    "DELETE FROM public.keyless WHERE n = 2",
    "INSERT INTO public.keyless VALUES ('k1', 1, '2026-01-01')",
)
CAST = (
    hostile.ROLE,
    "CREATE TYPE public.mood AS ENUM ('calm', 'cross')",
    """CREATE FUNCTION public.hostile_cast(public.mood) RETURNS text LANGUAGE plpgsql AS
    'BEGIN RETURN NULL; END'""",
    "CREATE CAST (public.mood AS text) WITH FUNCTION public.hostile_cast AS ASSIGNMENT",
)
"""On the target, where a run finds the type that it needs, and so leaves it as it is."""

FILTERED: dict[str, Any] = {
    "where": "id OPERATOR(pg_catalog.>) 20",
    "expressions": {"name": "pg_catalog.upper(name::pg_catalog.text)"},
}
"""The operator's own SQL does see the path; his names have schemas here."""

MODES: dict[str, Callable[[DataCopyEngine], object]] = {
    "hard": lambda e: e.copy_table_data_with_xmin("t", "hard", deletes="hard"),
    "soft": lambda e: e.copy_table_data_with_xmin("t", "soft", deletes="soft"),
    "kept": lambda e: e.copy_table_data_with_xmin("t", "kept"),
    "moody": lambda e: e.copy_table_data_with_xmin("moody", "moody", deletes="hard"),
    "parted": lambda e: e.copy_table_data_with_xmin("parted", "parted", deletes="hard"),
    "cursor": lambda e: e.copy_table_data(
        "t", "cursor", "incremental_sync", cursor="at", late_commits="lookback", lookback="1 hour"
    ),
    "seen": lambda e: e.copy_table_data("seen", "seen", "incremental_sync", cursor="at", key="id"),
    "whole": lambda e: e.copy_table_data("t", "whole", "full_sync", deletes="hard"),
    "keyless": lambda e: e.copy_table_data("keyless", "keyless", "full_sync"),
    "scope": lambda e: e.copy_table_data_with_xmin("t", "scope", deletes="hard", **FILTERED),
    "group": lambda e: e.sync_group([table("t", "g1"), table("keyless", "g2", mode="full_sync")]),
}


def table(source: str, target: str, **options: Any) -> Table:
    mode = SyncMode(options.pop("mode", "xmin_incremental"))
    return table_of(source, target, mode, options)


@pytest.fixture
def exposed(pair: Pair) -> Pair:
    """Both ends with tables and with a neighbour, whose names our sessions would find first."""
    pair.source(*TABLES)
    pair.target(*CAST)
    for url in (pair.source_url, pair.target_url):
        hostile.settle(url)
    return hostile.exposed(pair)


def test_what_a_neighbour_put_into_the_search_path_is_never_called(
    pair: Pair, exposed: Pair
) -> None:
    engine = exposed.engine()
    for sync in MODES.values():
        sync(engine)
    quiet = hostile.exposed(pair, "pg_catalog")
    quiet.source(*CHANGES, "ALTER TABLE public.t ADD extra text DEFAULT 'x'")
    for sync in MODES.values():
        sync(engine)
    quiet.source("ALTER TABLE public.t ALTER d TYPE double precision, ALTER extra TYPE varchar")
    for sync in MODES.values():
        sync(engine)
    quiet.target("UPDATE public.hard SET name = 'wrong' WHERE id = 5")
    quiet.target("DELETE FROM public.scope WHERE id = 92")
    ask(exposed)
    assert hostile.called(pair) == []
    # What would be seen, if it were called.
    exposed.source("SELECT pg_catalog.count(*) FROM public.t WHERE name = 'n1'")
    assert eventually(lambda: hostile.called(pair) != [])


def ask(pair: Pair) -> None:
    """Every question there is about a table."""
    urls, engine = (pair.source_url, pair.target_url), pair.engine()
    tables = [
        table("t", "hard", deletes="hard"),
        table("t", "scope", deletes="hard", **FILTERED),
        table("moody", "moody", deletes="hard"),
    ]
    seen = table("seen", "seen", mode="full_sync", key="id")
    for each, key in zip((*tables, seen), ("30", "30", "calm", "30"), strict=True):
        engine.plan(each)
        engine.verify(each, sync=False)
        assert engine.verify(each, repair=True).equal
        count_rows(*urls, each)
        schema_drift(*urls, each)
        sample_rows(*urls, each, 0.5)
        check_key(urls[1], each)
        why(*urls, each, [key])
    assert engine.verify(table("keyless", "keyless", mode="full_sync"), repair=True).equal
    check(*urls, tables, max_workers=2)
    read_status(*urls, tables, others=True)
    inventory(urls[0])
    names = [RelationName("public", "t"), RelationName("public", "seen")]
    observe(urls[0], names)
    describe(urls[0], names)
    watermark_age(urls[0], 700)
    engine.get_source_max_xmin("t")
    document = json.loads(json.dumps(export_state(urls[1]), default=str))
    for name in ("hard", "scope"):
        forget(urls[1], RelationName("public", name))
    document["tables"] = [
        each for each in document["tables"] if each["state"]["target_table"] == "hard"
    ]
    import_state(urls[1], document, trust_target=True)


SEEN = (
    "CREATE TABLE item (id integer PRIMARY KEY, name text, at timestamptz)",
    "INSERT INTO item SELECT i, 'n' || i, '2026-01-01' FROM generate_series(1, 20) i",
    "CREATE FUNCTION f() RETURNS SETOF item LANGUAGE sql AS 'SELECT * FROM item'",
    (
        "CREATE FUNCTION named(integer) RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN (SELECT name FROM item WHERE id = $1); END $$"
    ),
    "CREATE VIEW v AS SELECT id, name, at, named(id) AS again FROM f()",
)


def test_a_view_over_functions_reads_as_it_does_for_the_role(pair: Pair) -> None:
    urls = (pair.source_url, pair.target_url)
    pair.source(*SEEN)
    pair.engine().copy_table_data("v", "whole", "full_sync")
    by_cursor = table("v", "v", mode="incremental_sync", cursor="at", key="id")
    for _ in range(2):
        pair.engine().sync(by_cursor)
        pair.source("UPDATE item SET name = 'new', at = '2026-01-02' WHERE id = 7")
    assert pair.target("SELECT again FROM v WHERE id = 7") == [("new",)]
    pair.target("UPDATE v SET name = 'wrong' WHERE id = 3")
    assert pair.engine().plan(by_cursor).leaves
    assert pair.engine().verify(by_cursor, repair=True).equal
    assert (count_rows(*urls, by_cursor).source, sample_rows(*urls, by_cursor, 1)) == (
        20,
        Sample(20, 0, 0),
    )
    assert why(*urls, by_cursor, ["7"]).on_source


def test_beside_names_of_objects_such_a_function_must_name_schemas_itself(pair: Pair) -> None:
    pair.source(*SEEN, "CREATE VIEW w AS SELECT id, named(id), 'item'::regclass AS c FROM item")
    pair.target("CREATE TABLE item ()")
    with pytest.raises(SyncError, match='relation "item" does not exist') as caught:
        pair.engine().copy_table_data("w", "w", "full_sync")
    pair.source(mend(caught.value))
    pair.engine().copy_table_data("w", "w", "full_sync")
    # As text without any schema in the path, the same on both ends.
    assert pair.target("SET search_path = pg_catalog", "SELECT DISTINCT c::text FROM public.w") == [
        ("public.item",)
    ]
    assert pair.verify("w", sync=True, mode=SyncMode.FULL_SYNC).equal


def mend(error: SyncError) -> str:
    """The statement that an error's remedy ends with."""
    found = re.search(r"ALTER .*(?=\.$)", error.remedy)
    assert found, error.remedy
    return found[0]


def test_a_trigger_on_the_target_names_schemas_itself(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    pair.target(
        "CREATE TABLE t (id integer PRIMARY KEY)",
        "CREATE TABLE audit (id integer)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NEW; END $$",
        "CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()",
    )
    with pytest.raises(SyncError, match='relation "audit" does not exist') as caught:
        pair.sync()
    pair.target(mend(caught.value))
    pair.sync()
    assert pair.target("SELECT id FROM audit") == [(1,)]


THEIRS = (
    "CREATE SEQUENCE calls; GRANT ALL ON SEQUENCE calls TO PUBLIC",
    hostile.ROLE + "RESET ROLE; CREATE SCHEMA theirs AUTHORIZATION neighbour",
    (
        "CREATE FUNCTION theirs.same(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS "
        "$$ BEGIN {counted} RETURN $1 = $2; END $$; ALTER FUNCTION theirs.same OWNER TO neighbour"
    ),
    "CREATE OPERATOR theirs.=== (leftarg = text, rightarg = text, function = theirs.same)",
)


@pytest.mark.parametrize("where", ["same('a', 'a')", "theirs.same('a', 'a')", "'a' === 'a'::text"])
def test_a_neighbour_s_function_is_not_run_on_the_target_unless_it_is_made_ours(
    pair: Pair, where: str
) -> None:
    pair.source(*(each.format(counted="") for each in THEIRS))
    pair.target(*(each.format(counted="PERFORM nextval('public.calls');") for each in THEIRS))
    pair.source("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    both = hostile.exposed(pair, "public,theirs")
    with pytest.raises(ConfigurationError, match="belongs to the role neighbour there") as caught:
        both.sync(where=where)
    assert pair.target("SELECT is_called FROM calls") == [(False,)]
    (printed,) = re.findall(r"ALTER ROUTINE .*? OWNER TO \w+", str(caught.value))
    pair.target(printed)
    assert both.sync(where=where).rows_inserted == 1
