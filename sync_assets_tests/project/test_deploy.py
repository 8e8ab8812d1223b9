"""What stands in `deploy/` fits the schemas of those who read it, and the image's command serves.

Nothing here runs a container.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
import jsonschema
import psutil
import pytest
import yaml
from dagster._api.list_repositories import sync_list_repositories_grpc
from dagster._config import process_config
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._grpc.client import DagsterGrpcClient
from dagster_docker import DockerRunLauncher
from dagster_k8s import K8sRunLauncher

from sync_assets.definitions import load_tables
from sync_assets.private_server.instance import child_environment, dagster_url
from sync_assets.private_server.processes import free_port, leashed
from sync_assets_tests.fixtures.inbox import Inbox
from sync_assets_tests.fixtures.live import quiet
from sync_assets_tests.fixtures.pair import eventually

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TABLE = "type: sync_assets.TableSync\nattributes: {tables: [source: a]}\n"
OURS_ALONE = ("run_launcher",)
"""What an instance in containers says beyond the dagster.yaml at the top of the project."""

# The chart's own schema allows these, and forbids all others where it is strict.
CHART = {
    "dagster-user-deployments": {"enabled", "enableSubchart", "deployments", "imagePullSecrets"},
    "dagsterWebserver": {"image", "env", "envSecrets", "replicaCount", "volumes", "volumeMounts"},
    "dagsterDaemon": {"image", "enabled", "runMonitoring", "runRetries", "runCoordinator", "env"},
    "runLauncher": {"type", "config"},
    "postgresql": {
        *("enabled", "image", "service", "postgresqlHost", "postgresqlUsername"),
        *("postgresqlPassword", "postgresqlDatabase", "postgresqlParams", "postgresqlScheme"),
    },
    "generatePostgresqlPasswordSecret": None,
    "global": {"postgresqlSecretName", "dagsterHome", "serviceAccountName"},
    "telemetry": {"enabled"},
    "pythonLogs": {"pythonLogLevel", "managedPythonLoggers", "dagsterHandlerConfig"},
    "additionalInstanceConfig": None,
}
K8S_RUN_LAUNCHER = {
    *("image", "imagePullPolicy", "jobNamespace", "loadInclusterConfig", "kubeconfigFile"),
    *("envConfigMaps", "envSecrets", "envVars", "volumeMounts", "volumes", "labels"),
    *("failPodOnRunFailure", "resources", "schedulerName", "securityContext", "runK8sConfig"),
}
USER_DEPLOYMENT = {
    *("name", "image", "dagsterApiGrpcArgs", "codeServerArgs", "includeConfigInLaunchedRuns"),
    *("port", "env", "envConfigMaps", "envSecrets", "annotations", "nodeSelector", "affinity"),
    *("tolerations", "podSecurityContext", "securityContext", "resources", "livenessProbe"),
    *("readinessProbe", "startupProbe", "labels", "volumeMounts", "volumes", "schedulerName"),
}


def read(*parts: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(DEPLOY.joinpath(*parts).read_text())
    return content


SHIPPED: dict[str, Any] = yaml.safe_load((ROOT / "dagster.yaml").read_text())


def test_the_compose_file_follows_the_compose_specification() -> None:
    place = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(read("docker", "compose.yaml"), json.loads(place.read_text()))


def test_every_process_that_loads_definitions_gets_the_same_environment() -> None:
    services = read("docker", "compose.yaml")["services"]
    ours = {name: s for name, s in services.items() if s["image"] == "sync-assets"}
    assert set(ours) == {"code", "webserver", "daemon", "worker"}
    for service in ours.values():
        kept = {k: v for k, v in service["environment"].items() if k != "DAGSTER_CURRENT_IMAGE"}
        assert kept == ours["daemon"]["environment"]
    launcher = read("docker", "dagster.yaml")["run_launcher"]["config"]
    assert set(launcher["env_vars"]) == set(ours["daemon"]["environment"])
    mounted = {place for each in ours.values() for place in each["volumes"] if "defs" in place}
    assert mounted == set(launcher["container_kwargs"]["volumes"])


def test_runs_in_docker_start_from_this_instance(
    source_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_PG_URL", dagster_url(source_url))
    with dg.instance_for_test(overrides=read("docker", "dagster.yaml")) as instance:
        assert isinstance(instance.run_launcher, DockerRunLauncher)


def test_runs_on_kubernetes_start_from_this_configuration() -> None:
    # Made from its configuration alone it would look for the cluster it runs in.
    launcher = read("kubernetes", "dagster.yaml")["run_launcher"]
    assert (launcher["module"], launcher["class"]) == ("dagster_k8s", K8sRunLauncher.__name__)
    found = process_config(K8sRunLauncher.config_type(), launcher["config"])  # type: ignore[no-untyped-call]
    assert found.success, found.errors


@pytest.mark.parametrize("place", ["docker", "kubernetes"])
def test_the_rest_of_the_instance_is_as_shipped(place: str) -> None:
    instance = read(place, "dagster.yaml")
    assert {key: value for key, value in instance.items() if key not in OURS_ALONE} == SHIPPED


def test_the_helm_values_name_only_what_the_chart_knows() -> None:
    values = read("kubernetes", "values.yaml")
    assert set(values) <= set(CHART)
    for name, known in CHART.items():
        assert known is None or set(values[name]) <= known, name
    [deployment] = values["dagster-user-deployments"]["deployments"]
    assert set(deployment) <= USER_DEPLOYMENT
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    assert set(launcher) <= K8S_RUN_LAUNCHER


def test_the_helm_values_make_the_instance_that_is_shipped() -> None:
    values = read("kubernetes", "values.yaml")
    added = values["additionalInstanceConfig"]
    assert {name: SHIPPED[name] for name in added} == added
    loggers = values["pythonLogs"]["managedPythonLoggers"]
    assert loggers == SHIPPED["python_logs"]["managed_python_loggers"]
    # As the chart does it: a coordinator of its own, and these added.
    queue = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}
    with dg.instance_for_test(overrides={"run_coordinator": queue, **added}) as instance:
        assert instance.global_op_concurrency_default_limit == 4
        assert instance.run_retries_enabled


def test_the_image_is_made_of_what_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY")]
    assert copied
    for place in (place for places in copied for place in places):
        assert (ROOT / place).exists(), place
        assert f"!{place}" in sent
    # hatchling wants every file that pyproject.toml names.
    [first, *_] = copied
    assert {"README.md", "LICENSE", "dagster.yaml", "workspace.yaml"} <= set(first)
    extras = re.search(r"'\.\[(.*)\]'", text)
    assert extras
    assert set(extras[1].split(",")) == {"celery", "docker", "k8s"}


@pytest.fixture
def served(tmp_path: Path, defs: str) -> Iterator[tuple[psutil.Process, DagsterGrpcClient]]:
    """The image's command at work on a defs.yaml, without the image."""
    with serving(tmp_path, defs) as found:
        yield found


