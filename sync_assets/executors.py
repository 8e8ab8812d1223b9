"""Dagster's executor by name, from the environment; only the one asked for is imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import dagster as dg

from sync_assets.engine.errors import ConfigurationError

EXECUTORS = {
    "in_process": ("dagster", "in_process_executor"),
    "multiprocess": ("dagster", "multiprocess_executor"),
    "celery": ("dagster_celery", "celery_executor"),
    "docker": ("dagster_docker", "docker_executor"),
    "k8s": ("dagster_k8s", "k8s_job_executor"),
}


def executor_from(environment: Mapping[str, str]) -> dg.ExecutorDefinition | None:
    """The executor SYNC_EXECUTOR names; None leaves Dagster its default."""
    name = environment.get("SYNC_EXECUTOR")
    if not name:
        return None
    if name not in EXECUTORS:
        raise ConfigurationError(
            f"SYNC_EXECUTOR is {name!r}", remedy=f"Use one of {', '.join(EXECUTORS)}."
        )
    module, attribute = EXECUTORS[name]
    try:
        executor = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"SYNC_EXECUTOR is {name!r}, but the module {error.name} is not installed",
            remedy=f"Install sync-assets[{name}].",
        ) from None
    return executor  # type: ignore[no-any-return]  # by its name
