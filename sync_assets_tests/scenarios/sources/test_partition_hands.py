"""A partition, or the table of all sources, that hands other than ours have made or changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sync_assets.engine import PartitionOf, RelationName
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways


def test_tables_of_many_sources_in_a_new_schema_are_made_at_one_time(pair: Pair) -> None:
    names = [f"kind_{number}" for number in range(6)]
    for name in names:
        pair.source(
            f"CREATE TABLE {name} (id integer PRIMARY KEY)", f"INSERT INTO {name} VALUES (1)"
        )

    def first(name: str) -> int:
        whole = PartitionOf(RelationName("analytics", name), "region", "eu")
        engine, ends = pair.engine(), (f"public.{name}", f"public.{name}_eu")
        return engine.copy_table_data(*ends, "xmin_incremental", partition_of=whole).rows_inserted

    with ThreadPoolExecutor(len(names)) as threads:
        assert list(threads.map(first, names)) == [1] * len(names)
