"""Objects that somebody replaces while they are read: the catalog's functions do not see what is gone."""

from __future__ import annotations

import pytest

from sync_assets.engine import RelationName
from sync_assets.engine.carry.objects import read_objects
from sync_assets.engine.carry.view_reading import read_views
from sync_assets.engine.errors import SourceChanged
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import Connect, both_ways

pytestmark = both_ways

T = RelationName("public", "t")
REPLACED = [
    ("CREATE INDEX i ON t (n)", "DROP INDEX i"),
    ("CREATE STATISTICS public.s ON id, n FROM t", "DROP STATISTICS public.s"),
    ("CREATE VIEW public.above AS SELECT n FROM t", "DROP VIEW public.above"),
]


@pytest.mark.parametrize(("made", "gone"), REPLACED, ids=["an index", "statistics", "a view"])
def test_what_is_replaced_while_it_is_read_is_not_taken_for_dropped(
    pair: Pair, connect: Connect, made: str, gone: str
) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY, n int)", made)
    with connect(pair.source_url).cursor() as cursor:
        # Its snapshot stays, as that of one statement does.
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        pair.source(f"BEGIN; {gone}; {made}; COMMIT")
        with pytest.raises(SourceChanged):
            [read_objects(cursor, [T]), read_views(cursor, [T])]
        cursor.execute("ROLLBACK")
        assert read_objects(cursor, [T])[T].objects
        assert len(read_views(cursor, [T])) == ("VIEW" in made)
