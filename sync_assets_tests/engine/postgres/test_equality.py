"""Keys that are given to a statement as text."""

from __future__ import annotations

from psycopg2.sql import SQL

from sync_assets.engine.postgres.equality import given_keys
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import Connect, both_ways

UGLY = (
    "",
    "NULL",
    " ",
    "a,b",
    "{a}",
    '"',
    '\\"',
    "\\",
    "\\n",
    "\n",
    "it's",
    "%s",
    "Ω한",
)


@both_ways
def test_any_text_arrives_as_it_is(pair: Pair, connect: Connect) -> None:
    given, wanted = given_keys(("integer", "text"), (map(str, range(len(UGLY))), UGLY))
    with connect(pair.source_url).cursor() as cursor:
        cursor.execute(SQL("SELECT {} FROM {}").format(SQL(", ").join(wanted), given))
        assert cursor.fetchall() == [*enumerate(UGLY)]
