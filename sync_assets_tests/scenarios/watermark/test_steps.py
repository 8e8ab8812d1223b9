"""The seed's words, each called by its name from a script without Dagster."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from sync_assets.engine import DataCopyEngine
from sync_assets.engine.errors import ConfigurationError
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways


@pytest.fixture
def engine(pair: Pair) -> DataCopyEngine:
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, CASE WHEN i % 2 = 0 THEN 'a,b' END FROM generate_series(1, 50) i",
    )
    return DataCopyEngine(pair.source_url, pair.target_url, workers=2)


def test_copy_table_data_is_a_full_sync_by_default(pair: Pair, engine: DataCopyEngine) -> None:
    result = engine.copy_table_data("public.t", "copy.t")
    assert result["status"] == result.status == "success"
    assert result["max_xmin"] == result.source_max_xmin
    assert result.mode == "full_sync"
    assert pair.target("SELECT count(*) FROM copy.t") == [(50,)]


def test_copy_table_data_with_xmin_is_incremental(pair: Pair, engine: DataCopyEngine) -> None:
    engine.copy_table_data_with_xmin("public.t", "public.t")
    pair.source("UPDATE t SET v = 'x' WHERE id = 1")
    assert engine.copy_table_data_with_xmin("public.t", "public.t").rows_exported == 1
    assert engine.copy_table_data("t", "t", sync_mode="xmin_incremental").rows_exported == 0
    assert pair.is_exact()


def test_each_step_by_its_name(pair: Pair, engine: DataCopyEngine) -> None:
    highest = engine.get_source_max_xmin("public.t")
    exported = engine.export_to_csv_with_xmin("public.t", "public.t")
    assert exported.rows == 50
    with exported.paths[0].open(newline="") as file:
        first = next(csv.reader(file))
    assert first == ["1", "", str(highest)]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in exported.paths)
    temp = engine.import_csv_to_temp_table(exported)
    assert temp.rows == 50
    merged = engine.execute_merge_with_xmin(temp)
    assert (merged.inserted, merged.updated) == (50, 0)
    engine.cleanup_temp_table(temp)
    engine.cleanup_temp_files(exported)
    assert not any(path.exists() for path in exported.paths)
    assert pair.is_exact()
    assert pair.leftovers() == []


def test_steps_on_an_existing_target_merge_what_changed(pair: Pair, engine: DataCopyEngine) -> None:
    receipt = engine.copy_table_data("t", "t")
    pair.source("UPDATE t SET v = 'x' WHERE id <= 3", "INSERT INTO t VALUES (51, '')")
    exported = engine.export_to_csv_with_xmin("t", since=receipt.watermark)
    temp = engine.import_csv_to_temp_table(exported)
    merged = engine.execute_merge_with_xmin(temp)
    assert (merged.inserted, merged.updated) == (1, 3)
    engine.cleanup_temp_table(temp)
    engine.cleanup_temp_files(exported)
    assert pair.is_exact()


def by_steps(engine: DataCopyEngine, **options: Any) -> None:
    exported = engine.export_to_csv_with_xmin("t", **options)
    temp = engine.import_csv_to_temp_table(exported)
    engine.execute_merge_with_xmin(temp)
    engine.cleanup_temp_table(temp)
    engine.cleanup_temp_files(exported)


def test_steps_follow_the_source_s_columns_as_a_run_does(
    pair: Pair, engine: DataCopyEngine
) -> None:
    mark = engine.copy_table_data("t", "t").watermark
    pair.source("ALTER TABLE t RENAME v TO w", "ALTER TABLE t ADD c integer DEFAULT 7")
    pair.source("ALTER TABLE t ADD r float DEFAULT random()")
    with pytest.raises(ConfigurationError, match="every row must be exported: column r"):
        by_steps(engine, since=mark)
    by_steps(engine)
    columns = "SELECT attname::text FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"
    assert pair.target(f"{columns} ORDER BY attnum") == [
        (name,) for name in ("id", "w", "source_xmin", "c", "r")
    ]
    assert pair.is_exact()
    # The state still has the columns of the last run.
    pair.source("DELETE FROM t WHERE id = 1")
    assert engine.copy_table_data_with_xmin("t", "t", deletes="hard").rows_written == 1
    assert pair.is_exact()


def test_steps_never_advance_the_mark(pair: Pair, engine: DataCopyEngine) -> None:
    engine.copy_table_data("t", "t")
    state = pair.target("SELECT version, watermark FROM sync_assets.state")
    pair.source("UPDATE t SET v = 'x' WHERE id <= 3")
    by_steps(engine)
    assert pair.target("SELECT version, watermark FROM sync_assets.state") == state
    assert engine.copy_table_data_with_xmin("t", "t").rows_unchanged == 3


def test_a_staging_table_that_was_cleaned_up_cannot_be_merged(
    pair: Pair, engine: DataCopyEngine
) -> None:
    exported = engine.export_to_csv_with_xmin("t")
    temp = engine.import_csv_to_temp_table(exported)
    engine.cleanup_temp_table(temp)
    with pytest.raises(ConfigurationError, match="is gone"):
        engine.execute_merge_with_xmin(temp)
    engine.cleanup_temp_files(exported)
    assert pair.leftovers() == []


def test_an_unknown_option_names_the_known_ones(engine: DataCopyEngine) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown option 'keys'.* key,"):
        engine.copy_table_data("t", "t", keys=["id"])
