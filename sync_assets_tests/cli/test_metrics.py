"""`sync-assets metrics`: what Prometheus reads, and that it is what the databases say."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import psycopg2
import pytest
import yaml
from click.testing import CliRunner, Result
from prometheus_client import Metric
from prometheus_client import parser as text_format
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from sync_assets.cli import main
from sync_assets.cli.monitoring.openmetrics import families
from sync_assets.cli.selection import configured_tables
from sync_assets.hindrances.circumstances import Failure
from sync_assets.hindrances.record import record_failures
from sync_assets.launch.instance import opened_instance
from sync_assets.private_server.processes import free_port, leashed
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.snippets import ROOT

DEFS = """\
type: sync_assets.TableSync
attributes:
  tables:
    - source: public.orders
      target: '"odd ""name".orders'
      freshness: 1 hour
    - source: public.never
"""
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "sync-assets.json"
ODD = '"odd ""name".orders'

Samples = dict[str, dict[tuple[str, ...], float]]


@pytest.fixture
def project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Two tables, of which one was synced twice."""
    (tmp_path / "defs.yaml").write_text(DEFS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    pair.source(
        "CREATE TABLE orders (id int PRIMARY KEY, v text)",
        "INSERT INTO orders SELECT generate_series(1, 5)",
        "CREATE TABLE never (id int PRIMARY KEY)",
    )
    engine = pair.engine()
    engine.copy_table_data_with_xmin("public.orders", ODD)
    pair.source("UPDATE orders SET v = 'x' WHERE id < 3", "INSERT INTO orders VALUES (6)")
    engine.copy_table_data_with_xmin("public.orders", ODD)
    return pair


def _metrics(*words: str) -> Result:
    return CliRunner().invoke(main, ["metrics", *words])


def parsed(text: str) -> Samples:
    """Each sample by its name, then by the values of its labels: the target's first."""
    assert text.endswith("# EOF\n")
    found = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return _by_name(found)


def in_file(file: Path) -> Samples:
    """What node_exporter reads in a file, in Prometheus' older format."""
    return _by_name(text_format.text_string_to_metric_families(file.read_text()))


def _by_name(found: Iterable[Metric]) -> Samples:
    samples: Samples = defaultdict(dict)
    for sample in (sample for family in found for sample in family.samples):
        labels = sorted(sample.labels, key=lambda label: (label != "target", label))
        at = tuple(sample.labels[label] for label in labels)
        samples[sample.name.removeprefix("sync_assets_")][at] = sample.value
    return samples


def test_the_numbers_are_those_of_state_receipt_and_status(project: Pair) -> None:
    result = _metrics()
    assert result.exit_code == 0, result.output
    found = parsed(result.stdout)
    at = (ODD, "target")
    ((synced, rows),) = project.target(
        "SELECT extract(epoch FROM synced_at)::float8, rows_in_target FROM sync_assets.state"
    )
    assert found["table_last_run_timestamp_seconds"][at] == pytest.approx(synced, abs=1e-3)
    assert found["table_rows"][at] == rows == 6
    moved = ("read", "inserted", "updated", "deleted")
    assert [found[f"table_last_receipt_rows_{name}"][at] for name in moved] == [3, 1, 2, 0]
    assert found["table_runs_total"][at] == 2
    assert found["table_last_receipt_full_pass"][at] == 0
    assert found["table_freshness_limit_seconds"][at] == 3600
    assert 0 < found["table_last_receipt_duration_seconds"][at] < 60
    assert 0 <= found["table_data_age_seconds"][at] < 60
    assert found["table_hindrances"][at] == 0
    assert found["up"]["source", "source"] == found["up"]["target", "target"] == 1
    # Nothing is said of what was never synced.
    assert ("public.never", "target") not in found["table_rows"]
    assert found["table_info"]["public.never", "target", "xmin_incremental", "public.never"] == 1


def test_what_holds_marks_back_and_what_hinders_is_told(project: Pair) -> None:
    with closing(psycopg2.connect(project.source_url)) as holder, holder.cursor() as cursor:
        cursor.execute("INSERT INTO never VALUES (1)")
        project.source("INSERT INTO orders VALUES (7)")
        found = parsed(_metrics().stdout)
        assert found["source_mark_behind_transactions"][("source",)] > 0
        assert 0 < found["source_mark_holder_age_seconds"][("source",)] < 60
    project.source("DROP TABLE never")
    found = parsed(_metrics().stdout)
    assert found["source_mark_holder_age_seconds"][("source",)] == 0
    assert found["table_hindrance"]["public.never", "target", "table_gone"] == 1
    assert found["table_hindrances"]["public.never", "target"] == 1


def test_a_failed_sync_is_told_that_dagster_has_recorded(project: Pair) -> None:
    printed("run", ODD)
    _, (synced, _never) = configured_tables()
    failure = Failure("OutOfSpace", "OutOfSpace: no space", "Free some.", time.time() + 1)
    with opened_instance() as instance:
        record_failures(instance, [synced], {synced.table.target: failure})
    found = parsed(_metrics().stdout)
    assert found["table_hindrance"][ODD, "target", "failed"] == 1
    assert found["table_hindrances"][ODD, "target"] == 1


def test_an_end_that_does_not_answer_is_down_and_says_nothing_else(
    project: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = "postgresql://sync:geheim@127.0.0.1:1/lake"
    monkeypatch.setenv("SYNC_SOURCE_URL", nobody)
    result = _metrics()
    assert result.exit_code == 0, result.output
    found = parsed(result.stdout)
    assert (found["up"]["source", "source"], found["up"]["target", "target"]) == (0, 1)
    assert found["table_rows"][ODD, "target"] == 6
    assert (ODD, "target") not in found["table_data_age_seconds"]
    monkeypatch.setenv("SYNC_TARGET_URL", nobody)
    result = _metrics("--textfile", str(tmp_path / "x.prom"))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    text = (tmp_path / "x.prom").read_text()
    assert in_file(tmp_path / "x.prom")["up"]["target", "target"] == 0
    assert "geheim" not in result.output + text


def test_a_file_is_written_whole_for_node_exporter(project: Pair, tmp_path: Path) -> None:
    file = tmp_path / "sync_assets.prom"
    file.write_text("before\n")
    inode = file.stat().st_ino
    assert _metrics("--textfile", str(file)).exit_code == 0
    assert in_file(file)["up"]["target", "target"] == 1
    assert in_file(file)["table_runs_total"][ODD, "target"] == 2
    assert file.stat().st_ino != inode
    assert file.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in tmp_path.glob(".*")] == []
    result = _metrics("--textfile", str(tmp_path / "nowhere" / "x.prom"))
    assert result.exit_code == 2
    assert "x.prom cannot be written: No such file or directory" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "9187"], "Write host:port"),
        (["--listen", "127.0.0.1:99999"], "Write host:port"),
        (["--listen", "127.0.0.1:0", "--textfile", "x"], "Keep one of the two"),
        (["--listen", "192.0.2.1:9187"], "nothing can listen at 192.0.2.1:9187"),
    ],
)
def test_what_it_cannot_do_says_why(project: Pair, words: list[str], said: str) -> None:
    result = _metrics(*words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_what_to_install_is_said(project: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    result = _metrics()
    assert result.exit_code == 2
    assert "pip install 'sync-assets[metrics]'" in result.stderr


@pytest.fixture
def listening(project: Pair) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, listening, and where."""
    words = [sys.executable, "-m", "sync_assets.cli", "metrics", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            said = process.stderr.readline()
            yield process, re.findall(r"http://\S+/metrics", said)[0]
        finally:
            process.kill()


def test_each_scrape_reads_anew_until_ctrl_c(
    project: Pair, listening: tuple[subprocess.Popen[str], str]
) -> None:
    process, url = listening
    at = (ODD, "target")
    with urlopen(url) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert parsed(answer.read().decode())["table_rows"][at] == 6
    project.source("INSERT INTO orders VALUES (8)")
    project.engine().copy_table_data_with_xmin("public.orders", ODD)
    with urlopen(url) as answer:
        found = parsed(answer.read().decode())
    assert (found["table_rows"][at], found["table_runs_total"][at]) == (7, 3)
    # One connection to each end is kept from scrape to scrape.
    ours = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'sync_assets' AND datname = current_database()"
    )
    assert project.source(ours) == project.target(ours) == [(1,)]
    # One that was lost is opened anew.
    project.target(ours.replace("count(*)", "pg_terminate_backend(pid)"))
    with urlopen(url) as answer:
        assert parsed(answer.read().decode())["up"]["target", "target"] == 1
    older = Request(url, headers={"Accept": "text/plain;version=0.0.4"})
    with urlopen(older) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert b"# TYPE sync_assets_table_runs_total counter" in answer.read()
    with pytest.raises(HTTPError, match="404") as refused:
        urlopen(url.removesuffix("metrics"))
    refused.value.close()
    process.send_signal(signal.SIGINT)
    assert process.stderr
    assert process.stderr.read().strip() == "Interrupted."
    assert process.wait() == 130


def printed_names() -> set[str]:
    """Every metric, as its samples are called."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families([], "0")
    }


def test_the_page_says_what_each_metric_means() -> None:
    page = (ROOT / "docs" / "operating.md").read_text().split("### Prometheus")[1]
    told = set(re.findall(r"`(\w+)`", page))
    silent = {
        name
        for name in (each.removeprefix("sync_assets_") for each in printed_names())
        if not {name, name.removeprefix("table_last_receipt_")} & told
    }
    assert silent == set()


def test_alerts_and_the_dashboard_name_only_what_is_printed() -> None:
    rules = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len(alerts) > 5
    board = json.dumps(json.loads(DASHBOARD.read_text()))
    named = {
        name
        for text in (*(rule["expr"] for rule in alerts), board)
        for name in re.findall(r"\bsync_assets_\w+", text)
    }
    assert len(named) > 10
    assert named - printed_names() == set()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules_and_the_numbers(project: Pair, tmp_path: Path) -> None:
    rules = ["promtool", "check", "rules", str(PROMETHEUS / "alerts.yaml")]
    assert subprocess.run(rules, check=False, capture_output=True).returncode == 0
    assert _metrics("--textfile", str(tmp_path / "x.prom")).exit_code == 0
    with (tmp_path / "x.prom").open() as file:
        checked = subprocess.run(
            ["promtool", "check", "metrics"],
            stdin=file,
            text=True,
            check=False,
            capture_output=True,
        )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_every_panel_of_the_dashboard_shows_something(
    project: Pair, listening: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    project.source("DROP TABLE never")
    at, port = listening[1].split("/")[2], free_port()
    scraped = {"job_name": "sync-assets", "static_configs": [{"targets": [at]}]}
    settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scraped]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    words = [
        *("prometheus", f"--config.file={tmp_path / 'prometheus.yml'}", "--log.level=error"),
        *(f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"),
    ]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {each["expr"]: panel["title"] for panel in panels for each in panel["targets"]}
    assert len(asked) > 14

    def silent() -> list[str]:
        return [title for expr, title in asked.items() if not series(port, expr)]

    with leashed(words, cwd=tmp_path, env=os.environ):
        assert eventually(lambda: not silent(), seconds=30), silent()


def series(port: int, expr: str) -> list[Any]:
    """What a Prometheus answers to a query of the dashboard, all tables being chosen."""
    query = urlencode({"query": expr.replace("$target", ".*")})
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}") as answer:
            found: list[Any] = json.load(answer)["data"]["result"]
    except URLError:  # it is still starting
        return []
    return found
