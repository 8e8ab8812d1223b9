"""Dagster's executor by name, from the environment; only the one asked for is imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

import dagster as dg

from sync_assets.engine.errors import ConfigurationError

EXECUTORS = {
    "in_process": ("dagster", "in_process_executor"),
    "multiprocess": ("dagster", "multiprocess_executor"),
    "celery": ("dagster_celery", "celery_executor"),
    "docker": ("dagster_docker", "docker_executor"),
    "k8s": ("dagster_k8s", "k8s_job_executor"),
}
CELERY_URLS: Mapping[str, str] = MappingProxyType(
    {"broker": "SYNC_CELERY_BROKER", "backend": "SYNC_CELERY_BACKEND"}
)
"""Celery's name for a URL, and the variable that holds it."""

CELERY_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        # A worker takes what it can begin now: a step waiting behind another is nobody's.
        "worker_prefetch_multiplier": 1,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            # Redis hands a task that waits for longer to a second worker. As dagster.yaml's
            # max_runtime_seconds: by then the run is over.
            "visibility_timeout": 43200,
            "max_retries": 3,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
    }
)
"""Settings of Celery, for the process that hands out steps and for the workers alike."""


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
        executor: dg.ExecutorDefinition = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"SYNC_EXECUTOR is {name!r}, but the module {error.name} is not installed",
            remedy=f"Install sync-assets[{name}].",
        ) from None
    if name == "celery":
        return executor.configured(_celery_config(environment), name=name)
    return executor


def celery_urls(environment: Mapping[str, str]) -> dict[str, str]:
    """Celery's broker and backend; raises ConfigurationError if one is not set."""
    for variable in CELERY_URLS.values():
        if not environment.get(variable):
            raise ConfigurationError(
                f"SYNC_EXECUTOR is 'celery', but {variable} is not set",
                remedy="Name a broker that all workers reach, like redis://host:6379/0.",
            )
    return {name: environment[variable] for name, variable in CELERY_URLS.items()}


def _celery_config(environment: Mapping[str, str]) -> dict[str, Any]:
    celery_urls(environment)
    # By name, not by value: a broker's URL holds a password.
    urls = {name: {"env": variable} for name, variable in CELERY_URLS.items()}
    return {**urls, "config_source": dict(CELERY_SETTINGS)}
