"""`sync-assets workers`: the seed's report, for people, pipes and machines."""

from __future__ import annotations

import dataclasses

from click.testing import CliRunner

from sync_assets.cli import main
from sync_assets.engine.workers import WorkerReport, worker_report
from sync_assets_tests.fixtures.documents import printed


def test_a_pipe_gets_one_fact_per_line() -> None:
    result = CliRunner().invoke(main, ["workers"])
    facts = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert list(facts) == [
        "physical cores",
        "logical cores",
        "usable cores",
        "total memory",
        "available memory",
        "recommended workers",
        "reason",
    ]
    assert facts["recommended workers"] == str(worker_report().recommended_workers)
    assert "max_workers 8" in facts["reason"]


def test_json_has_the_reports_names() -> None:
    names = [field.name for field in dataclasses.fields(WorkerReport)]
    values = printed("workers")
    assert list(values) == ["version", *names]
    del values["version"]
    assert WorkerReport(**values).physical_cores == worker_report().physical_cores
