"""The ops of ours that a run executes in one process, and their work, which is done ahead there.

One step after another is executed in the process of a run whose executor is `in_process`, as the
schedules' and sensors' runs are and those of the command line; elsewhere each has a process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg

from sync_assets.assets import specs
from sync_assets.assets.ahead.begun import Ahead, Begun, Job
from sync_assets.assets.ahead.portions import jobs_of
from sync_assets.assets.launchpad import SyncConfig
from sync_assets.assets.work import SyncOp, Work
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.runs.in_flight import left_to
from sync_assets.runs.listener import current_listener
from sync_assets.runs.run_watch import stopped_with_run
from sync_assets.runs.tracing import traced
from sync_assets.runs.unexported import unexported

with unexported():
    from dagster._core.execution.plan.step import ExecutionStep


_made: WeakKeyDictionary[dg.OpDefinition, SyncOp] = WeakKeyDictionary()
_ahead: dict[tuple[str, str, str], Ahead | None] = {}
_lock = threading.Lock()
_parallel: ContextVar[int] = ContextVar("sync_assets_parallel", default=1)


def remember(made: dg.AssetsDefinition, op: SyncOp) -> dg.AssetsDefinition:
    """Remember what an asset's op was made of, for as long as there is the op."""
    _made[made.op] = op
    return made


@contextmanager
def parallel_jobs(number: int) -> Iterator[None]:
    """Let the runs of this thread, inside the block, do so many jobs at once."""
    token = _parallel.set(number)
    try:
        yield
    finally:
        _parallel.reset(token)


def work_ahead(
    context: dg.OpExecutionContext, op: SyncOp, urls: tuple[DatabaseOrUrl, DatabaseOrUrl]
) -> Ahead | None:
    """What is done ahead in this run and process between an op's ends; None where it is the only one."""
    key = (context.run_id, *op.ends)
    with _lock:
        if key not in _ahead:
            others = [each for each in _ahead.items() if each[0][0] != context.run_id]
            for other, ahead in others:
                if ahead is None or ahead.is_over:
                    del _ahead[other]
            works = list(_works(context, op, urls))
            _ahead[key] = _begin(context, works) if len(works) > 1 else None
        return _ahead[key]


def _begin(context: dg.OpExecutionContext, works: Sequence[Work]) -> Ahead:
    kept, parallel = ExitStack(), _parallel.get()
    listener = traced(current_listener(), context.run_id)
    jobs = jobs_of(works, listener, parallel, kept)
    keys = {work.op.name: specs.target_key(work.members[0]) for work in works}
    watched = [(ops, partial(_watched, context, keys, job)) for ops, job in jobs]
    return Ahead(watched, parallel, kept)


def _works(
    context: dg.OpExecutionContext, op: SyncOp, urls: tuple[DatabaseOrUrl, DatabaseOrUrl]
) -> Iterator[Work]:
    """The work of each op between the same ends that waits for no step but those that are done."""
    step_context = context.get_step_execution_context()
    plan, configs = step_context.execution_plan, step_context.resolved_run_config.ops
    done = step_context.step.get_execution_dependency_keys()
    open_steps = set(plan.step_keys_to_execute) - done
    for step in map(plan.get_step_by_key, plan.step_keys_to_execute):
        if not isinstance(step, ExecutionStep):
            continue  # how many there will be is not known yet
        node = context.job_def.get_node(step.node_handle)
        made = _made.get(node.definition) if isinstance(node.definition, dg.OpDefinition) else None
        if made and made.ends == op.ends and not step.get_execution_dependency_keys() & open_steps:
            given: dict[str, Any] = dict(configs[node.name].config or {})  # type: ignore[call-overload]
            yield Work(made, SyncConfig(**given), urls, context.run_id)


def _watched(
    context: dg.OpExecutionContext,
    keys: Mapping[str, dg.AssetKey],
    job: Job,
    begun: Mapping[str, Begun],
) -> None:
    """Do a job for as long as its run lives, but for what a later run was asked for meanwhile.

    `keys` are the first assets of the run's ops, by their names.
    """
    left = left_to(context.instance, context.run, [keys[op] for op in begun])
    rest = {op: each for op, each in begun.items() if keys[op] not in left}
    for op in begun.keys() - rest.keys():
        begun[op].done.cancel()

    def cancel() -> None:
        for each in rest.values():
            each.cancel()

    if rest:
        with stopped_with_run(context.instance, context.run_id, cancel):
            job(rest)
