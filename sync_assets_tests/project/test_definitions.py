"""The code location loads what the environment names, and connects to nothing."""

from __future__ import annotations

import time
from pathlib import Path

import dagster as dg
import pytest

from sync_assets import PostgresResource
from sync_assets.definitions import defs, load_tables
from sync_assets.engine import Database
from sync_assets.engine.errors import ConfigurationError
from sync_assets.executors import CELERY_URLS, EXECUTORS, executor_from

TABLES = "type: sync_assets.TableSync\nattributes:\n  tables: [source: a]\n"


def loaded() -> dg.Definitions:
    return defs()


def keys(definitions: dg.Definitions) -> set[str]:
    return {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SYNC_DEFS", "SYNC_EXECUTOR", "SYNC_SOURCE_URL", "SYNC_TARGET_URL"):
        monkeypatch.delenv(name, raising=False)


def test_what_is_shipped_holds_no_tables_and_loads() -> None:
    dg.Definitions.validate_loadable(loaded())
    assert keys(loaded()) == set()


@pytest.mark.parametrize("of", ["folder", "file"])
def test_sync_defs_replaces_it(of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "defs.yaml").write_text(TABLES)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path if of == "folder" else tmp_path / "defs.yaml"))
    dg.Definitions.validate_loadable(loaded())
    assert keys(loaded()) == {"source/public/a", "target/public/a"}


def test_folders_below_it_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep" / "shop").mkdir(parents=True)
    (tmp_path / "deep" / "shop" / "defs.yaml").write_text(TABLES)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    assert keys(loaded()) == {"source/public/a", "target/public/a"}


def test_a_mistake_is_raised_as_it_is_and_not_within_dagster_s_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "defs.yaml").write_text(TABLES.replace("source", "sorce"))
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"defs\.yaml:3: .*did you mean source\?"):
        loaded()


def test_connections_are_bound_to_their_variables_and_need_no_value_yet(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(
        TABLES.replace("tables", "source_connection: erp\n  tables")
    )
    resources = load_tables(tmp_path).resources or {}
    assert set(resources) == {"erp", "source", "target"}
    assert all(isinstance(resource, PostgresResource) for resource in resources.values())


def test_a_connection_that_is_not_called_source_has_its_own_command_and_bastion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_ERP_URL", "postgresql://u@h/d")
    monkeypatch.setenv("SYNC_ERP_PASSWORD_COMMAND", "echo s3cret")
    monkeypatch.setenv("SYNC_ERP_SSH", "me@bastion")
    monkeypatch.setenv("SYNC_PASSWORD_LIFETIME", "60")
    (tmp_path / "defs.yaml").write_text(
        TABLES.replace("tables", "source_connection: erp\n  tables")
    )
    bound = (load_tables(tmp_path).resources or {})["erp"]
    assert "s3cret" not in repr(bound)
    with dg.build_resources({"erp": bound}) as resources:
        database = resources.erp.database()
    assert database == Database("postgresql://u@h/d", "echo s3cret", 60, "me@bastion")


def test_definitions_are_read_once_per_process(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(TABLES)
    assert load_tables(tmp_path) is load_tables(tmp_path)


def test_a_thousand_tables_load_in_seconds(tmp_path: Path) -> None:
    entries = "".join(f"    - source: t{number}\n" for number in range(1000))
    (tmp_path / "defs.yaml").write_text(
        f"type: sync_assets.TableSync\nattributes:\n  tables:\n{entries}"
    )
    start = time.process_time()
    repository = load_tables(tmp_path).get_repository_def()
    # About 2 s of CPU; what grows with the square of the tables would take minutes.
    assert time.process_time() - start < 20
    assert len(repository.asset_graph.materializable_asset_keys) == 1000


def test_a_resource_does_not_show_its_url() -> None:
    assert "s3cret" not in repr(PostgresResource(url="postgresql://u:s3cret@h/d"))


def test_dagster_s_own_executor_is_the_default() -> None:
    assert executor_from({}) is None


@pytest.mark.parametrize("name", ["in_process", "multiprocess", "docker", "k8s"])
def test_an_executor_is_chosen_by_its_name(name: str) -> None:
    executor = executor_from({"SYNC_EXECUTOR": name})
    assert executor is not None
    assert executor.name == name


def test_an_unknown_executor_is_an_error_that_names_the_known() -> None:
    with pytest.raises(ConfigurationError, match=f"'swarm'.*{', '.join(EXECUTORS)}"):
        executor_from({"SYNC_EXECUTOR": "swarm"})


def test_an_executor_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(EXECUTORS, "celery", ("no_such_module", "executor"))
    with pytest.raises(ConfigurationError, match=r"no_such_module is not installed.*\[celery\]"):
        executor_from({"SYNC_EXECUTOR": "celery"})


def test_celery_takes_its_urls_from_the_environment_when_a_run_starts() -> None:
    urls = {"SYNC_CELERY_BROKER": "redis://:s3cret@h/0", "SYNC_CELERY_BACKEND": "redis://h/1"}
    executor = executor_from({"SYNC_EXECUTOR": "celery", **urls})
    assert executor is not None
    assert executor.name == "celery"
    assert "s3cret" not in repr(executor.config_schema.__dict__)


@pytest.mark.parametrize("missing", CELERY_URLS.values())
def test_a_celery_url_that_is_not_set_is_named(missing: str) -> None:
    urls = {name: "redis://h/0" for name in CELERY_URLS.values() if name != missing}
    with pytest.raises(ConfigurationError, match=f"{missing} is not set"):
        executor_from({"SYNC_EXECUTOR": "celery", **urls})
