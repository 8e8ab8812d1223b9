"""What a Dagster process needs to know: its instance, its workspace and its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

import sync_assets
from sync_assets.whole_file import replace_whole

PACKAGE = Path(sync_assets.__file__).parent


def write_instance(home: Path, *, in_files: bool = False) -> None:
    """Make `home` a Dagster home with our dagster.yaml, always as it is now.

    `in_files`, what Dagster records is in SQLite files there, not in a PostgreSQL database.
    """
    text = _shipped("dagster.yaml")
    if in_files:
        settings = yaml.safe_load(text)
        del settings["storage"]
        text = yaml.safe_dump(settings, sort_keys=False)
    _write(home / "dagster.yaml", text)


def write_workspace(folder: Path) -> Path:
    """Write the workspace that names our code location; return its file."""
    return _write(folder / "workspace.yaml", _shipped("workspace.yaml"))


def _shipped(name: str) -> str:
    # The wheel holds them beside the modules; in a checkout they are where Dagster looks for them.
    kept = next(p for p in (PACKAGE / name, PACKAGE.parent / name) if p.is_file())
    return kept.read_text(encoding="utf-8")


def _write(file: Path, text: str) -> Path:
    """Replace a file as a whole, where its text is another one: a process may be reading it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        replace_whole(file, text.encode())
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
