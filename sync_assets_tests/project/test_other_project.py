"""In somebody else's Dagster project: our wheel installed, components beside dbt's models, tables synced."""

from __future__ import annotations

import json
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
DATABASES = ("erp", "crm", "lake", "archive")
RESOURCES = f"""\
import dagster as dg

from sync_assets import PostgresResource


@dg.definitions
def resources():
    bound = {{n: PostgresResource(url=dg.EnvVar(f"SYNC_{{n.upper()}}_URL")) for n in {DATABASES}}}
    return dg.Definitions(resources=bound)
"""
# A pattern, what one table says otherwise, dbt's keys, and a class of the project's own.
BILLING = """\
type: shop.components.LabelledSync
attributes:
  source_connection: erp
  target_connection: lake
  translation: {key: "billing/{{ source.name }}"}
  defaults: {target: "raw.{schema}_{table}"}
  tables:
    - source: "billing.*"
      except: ["*.tmp_*"]
    - source: billing.invoices
      where: "amount > 0"
"""
COMPONENTS = """\
from sync_assets import TableSync


class LabelledSync(TableSync):
    '''Copies that carry a tag of ours.'''

    def get_asset_spec(self, table):
        return super().get_asset_spec(table).merge_attributes(tags={"layer": "raw"})
"""
# With dbt's default keys, as dagster-dbt makes them: of a source [source, table], of a model [model].
MODELS = """\
import dagster as dg


@dg.asset(deps=[["billing", "invoices"], ["billing", "customers"]], kinds={"dbt"})
def stg_invoices() -> None: ...


@dg.asset(deps=["stg_invoices", ["lake", "public", "orders"]], kinds={"dbt"})
def revenue() -> None: ...
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
import json, sync_assets
from shop.definitions import defs

graph = defs().resolve_asset_graph()
parents = {
    node.key.to_user_string(): sorted(each.to_user_string() for each in node.parent_keys)
    for node in graph.asset_nodes
}
labelled = sorted(n.key.to_user_string() for n in graph.asset_nodes if n.tags.get("layer") == "raw")
result = defs().resolve_implicit_global_asset_job_def().execute_in_process()
print(json.dumps([sync_assets.__file__, result.success, labelled, parents]))
"""
TABLE = "type: sync_assets.TableSync\nattributes: {tables: [source: a]}\n"
CLEAN = [
    "All component YAML validated successfully.",
    "All definitions loaded successfully.",
]
NO_TELEMETRY = "[cli.telemetry]\nenabled = false\n"
EMPTY: Mapping[str, str] = MappingProxyType({})
WORKSPACE = {
    "load_from": [
        {"python_module": {"module_name": "shop.definitions", "location_name": "shop"}},
        {"python_module": {"module_name": "sync_assets.definitions", "location_name": "ours"}},
    ]
}


class Project:
    """As `create-dagster` makes it, in an environment where everything but our wheel is borrowed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder / "shop", folder / "venv"
        self.bin, self.package = self.environment / "bin", self.folder / "src" / "shop"
        self.home = folder / "home"
        (self.home / ".config").mkdir(parents=True)
        (self.home / ".config" / "dg.toml").write_text(NO_TELEMETRY)
        self._install(folder / "dist")
        create = "from create_dagster.cli import main; main()"
        self.python("-c", create, "project", "shop", "--no-uv-sync", place=folder)

    def _install(self, dist: Path) -> None:
        run(sys.executable, "-m", "venv", "--without-pip", str(self.environment))
        run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(dist))
        [wheel] = dist.glob("*.whl")
        python = str(self.bin / "python")
        words = ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", python]
        run(sys.executable, "-m", "uv", *words, str(wheel))
        [packages] = (self.environment / "lib").glob("python*/site-packages")
        # A plain path: of our own environment its packages, not its link to this checkout. The other
        # is what `uv sync` would write for the project.
        borrowed = f"{sysconfig.get_path('purelib')}\n{self.package.parent}\n"
        (packages / "borrowed.pth").write_text(borrowed)
        (packages / "sitecustomize.py").write_text(STRICT)

    def write(self, place: str, text: str) -> None:
        """Write a file of the project's package."""
        file = self.package / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def python(self, *words: str, place: Path | None = None, own: Mapping[str, str] = EMPTY) -> str:
        """Run Python in the project's environment, as after `activate`."""
        activated = {
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.environment),
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "DAGSTER_DG_UPDATE_CHECK_ENABLED": "0",
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
    project.write("defs/resources.py", RESOURCES)
    project.write("defs/models.py", MODELS)
    project.write("defs/billing/defs.yaml", BILLING)
    project.write("components/__init__.py", COMPONENTS)
    return project


