"""Where one process executes many ops of a run, their work is done together, as each by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from threading import Thread
from typing import Any

import dagster as dg
import psycopg2
import pytest

from sync_assets import PostgresResource, TableSync
from sync_assets.assets import specs
from sync_assets.assets.ahead.portions import PORTION
from sync_assets.engine.postgres import time_outs
from sync_assets.launch.engines import kept_engines
from sync_assets_tests.fixtures.live import lock_waits
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.sessions import end_idle

SESSIONS = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
MANY = PORTION + 10


def executed(
    pair: Pair,
    tables: Sequence[dict[str, str]],
    *,
    sources_too: bool = False,
    beside: Sequence[dg.AssetsDefinition] = (),
    instance: dg.DagsterInstance | None = None,
    **attributes: object,
) -> dg.ExecuteInProcessResult:
    """A run as the daemon starts one: no command is in front of it."""
    component = TableSync.from_attributes_dict(attributes={"tables": tables, **attributes})
    resources = {
        "source": PostgresResource(url=pair.source_url),
        "target": PostgresResource(url=pair.target_url),
    }
    job = dg.Definitions.merge(
        dg.build_defs_for_component(component), dg.Definitions(beside, resources=resources)
    ).resolve_implicit_global_asset_job_def()
    targets = [*map(specs.target_key, component.tables), *(each.key for each in beside)]
    return job.execute_in_process(
        raise_on_error=False,
        instance=instance,
        asset_selection=None if sources_too else targets,
    )


def made(pair: Pair, number: int) -> list[dict[str, str]]:
    names = [f"t{place:02d}" for place in range(number)]
    for name in names:
        pair.source(f"CREATE TABLE {name} AS SELECT 1 AS id", f"ALTER TABLE {name} ADD UNIQUE (id)")
        pair.source(f"ALTER TABLE {name} ALTER id SET NOT NULL")
    return [{"source": name} for name in names]


def synced(result: dg.ExecuteInProcessResult) -> list[str]:
    events = result.get_asset_materialization_events()
    return sorted(event.asset_key.path[-1] for event in events if event.asset_key)


def failed(result: dg.ExecuteInProcessResult) -> list[str | None]:
    return [event.step_key for event in result.filter_events(lambda each: each.is_step_failure)]


@pytest.mark.parametrize("sources_too", [False, True])
def test_the_tables_of_a_run_share_a_handful_of_connections(pair: Pair, sources_too: bool) -> None:
    tables = made(pair, MANY)
    end_idle()
    ((before,),) = pair.source(SESSIONS)
    result = executed(pair, tables, sources_too=sources_too)
    assert len(synced(result)) == MANY
    end_idle()
    ((after,),) = pair.source(SESSIONS)
    assert after - before <= 6


def test_one_that_fails_takes_no_other_along(pair: Pair) -> None:
    tables = made(pair, 5)
    pair.source("DROP TABLE t02")
    result = executed(pair, tables)
    assert synced(result) == ["t00", "t01", "t03", "t04"]
    assert failed(result) == ["target__public__t02"]


def test_a_table_that_reads_what_another_one_of_the_run_writes_waits_for_it(pair: Pair) -> None:
    pair.source("CREATE TABLE one (id int PRIMARY KEY)", "INSERT INTO one VALUES (1)")
    pair.source("CREATE SCHEMA copy")
    # By their names the second comes first.
    tables = [
        {"source": "one", "target": "copy.z"},
        {"source": "copy.z", "target": "copy.a", "xmin_column": "seen"},
    ]
    result = executed(pair, tables, source_connection="source", target_connection="source")
    assert synced(result) == ["a", "z"]
    assert pair.source("SELECT id FROM copy.a") == [(1,)]


def test_steps_whose_number_is_not_known_yet_may_be_in_the_same_run(pair: Pair) -> None:
    @dg.op(out=dg.DynamicOut())
    def each() -> Iterator[dg.DynamicOutput[int]]:
        yield dg.DynamicOutput(1, "one")

    @dg.op
    def twice(number: int) -> int:
        return 2 * number

    @dg.op
    def all_of(numbers: list[int]) -> int:
        return sum(numbers)

    @dg.graph_asset
    def total() -> Any:
        return all_of(each().map(twice).collect())

    result = executed(pair, made(pair, 3), beside=[total])
    assert synced(result) == ["t00", "t01", "t02", "total"]


def test_a_run_that_is_cancelled_leaves_nothing_of_its_work_ahead(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_outs, "LOCK", 3_600_000)
    tables = made(pair, PORTION + 1)
    with kept_engines(), dg.instance_for_test() as instance:
        with closing(psycopg2.connect(pair.source_url)) as held, held.cursor() as cursor:
            cursor.execute(f"LOCK TABLE t{PORTION:02d}")
            run = Thread(target=executed, args=[pair, tables], kwargs={"instance": instance})
            run.start()
            assert eventually(lambda: lock_waits(pair.source_url) == 1, seconds=60)
            (found,) = instance.get_runs()
            instance.report_run_canceling(found)
            assert eventually(lambda: lock_waits(pair.source_url) == 0, seconds=60)
            run.join(60)
        assert instance.get_runs()[0].status is dg.DagsterRunStatus.CANCELED
    assert pair.leftovers() == []
