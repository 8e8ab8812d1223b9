"""The executors of this machine at work, and the pool that keeps the source's connections few."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sync_assets.private_server.processes import free_port
from sync_assets_tests.fixtures.inbox import serving
from sync_assets_tests.fixtures.live import lock_waits, locked
from sync_assets_tests.fixtures.pair import Pair, eventually, reading_role

DEFS = """\
type: sync_assets.TableSync
attributes:
  workers: {default_workers: 1, max_workers: 1, min_workers: 1}
  tables: [{source: one}, {source: two}]
"""
INSTANCE = (
    "concurrency: {pools: {granularity: op, default_limit: 1}}\ntelemetry: {enabled: false}\n"
)
BLOCKED = "blocked by limit for pool sync_source"


class Project:
    """Two tables, a Dagster home whose pools admit one step, and a reader with few connections."""

    def __init__(self, folder: Path, pair: Pair) -> None:
        self.folder, self.pair, self.home = folder, pair, folder / "home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text(INSTANCE)
        (folder / "defs.yaml").write_text(DEFS)
        for table in ("one", "two"):
            pair.source(f"CREATE TABLE {table} AS SELECT i AS id FROM generate_series(1, 9) i")
            pair.source(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")

    def materialize(self, executor: str, **environment: str) -> subprocess.Popen[str]:
        """Start a run of both tables, as `dagster` itself does."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        own = {
            "DAGSTER_HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SYNC_DEFS": str(self.folder),
            "SYNC_EXECUTOR": executor,
            "SYNC_SOURCE_URL": self.pair.source_url,
            "SYNC_TARGET_URL": self.pair.target_url,
        }
        words = ["asset", "materialize", "--select", "target/public/one,target/public/two"]
        command = [sys.executable, "-W", "ignore", "-m", "dagster", *words]
        return subprocess.Popen(
            [*command, "--module-name", "sync_assets.definitions"],
            env=kept | own | environment,
            cwd=self.folder,
            stderr=subprocess.PIPE,
            text=True,
        )

    def says(self, text: str) -> bool:
        """Whether the only run has logged something that holds this."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            [run] = instance.get_runs()
            return any(text in entry.user_message for entry in instance.all_logs(run.run_id))


@pytest.fixture
def project(tmp_path: Path, pair: Pair) -> Project:
    return Project(tmp_path, pair)


def test_in_process(project: Project) -> None:
    process = project.materialize("in_process")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert project.pair.is_exact("public.one", "public.two")
    assert not project.says("subprocess")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """An OpenTelemetry collector on loopback."""
    made = Collector()
    with serving(made.handler()) as port:
        made.endpoint = f"http://127.0.0.1:{port}"
        yield made


@dataclass
class Collector:
    """The spans that arrived, and where more may go."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)

    def handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        """What answers a request with spans."""
        spans = self.spans

        class Traces(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Traces


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_a_run_is_one_trace_of_its_tables_and_their_phases(
    project: Project, collector: Collector, executor: str
) -> None:
    with reading_role(project.pair, "SELECT ON one") as project.pair:
        process = project.materialize(executor, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        process.communicate(timeout=120)
    with dg.DagsterInstance.from_config(str(project.home)) as instance:
        [run] = instance.get_runs()
    assert {span.trace_id.hex() for span in collector.spans} == {run.run_id.replace("-", "")}
    tables = {span.name: span for span in collector.spans if not span.parent_span_id}
    assert set(tables) == {"sync public.one", "sync public.two"}
    done, failed = tables["sync public.one"], tables["sync public.two"]
    told = {each.key: each.value for each in done.attributes}
    assert told["sync_assets.rows_inserted"].int_value == 9
    assert told["sync_assets.source_connection"].string_value == "source"
    phases = [span for span in collector.spans if span.parent_span_id == done.span_id]
    assert [span.name for span in sorted(phases, key=lambda each: each.start_time_unix_nano)] == [
        *("identify", "lock", "snapshot", "plan", "chunk", "export", "load", "merge", "state"),
        *("commit", "clean up"),
    ]
    assert done.status.code == Status.STATUS_CODE_UNSET
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert "public.two" in failed.status.message


@pytest.mark.slow
def test_a_collector_that_is_away_fails_no_run(project: Project) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    limits = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    process = project.materialize("in_process", OTEL_EXPORTER_OTLP_ENDPOINT=away, **limits)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "Failed to export spans" in said
    assert project.pair.is_exact("public.one", "public.two")


@pytest.mark.slow
def test_multiprocess_keeps_to_the_pool_and_the_source_s_connections(project: Project) -> None:
    # One step may read at a time, with max_workers + 2 connections: the server refuses a fourth.
    admin = project.pair.source_url
    with reading_role(project.pair, "SELECT ON one, two", "CONNECTION LIMIT 3") as project.pair:
        with locked(admin, "one"), locked(admin, "two"):
            process = project.materialize("multiprocess")
            assert eventually(lambda: lock_waits(admin) == 1, seconds=180)
            assert eventually(lambda: project.says(BLOCKED), seconds=180)
            assert lock_waits(admin) == 1
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert project.pair.is_exact("public.one", "public.two")
    assert project.says("Launching subprocess")
