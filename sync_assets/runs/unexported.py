"""What is used of Dagster that it does not export, and may move in a release that nobody has tried."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires

import dagster as dg

from sync_assets.engine.errors import ConfigurationError

DAGSTER = re.compile(r"dagster[<>=!~]")


@contextmanager
def unexported() -> Iterator[None]:
    """Import it inside the block; raises ConfigurationError, with the versions that have it."""
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"sync-assets does not work with Dagster {dg.__version__}: {error.msg}",
            remedy=f"Install {supported()}.",
        ) from None


def supported() -> str:
    """The versions of Dagster that the package asks for, as pip takes them."""
    try:
        asked = requires("sync-assets") or []
    except PackageNotFoundError:
        asked = []
    return next((each for each in asked if DAGSTER.match(each)), "another version of dagster")
