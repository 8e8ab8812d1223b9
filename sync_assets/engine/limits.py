"""What an operator lets a run take from the source."""

from __future__ import annotations

from dataclasses import dataclass

from sync_assets.engine.errors import ConfigurationError

MEGABYTE = 1 << 20
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a run.

    `piece_mb` is the size of a table's part, in MB, that a first load reads at once; a table of more
    than a few is read by such pieces. None of them holds its snapshot for longer than
    `max_snapshot_age` seconds.
    """

    piece_mb: int = 64
    max_snapshot_age: float = 60.0

    def __post_init__(self) -> None:
        if (
            isinstance(self.piece_mb, bool)
            or not isinstance(self.piece_mb, int)
            or self.piece_mb < 1
        ):
            raise ConfigurationError(
                f"piece_mb is {self.piece_mb!r}", remedy="It must be a whole number from 1 up."
            )
        if not self.max_snapshot_age > 0:
            raise ConfigurationError(
                f"max_snapshot_age is {self.max_snapshot_age!r}",
                remedy="It must be a time above 0 seconds.",
            )
