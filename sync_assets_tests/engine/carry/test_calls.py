"""What of a target is read for what tables carry."""

from __future__ import annotations

import pytest

from sync_assets.engine import RelationName, Table
from sync_assets.engine.carry.calls import read_database
from sync_assets.engine.table import Trust
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import Connect, both_ways

pytestmark = both_ways

T = RelationName("public", "t")


@pytest.mark.parametrize("trust", Trust)
def test_names_of_functions_are_read_only_where_code_of_the_source_s_is_trusted(
    pair: Pair, connect: Connect, trust: Trust
) -> None:
    pair.target("CREATE FUNCTION public.own() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    with connect(pair.target_url).cursor() as cursor:
        cursor.execute("SET search_path = pg_catalog")
        database = read_database(cursor, [Table(T, T), Table(T, T, trust=trust)])
    assert ("public.own()" in database.functions) is (trust is Trust.SOURCE)
    assert "public" in database.schemas