def test_what_is_scaffolded_says_what_can_be_written(project: Project) -> None:
    text = (project.package / "defs" / "people" / "defs.yaml").read_text()
    attributes = yaml.safe_load(text)["attributes"]
    assert (attributes["source_connection"], attributes["target_connection"]) == ("crm", "archive")
    assert text.count("#") > 5


def test_ours_is_clean_with_warnings_as_errors(project: Project, tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(TABLE)
    own = {"STRICT": "1", "SYNC_DEFS": str(tmp_path), "DAGSTER_HOME": str(tmp_path)}
    told = project.dg("check", "defs", place=ROOT, own=own)
    assert all(line in told for line in CLEAN)


def test_both_locations_load(project: Project, tmp_path: Path) -> None:
    (project.folder / "workspace.yaml").write_text(yaml.safe_dump(WORKSPACE))
    (tmp_path / "defs.yaml").write_text(TABLE)
    words = ["definitions", "validate", "--workspace", "workspace.yaml"]
    told = project.python("-m", "dagster", *words, own={"SYNC_DEFS": str(tmp_path)})
    assert "Validation successful for code location shop" in told
    assert "Validation successful for code location ours" in told


def test_from_sources_to_models_it_is_one_graph_that_loads_clean_and_syncs(
    project: Project, server18: PostgresServer, new_database: NewDatabase
) -> None:
    server18.start()
    urls = {name: new_database(server18) for name in DATABASES}
    for name in ("erp", "crm"):
        execute(
            urls[name],
            "CREATE TABLE orders (id integer PRIMARY KEY, note text)",
            f"INSERT INTO orders VALUES (1, '{name}')",
        )
    execute(
        urls["erp"],
        "CREATE SCHEMA billing",
        *(
            f"CREATE TABLE billing.{name} (id integer PRIMARY KEY, amount integer)"
            for name in ("invoices", "customers", "tmp_1")
        ),
        "INSERT INTO billing.invoices VALUES (1, 0), (2, 10)",
    )
    environment = {f"SYNC_{name.upper()}_URL": url for name, url in urls.items()} | {"STRICT": "1"}
    assert project.dg("check", "defs", own=environment).splitlines() == CLEAN
    told = project.python("-c", MATERIALIZE, own=environment)
    ours, synced, labelled, parents = json.loads(told.splitlines()[0])
    assert ours.startswith(str(project.environment))
    assert synced
    assert labelled == ["billing/customers", "billing/invoices"]
    assert parents == {
        "erp/public/orders": [],
        "lake/public/orders": ["erp/public/orders"],
        "crm/public/orders": [],
        "archive/public/orders": ["crm/public/orders"],
        "erp/billing/customers": [],
        "billing/customers": ["erp/billing/customers"],
        "erp/billing/invoices": [],
        "billing/invoices": ["erp/billing/invoices"],
        "stg_invoices": ["billing/customers", "billing/invoices"],
        "revenue": ["lake/public/orders", "stg_invoices"],
    }
    assert execute(urls["lake"], "SELECT id, note FROM orders") == [(1, "erp")]
    assert execute(urls["archive"], "SELECT id, note FROM orders") == [(1, "crm")]
    assert execute(urls["lake"], "SELECT id FROM raw.billing_invoices") == [(2,)]
