"""What is in the way of the tables: one reading, which `status` and `doctor` show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import time

from sync_assets.cli.connections import Ends
from sync_assets.cli.selection import Address
from sync_assets.hindrances.circumstances import look
from sync_assets.hindrances.kinds import PATIENCE
from sync_assets.hindrances.telling import Known, Place, standing

Standing = tuple[Address, Place, Known]
"""A table's address, and what stands in its way."""


def in_the_way(place: Path, every: Sequence[Ends], *, of_dagster: bool) -> Iterator[Standing]:
    """Ask both ends, this machine, and if told so the home in which Dagster records runs."""
    if not of_dagster:
        for ends in every:
            seen = look(ends.source_url, ends.target_url, ends.tables)
            yield from _addressed(ends, standing(seen, {}, time(), PATIENCE))
        return
    # Dagster takes a second or two to import.
    from sync_assets.launch.doctor import Part, ask

    parts = [Part(ends.tables, ends.target_url) for ends in every]
    for ends, asked in zip(every, ask(place, parts), strict=True):
        urls = ends.source_url, ends.target_url
        seen = look(*urls, ends.tables, asked.home, asked.failures)
        yield from _addressed(ends, standing(seen, asked.recorded, time(), PATIENCE))


def _addressed(ends: Ends, found: dict[Place, Known]) -> Iterator[Standing]:
    for at, known in found.items():
        yield (ends.target_connection, at[0]), at, known
