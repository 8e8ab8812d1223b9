"""Programs of others that we start: what they get of our environment, and how much they say is told."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

TOLD = 200
"""Characters of a line that an error repeats."""

_OF_OURS = re.compile(r"(SYNC|DAGSTER)_\w+|PGPASSWORD")
"""The variables that are ours: URLs, addresses of alerts and brokers, keys, which all may hold a secret."""


def environment_for_others() -> Mapping[str, str]:
    """Our environment without the passwords of ours."""
    return {name: value for name, value in os.environ.items() if not _OF_OURS.fullmatch(name)}


def printable(line: str) -> str:
    """A line without what a terminal would obey."""
    return "".join(filter(str.isprintable, line))


def in_short(line: str) -> str:
    """Its beginning, where it is long."""
    return line if len(line) <= TOLD else f"{line[: TOLD - 1]}…"
