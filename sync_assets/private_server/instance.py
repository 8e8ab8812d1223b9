"""What a Dagster process needs to know: its instance, its workspace and its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import sync_assets

PACKAGE = Path(sync_assets.__file__).parent


def write_instance(home: Path) -> None:
    """Make `home` a Dagster home with our dagster.yaml, always as it is now."""
    home.mkdir(parents=True, exist_ok=True)
    _write_ours(home / "dagster.yaml")


def write_workspace(folder: Path) -> Path:
    """Write the workspace that names our code location; return its file."""
    return _write_ours(folder / "workspace.yaml")


def _write_ours(file: Path) -> Path:
    # The wheel holds them beside the modules; in a checkout they are where Dagster looks for them.
    kept = next(p for p in (PACKAGE / file.name, PACKAGE.parent / file.name) if p.is_file())
    file.write_text(kept.read_text(encoding="utf-8"), encoding="utf-8")
    return file


def dagster_url(url: str) -> str:
    """Return a PostgreSQL URL as SQLAlchemy wants it, which reads a bare one as psycopg 3's."""
    return "postgresql+psycopg2://" + url.split("://", 1)[1]


def child_environment(own: Mapping[str, str], *, drop: tuple[str, ...] = ()) -> dict[str, str]:
    """Return this process's environment without the variables that start so, and with `own`.

    Children work in another folder: a relative PYTHONPATH is made absolute.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    if kept.get("PYTHONPATH"):
        parts = kept["PYTHONPATH"].split(os.pathsep)
        kept["PYTHONPATH"] = os.pathsep.join(str(Path(part).absolute()) for part in parts)
    return {**kept, **own}
