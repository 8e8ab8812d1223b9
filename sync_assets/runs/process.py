"""The process that executes a run, noted on the run, so that anyone on its host can look for it."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
from dagster._core.storage.tags import GRPC_INFO_TAG, HIDDEN_TAG_PREFIX

PROCESS = f"{HIDDEN_TAG_PREFIX}sync_process"
"""The tag that names run, host, process and when the process began; too wide for the page of runs.

The run too, for one that is tried again inherits the tags of the one before it.
"""


FIRST = 20
"""Engine events at the beginning of a run, of which one names its process."""

OWN_ADDRESSES = ("localhost", "127.0.0.1", "::1")

START_SECONDS = 300.0
"""Within which a run's process has named itself."""


def noted(run_id: str, pid: int | None = None) -> dict[str, str]:
    """The tag for a run that this process executes, or another one of this host."""
    # A process id is used again; with the time at which it began it is not.
    born = _born(psutil.Process(pid))
    return {PROCESS: f"{run_id} {_host()} {pid or os.getpid()} {born:.2f}"}


_executed: list[str] = []


def is_first_here(run_id: str) -> bool:
    """Whether this process has not been asked about that run before, or about another one since."""
    if run_id in _executed:
        return False
    _executed[:] = [run_id]
    return True


def note_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Note who executes the run of this step, once, where it is this process or its parent.

    A run's own process tells its id in the run's log, but not its host; a step in a worker of
    Celery or a pod of its own finds itself not meant, and notes nothing.
    """
    if run.tags.get(PROCESS, "").startswith(run.run_id):
        return
    parent = multiprocessing.parent_process()
    near = {os.getpid(), parent.pid if parent else None}
    for pid, _ in _told(instance, run.run_id):
        if pid in near:
            instance.add_run_tags(run.run_id, noted(run.run_id, pid))
            return


def seems_alive(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a process of this host has the id that the run's log names, and began just before."""
    for pid, at in _told(instance, run.run_id):
        with contextlib.suppress(psutil.NoSuchProcess):
            if 0 <= at - psutil.Process(pid).create_time() < START_SECONDS:
                return True
    return False


def is_gone(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a code server of this host started the run's process, which ended without a note.

    So where the daemon reached that server by an address of the host's own: who looks is a child of
    such a server too.
    """
    if run.tags.get(PROCESS, "").startswith(run.run_id):
        return False
    server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
    here = server.get("host") in OWN_ADDRESSES
    return here and any(_told(instance, run.run_id)) and not seems_alive(instance, run)


def _told(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[int, float]]:
    """The processes that the run's log names as executing it, and when they said so."""
    kind = dg.DagsterEventType.ENGINE_EVENT
    for record in instance.get_records_for_run(run_id, of_type=kind, limit=FIRST).records:
        entry = record.event_log_entry
        pid = entry.get_dagster_event().engine_event_data.metadata.get("pid")
        if pid is not None:
            yield int(str(pid.value)), entry.timestamp


def is_alive(run: dg.DagsterRun) -> bool | None:
    """Whether the process noted on the run lives; None where this host cannot tell."""
    run_id, host, pid, born = (run.tags.get(PROCESS, "").split(" ") + [""] * 4)[:4]
    if (run_id, host) != (run.run_id, _host()):
        return None
    try:
        process = psutil.Process(int(pid))
        same = abs(_born(process) - float(born)) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _born(process: psutil.Process) -> float:
    """Seconds from the machine's start to the process's own, which no change of the clock moves."""
    return float(process.create_time() - psutil.boot_time())


def _host() -> str:
    """This host, or this container of it: process ids mean something within it alone."""
    try:
        return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()
