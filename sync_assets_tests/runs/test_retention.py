"""Old runs are forgotten, and never what is known of an asset."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from sync_assets.engine.errors import ConfigurationError
from sync_assets.runs.failures import LAUNCHED_BY
from sync_assets.runs.home import runs_kept
from sync_assets.runs.retention import forget_runs

OURS = {LAUNCHED_BY: "cli"}


@dg.asset
def often() -> None:
    """Materialized by every run."""


@dg.asset
def once() -> None:
    """Materialized by the first."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def run(instance: dg.DagsterInstance, *assets: dg.AssetsDefinition, ours: bool = True) -> str:
    job = dg.Definitions(assets=[often, once]).resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(
        instance=instance,
        asset_selection=[each.key for each in assets],
        tags=OURS if ours else None,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    return done.run_id


def test_the_oldest_runs_go_with_their_events_and_the_last_of_each_asset_stays(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    theirs = run(instance, often, ours=False)
    first = run(instance, often, once)
    old, new, newest = (run(instance, often) for _ in range(3))
    assert forget_runs(instance, OURS, 2) == 1
    assert [each.run_id for each in instance.get_runs()] == [newest, new, first, theirs]
    assert not list(tmp_path.rglob(f"{old}*"))
    for asset in (often, once):
        assert instance.get_latest_materialization_event(asset.key) is not None
    assert len(instance.fetch_materializations(often.key, limit=9).records) == 4
    assert forget_runs(instance, OURS, 2) == 0


def test_how_many_are_kept_is_a_number_from_one_up() -> None:
    assert runs_kept({}) is None
    assert runs_kept({"SYNC_RUNS_KEPT": " 50 "}) == 50
    for wrong in ("0", "-1", "many"):
        with pytest.raises(ConfigurationError):
            runs_kept({"SYNC_RUNS_KEPT": wrong})
