"""What a sync asks of a catalog does not grow with the tables that it is not about."""

from __future__ import annotations

import pytest

from sync_assets.engine.names import RelationName
from sync_assets.engine.table import Table
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

OTHERS = """
DO $$ BEGIN FOR n IN 1 .. 400 LOOP
  EXECUTE format('CREATE TABLE other_%s (id integer PRIMARY KEY, v text UNIQUE)', n);
END LOOP; END $$
"""
READ_WHOLE = """
SELECT relname::text, seq_tup_read FROM pg_stat_sys_tables
WHERE relname IN ('pg_attrdef', 'pg_attribute', 'pg_class', 'pg_constraint', 'pg_depend', 'pg_description',
  'pg_index', 'pg_inherits', 'pg_trigger', 'pg_type') AND seq_tup_read > 100 ORDER BY 1
"""
"""A session reads some dozen rows from end to end as it begins; the catalogs have hundreds."""


@pytest.fixture
def crowded(pair: Pair) -> Pair:
    """Two databases of 400 other tables, and one to sync."""
    for end in (pair.source, pair.target):
        end(OTHERS, "ANALYZE")
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text UNIQUE)",
        "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 20) i",
    )
    return pair


def read_whole(pair: Pair, what: str, **options: object) -> dict[str, list[object]]:
    """The catalogs that a sync of one table read from one end to the other, on either server."""
    for end in (pair.source, pair.target):
        end("SELECT pg_stat_reset()")
    table = Table(RelationName("public", "t"), RelationName("public", "t"), **options)  # type: ignore[arg-type]
    engine = pair.engine()
    _ = engine.plan(table) if what == "plan" else engine.sync(table)
    # What a session counts is known once it has ended.
    assert eventually(lambda: pair.leftovers() == [])
    found = {"source": pair.source(READ_WHOLE), "target": pair.target(READ_WHOLE)}
    return {end: list(rows) for end, rows in found.items() if rows}


def test_no_catalog_is_read_whole_for_one_table(crowded: Pair) -> None:
    assert read_whole(crowded, "first load") == {}
    crowded.source("CREATE TABLE unrelated ()")
    assert read_whole(crowded, "nothing new") == {}
    crowded.source("UPDATE t SET v = 'w' || id", "DELETE FROM t WHERE id = 1")
    assert read_whole(crowded, "plan") == {}
    assert read_whole(crowded, "changes") == {}
