"""In somebody else's Dagster project: our wheel installed, a component scaffolded, tables synced."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml

from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import execute
from sync_assets_tests.fixtures.servers import NewDatabase

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PYPROJECT = """\
[project]
name = "shop"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "shop"
code_location_target_module = "shop.definitions"
code_location_name = "shop"
"""
DEFINITIONS = """\
from pathlib import Path

import dagster as dg

from sync_assets import PostgresResource

DATABASES = ("erp", "crm", "lake", "archive")


@dg.definitions
def defs():
    bound = {name: PostgresResource(url=dg.EnvVar(f"{name.upper()}_URL")) for name in DATABASES}
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(resources=bound),
    )
"""
# Python reads its own -W before it can import the classes of Dagster's warnings.
STRICT = """\
import os, warnings

if os.environ.get("STRICT"):
    import dagster, pydantic

    warnings.simplefilter("error")
    for allowed in (
        dagster.BetaWarning, dagster.PreviewWarning, pydantic.PydanticDeprecatedSince20
    ):
        warnings.simplefilter("ignore", allowed)
"""
MATERIALIZE = """\
import sync_assets
from shop.definitions import defs

result = defs().resolve_implicit_global_asset_job_def().execute_in_process()
print(result.success, sync_assets.__file__)
"""
TABLE = "type: sync_assets.TableSync\nattributes: {tables: [source: a]}\n"
NO_TELEMETRY = "[cli.telemetry]\nenabled = false\n"
EMPTY: Mapping[str, str] = MappingProxyType({})
WORKSPACE = {
    "load_from": [
        {"python_module": {"module_name": "shop.definitions", "location_name": "shop"}},
        {"python_module": {"module_name": "sync_assets.definitions", "location_name": "ours"}},
    ]
}


class Project:
    """A project with an environment of its own, where everything but our wheel is borrowed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder / "project", folder / "venv"
        self.bin = self.environment / "bin"
        (self.folder / "shop" / "defs").mkdir(parents=True)
        (self.folder / "shop" / "__init__.py").touch()
        (self.folder / "shop" / "defs" / "__init__.py").touch()
        (self.folder / "shop" / "definitions.py").write_text(DEFINITIONS)
        (self.folder / "pyproject.toml").write_text(PYPROJECT)
        (self.folder / ".config").mkdir()
        (self.folder / ".config" / "dg.toml").write_text(NO_TELEMETRY)
        self._install(folder / "dist")

    def _install(self, dist: Path) -> None:
        run(sys.executable, "-m", "venv", "--without-pip", str(self.environment))
        run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(dist))
        [wheel] = dist.glob("*.whl")
        python = str(self.bin / "python")
        words = ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", python]
        run(sys.executable, "-m", "uv", *words, str(wheel))
        [packages] = (self.environment / "lib").glob("python*/site-packages")
        # A plain path: of our own environment its packages, not its link to this checkout.
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
        (packages / "sitecustomize.py").write_text(STRICT)

    def python(self, *words: str, place: Path | None = None, own: Mapping[str, str] = EMPTY) -> str:
        """Run Python in the project's environment, as after `activate`."""
        activated = {
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.environment),
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / ".config"),
        }
        python = str(self.bin / "python")
        return run(python, *words, cwd=place or self.folder, env=activated | dict(own))

    def dg(self, *words: str, place: Path | None = None, own: Mapping[str, str] = EMPTY) -> str:
        """Run `dg` there."""
        program = "from dagster_dg_cli.cli import main; main()"
        return self.python("-c", program, *words, place=place, own=own)


def run(*command: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a command to its end; return what it printed, or fail with it."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, env=env)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("other"))
    for name, source, target in [("sales", "erp", "lake"), ("people", "crm", "archive")]:
        ends = ["--source-connection", source, "--target-connection", target]
        project.dg("scaffold", "defs", "sync_assets.TableSync", name, *ends)
    return project


def test_what_is_scaffolded_says_what_can_be_written(project: Project) -> None:
    text = (project.folder / "shop" / "defs" / "people" / "defs.yaml").read_text()
    attributes = yaml.safe_load(text)["attributes"]
    assert (attributes["source_connection"], attributes["target_connection"]) == ("crm", "archive")
    assert text.count("#") > 5


@pytest.mark.parametrize("of", ["theirs", "ours"])
def test_it_is_clean_with_warnings_as_errors(project: Project, of: str, tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(TABLE)
    place = project.folder if of == "theirs" else ROOT
    own = {"STRICT": "1", "SYNC_DEFS": str(tmp_path), "DAGSTER_HOME": str(tmp_path)}
    told = project.dg("check", "defs", place=place, own=own)
    assert "All component YAML validated successfully" in told
    assert "All definitions loaded successfully" in told


def test_both_locations_load(project: Project, tmp_path: Path) -> None:
    (project.folder / "workspace.yaml").write_text(yaml.safe_dump(WORKSPACE))
    (tmp_path / "defs.yaml").write_text(TABLE)
    words = ["definitions", "validate", "--workspace", "workspace.yaml"]
    told = project.python("-m", "dagster", *words, own={"SYNC_DEFS": str(tmp_path)})
    assert "Validation successful for code location shop" in told
    assert "Validation successful for code location ours" in told


def test_tables_go_from_several_sources_to_several_targets(
    project: Project, server18: PostgresServer, new_database: NewDatabase
) -> None:
    server18.start()
    urls = {name: new_database(server18) for name in ("erp", "crm", "lake", "archive")}
    for name in ("erp", "crm"):
        execute(
            urls[name],
            "CREATE TABLE orders (id integer PRIMARY KEY, note text)",
            f"INSERT INTO orders VALUES (1, '{name}')",
        )
    environment = {f"{name.upper()}_URL": url for name, url in urls.items()}
    told = project.python("-c", MATERIALIZE, own=environment).split()
    assert "True" in told
    assert any(word.startswith(str(project.environment)) for word in told)
    assert execute(urls["lake"], "SELECT id, note FROM orders") == [(1, "erp")]
    assert execute(urls["archive"], "SELECT id, note FROM orders") == [(1, "crm")]
