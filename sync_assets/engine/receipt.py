"""What a run did: the numbers users see, under the names they bear everywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ColumnShape:
    """A column of the target as the run left it."""

    name: str
    type: str
    nullable: bool


# One document of our receipt table, and what `run --json` prints: each field is a name there.
@dataclass(frozen=True, slots=True)
class Receipt:
    """One run over one table.

    The same names serve `run --json`, Dagster's metadata, the table `sync_assets.receipt` and the
    documentation. `watermark` and `source_max_xmin` are 64-bit transaction ids, `bytes` counts
    batch files, `seconds` is wall time by phase with `total`, `snapshot` being how long the
    source's snapshot was held. `changed_pages` are the pages read because the source's WAL named
    them, None where none were read that way. `full` says that every row was read, `exact` is false
    where only the cursor was trusted; `events` say what happened to the source's partitions, and
    which rows made way for others, `schema_changes` what happened to its columns; `key` are the
    columns that tell rows apart; of a `dry_run` nothing was published.
    `versions_opened` and `versions_closed` count those of its history, None where none is kept. Fields can also be read as
    items: `receipt["max_xmin"]`.
    """

    source: str
    target: str
    mode: str
    reason: str
    source_max_xmin: int | None
    watermark_before: int | None
    watermark: int
    rows_exported: int
    rows_inserted: int
    rows_updated: int
    rows_unchanged: int
    rows_deleted: int
    bytes: int
    chunks: int
    workers: int
    rows_in_target: int | None = None
    rows_only_in_target: int | None = None
    rows_left_scope: int | None = None
    leaves: int = 1
    changed_pages: int | None = None
    full: bool = False
    exact: bool = True
    dry_run: bool = False
    cursor_mark: str | None = None
    events: tuple[str, ...] = ()
    schema_changes: tuple[str, ...] = ()
    snapshot_at: str = ""
    finished_at: str = ""
    run_id: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    columns: tuple[ColumnShape, ...] = ()
    status: str = "success"
    versions_opened: int | None = None
    versions_closed: int | None = None

    @property
    def max_xmin(self) -> int | None:
        """The seed's name for `source_max_xmin`."""
        return self.source_max_xmin

    @property
    def rows_written(self) -> int:
        """Rows this run inserted, updated or deleted on the target."""
        return self.rows_inserted + self.rows_updated + self.rows_deleted

    def __getitem__(self, name: str) -> Any:
        """Read a field as an item, as the seed's results were read."""
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `max_xmin` beside the fields."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["columns"] = [dataclasses.asdict(column) for column in self.columns]
        return values | {"seconds": dict(self.seconds), "max_xmin": self.max_xmin}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Receipt:
        """Read back what `as_dict` gave; fields of newer versions are ignored."""
        known = {f.name for f in dataclasses.fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        for name in ("events", "schema_changes", "key"):
            kept[name] = tuple(values.get(name, ()))
        kept["columns"] = tuple(ColumnShape(**column) for column in values.get("columns", ()))
        return cls(**kept)
