"""Schedules: syncs by the clock, sweeps for deleted rows, and full passes that reconcile."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from sync_assets.assets import specs
from sync_assets.automation.idle import idle_ops, keep_fresh
from sync_assets.automation.shares import Op, Traffic, left_out, part_of, traffic
from sync_assets.config.automation import chosen_and_status
from sync_assets.config.model import SyncedTable
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.runs.in_flight import REQUESTED_BY, in_one_process

Times = tuple[str, str]
"""A cron expression, and the time zone it holds in."""

PURPOSES: tuple[tuple[str, str, Mapping[str, bool] | None, str], ...] = (
    ("sync", "schedule", None, "Syncs"),
    (
        "sweep_deletes",
        "delete_schedule",
        {"sweep_deletes": True},
        "Looks for rows that the source has deleted in",
    ),
    (
        "reconcile",
        "reconcile",
        {"full_refresh": True},
        "Reads every row of the source again and corrects",
    ),
)
"""Name, key in defs.yaml, what the run is told, and the description's first words."""


def schedules_of(component: str, ops: Sequence[Op]) -> list[dg.ScheduleDefinition]:
    """One schedule for each purpose, cron expression and time zone of a component's tables."""
    return [
        _schedule(
            specs.schedule_name(component, purpose, _first_of_its_own(key, those)),
            times,
            those,
            config,
            words,
        )
        for purpose, key, config, words in PURPOSES
        for times, those in _by_times(key, ops)
    ]


def _by_times(key: str, ops: Sequence[Op]) -> Iterator[tuple[Times, list[Op]]]:
    found: dict[Times, list[Op]] = {}
    for op in ops:
        automation = op[0].automation
        cron = getattr(automation, key)
        if cron is not None:
            found.setdefault((cron, automation.timezone), []).append(op)
    yield from found.items()


def _first_of_its_own(key: str, ops: Sequence[Op]) -> SyncedTable | None:
    """The first of the tables, unless some have these times from `defaults`."""
    own = all({key, "timezone"} & op[0].automation.own for op in ops)
    return ops[0][0] if own else None


def _schedule(
    name: str, times: Times, ops: Sequence[Op], config: Mapping[str, bool] | None, words: str
) -> dg.ScheduleDefinition:
    cron, timezone = times
    chosen, running = chosen_and_status(ops, lambda op: op[0].automation.running)
    keys = [specs.target_key(each) for op in chosen for each in op]
    names = {specs.op_of(op[0]): op for op in chosen}
    source, target = chosen[0][0].source_connection, chosen[0][0].target_connection
    status = dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name=name,
        cron_schedule=cron,
        execution_timezone=timezone,
        target=dg.AssetSelection.assets(*keys),
        default_status=status,
        required_resource_keys={source, target},
        description=f"{words} {', '.join(str(each.table.target) for op in chosen for each in op)}.",
        metadata=left_out(ops, chosen),
    )
    def due(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        databases = (getattr(context.resources, each) for each in (source, target))
        source_url, target_url = (each.database for each in databases)
        part, pool = part_of(name, chosen, target_url), specs.pool(chosen[0][0])
        now = traffic(context.instance, part, pool)
        free = {name: op for name, op in names.items() if now.is_free(name)}
        idle: Collection[str] = ()
        if config is None:
            idle = _left_idle(context.instance, free, (source_url(), target_url()))
        # What is left out comes with the next tick: it is in flight, or nothing was written to it.
        runs = now.shares([(each, each) for each in free if each not in idle])
        if not runs:
            return dg.SkipReason(_why_none(now, idle))
        return [
            dg.RunRequest(
                run_key=str(number) if len(runs) > 1 else None,
                asset_selection=[specs.target_key(each) for op in run for each in names[op]],
                run_config=_told(config, run) | in_one_process(context.repository_def),
                tags={REQUESTED_BY: name},
            )
            for number, run in enumerate(runs)
        ]

    return due


def _left_idle(
    instance: dg.DagsterInstance, ops: Mapping[str, Op], urls: tuple[DatabaseOrUrl, DatabaseOrUrl]
) -> Collection[str]:
    found = idle_ops(instance, list(ops.values()), urls)
    keep_fresh(
        instance,
        (each for name, told in found.items() for each in zip(ops[name], told, strict=True)),
    )
    return found


def _why_none(now: Traffic, idle: Collection[str]) -> str:
    said = [f"Nothing new since the last run: {len(idle)}."] if idle else []
    return " ".join([*said, *([now.in_words] if now.flying else [])])


def _told(config: Mapping[str, bool] | None, ops: Sequence[str]) -> dict[str, Any]:
    return {"ops": {op: {"config": dict(config)} for op in ops}} if config else {}
