"""What a script or a `--help` loads: not Dagster."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sync_assets
from sync_assets import engine

LIGHT = {
    "the engine": "import sync_assets.engine",
    "the package": "import sync_assets",
    "the configuration": "import sync_assets.config.folder",
    "an engine's name": "from sync_assets import DataCopyEngine",
    "the command line's help": "from sync_assets.cli import main; main(['--help'])",
    "the help of run": "from sync_assets.cli import main; main(['run', '--help'])",
    "the help of verify": "from sync_assets.cli import main; main(['verify', '--help'])",
}


@pytest.mark.parametrize("case", LIGHT)
def test_dagster_is_not_loaded_by(case: str) -> None:
    code = (
        "import atexit, os, sys\n"
        "atexit.register(lambda: 'dagster' in sys.modules and os._exit(99))\n" + LIGHT[case]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sync_assets.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sync_assets, name).__doc__


@pytest.mark.parametrize("name", engine.__all__)
def test_every_name_of_the_engine_is_there(name: str) -> None:
    assert name in dir(engine)
    assert getattr(engine, name)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'TableSink'"):
        sync_assets.TableSink  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'TableSink'"):
        engine.TableSink  # noqa: B018
