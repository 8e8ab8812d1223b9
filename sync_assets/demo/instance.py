"""What a Dagster process needs to know: its instance, its workspace and its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import sync_assets

SHIPPED = Path(sync_assets.__file__).parent.parent / "dagster.yaml"

INSTALLED = """\
# dagster.yaml of an installed sync-assets; the project's repository has a fuller one.
storage:
  postgres:
    postgres_url: {env: DAGSTER_PG_URL}
concurrency:
  pools: {granularity: op, default_limit: 4}
run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 300}
python_logs: {managed_python_loggers: [sync_assets]}
telemetry: {enabled: false}
nux: {enabled: false}
"""

WORKSPACE = """\
load_from:
  - python_module:
      module_name: sync_assets.definitions
      location_name: sync_assets
"""


def write_instance(home: Path) -> None:
    """Make `home` a Dagster home with our dagster.yaml, always as it is now."""
    home.mkdir(parents=True, exist_ok=True)
    ours = SHIPPED.read_text(encoding="utf-8") if SHIPPED.is_file() else INSTALLED
    (home / "dagster.yaml").write_text(ours, encoding="utf-8")


def write_workspace(folder: Path) -> Path:
    """Write the workspace that names our code location; return its file."""
    file = folder / "workspace.yaml"
    file.write_text(WORKSPACE, encoding="utf-8")
    return file


def dagster_url(url: str) -> str:
    """Return a PostgreSQL URL as SQLAlchemy wants it, which reads a bare one as psycopg 3's."""
    return "postgresql+psycopg2://" + url.split("://", 1)[1]


def child_environment(own: Mapping[str, str], *, drop: tuple[str, ...] = ()) -> dict[str, str]:
    """Return this process's environment without the variables that start so, and with `own`.

    Children work in another folder: a relative PYTHONPATH is made absolute.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(drop or ("\0",))
    }
    if kept.get("PYTHONPATH"):
        parts = kept["PYTHONPATH"].split(os.pathsep)
        kept["PYTHONPATH"] = os.pathsep.join(str(Path(part).absolute()) for part in parts)
    return {**kept, **own}