@contextmanager
def serving(
    tmp_path: Path, defs: str, **variables: str
) -> Iterator[tuple[psutil.Process, DagsterGrpcClient]]:
    (tmp_path / "defs.yaml").write_text(defs)
    found = re.search(r"^CMD (.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    program, *words = json.loads(found[1])
    assert program == "dagster"
    port = free_port()
    words[words.index("--port") + 1] = str(port)
    own = {"SYNC_DEFS": str(tmp_path), "PYTHONPATH": str(ROOT), "DAGSTER_HOME": str(tmp_path)}
    own |= variables
    environment = child_environment(own, drop=("SYNC_", "DAGSTER_", "PG"))
    command = [sys.executable, "-m", "dagster", *words]
    with leashed(command, cwd=tmp_path, env=environment, **quiet()) as process:
        client = DagsterGrpcClient(port=port)
        assert eventually(lambda: _serves(client), seconds=60)
        yield psutil.Process(process.pid), client


def _serves(client: DagsterGrpcClient) -> bool:
    status: str = client.health_check_query()  # type: ignore[no-untyped-call]
    return status == "SERVING"


@pytest.mark.parametrize("defs", [TABLE], ids=["right"])
def test_the_image_serves_in_the_process_that_its_container_lives_by(
    served: tuple[psutil.Process, DagsterGrpcClient],
) -> None:
    process, client = served
    [repository] = sync_list_repositories_grpc(client).repository_symbols
    assert repository.repository_name == "__repository__"
    assert process.children() == []


@pytest.mark.parametrize("defs", [TABLE.replace("source", "sauce")], ids=["wrong"])
def test_the_image_says_why_a_file_does_not_load(
    served: tuple[psutil.Process, DagsterGrpcClient],
) -> None:
    _, client = served
    with pytest.raises(DagsterUserCodeProcessError, match="sauce"):
        sync_list_repositories_grpc(client)


def test_definitions_that_do_not_load_are_told_once_and_once_that_they_do_again(
    tmp_path: Path, inbox: Inbox
) -> None:
    def loads(defs: str) -> None:
        with serving(tmp_path, defs, SYNC_ALERT_WEBHOOK=inbox.webhook) as (_, client):
            with suppress(DagsterUserCodeProcessError):
                sync_list_repositories_grpc(client)
            # What is told of a load that went well is told beside it.
            assert eventually(lambda: len(inbox.posts) >= expected, seconds=60)

    expected = 0
    loads(TABLE)
    expected = 1
    loads(TABLE.replace("source", "sauce"))
    loads(TABLE.replace("source", "sauce"))
    expected = 2
    loads(TABLE)
    (begun, over) = (post["text"] for post in inbox.posts)
    assert "something is in the way of a sync" in begun
    assert "every table: ConfigurationError: " in begun
    assert "sauce" in begun
    assert "no longer in the way" in over


def test_the_container_s_location_has_the_same_name() -> None:
    [shipped] = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    [server] = read("docker", "workspace.yaml")["load_from"]
    names = (shipped["python_module"]["location_name"], server["grpc_server"]["location_name"])
    assert names[0] == names[1]


def test_a_config_map_is_read_through_its_links(tmp_path: Path) -> None:
    # Kubernetes mounts the files as links into a hidden folder that it swaps.
    hidden = tmp_path / "..2026_11_25_05_00_00.1"
    hidden.mkdir()
    (hidden / "defs.yaml").write_text(TABLE)
    (tmp_path / "..data").symlink_to(hidden.name)
    (tmp_path / "defs.yaml").symlink_to("..data/defs.yaml")
    keys = {spec.key.to_user_string() for spec in load_tables(tmp_path).resolve_all_asset_specs()}
    assert keys == {"source/public/a", "target/public/a"}
