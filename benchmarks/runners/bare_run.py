"""A run of as many assets that do nothing, an op and two metadata entries each: what Dagster takes."""

from __future__ import annotations

import os
import sys

import dagster as dg


def asset(name: str) -> dg.AssetsDefinition:
    """One asset that is materialized at once."""

    @dg.asset(name=name)
    def body() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"rows": 100, "seconds": 0.1})

    return body


if sys.argv[-1] != "prepare":
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    job = dg.Definitions(
        assets=[asset(name) for name in os.environ["ASKED"].split()]
    ).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        job.execute_in_process(instance=instance, run_config=quiet)
