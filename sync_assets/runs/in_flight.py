"""Runs that have not ended, so that sensors and schedules never pile up new ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from sync_assets.runs.failures import of_command

REQUESTED_BY = "sync/requested_by"
"""The tag that names the sensor or schedule a run came from."""

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ADAPTABLE = "multi_or_in_process_executor"
IN_PROCESS: Mapping[str, Any] = {"execution": {"config": {"in_process": {}}}}


@dataclass(frozen=True, slots=True)
class InFlight:
    """The runs under way: the requesters they came from, and the assets they work on."""

    requesters: Mapping[str, str]
    assets: Collection[dg.AssetKey]


def in_flight(instance: dg.DagsterInstance) -> InFlight:
    """Every run that has not ended, but for those of the command line.

    Nobody but the next command closes one of those whose process was killed; the lock on the
    target keeps a run that meets a living one waiting.
    """
    runs = [
        run for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)) if not of_command(run)
    ]
    return InFlight(
        {run.tags[REQUESTED_BY]: run.run_id for run in runs if REQUESTED_BY in run.tags},
        {key for run in runs for key in run.asset_selection or ()},
    )


def in_one_process(repository: dg.RepositoryDefinition | None) -> dict[str, Any]:
    """Run configuration that spares a process per table, where the executor leaves the choice.

    Workers already read a table in parallel; a process costs more than a sync that finds little.
    """
    if repository is None:
        return {}
    executor = repository.get_implicit_global_asset_job_def().executor_def
    return dict(IN_PROCESS) if executor.name == ADAPTABLE else {}
