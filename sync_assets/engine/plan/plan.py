"""A plan as values: what a run will read, how, and why (pure)."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from psycopg2.sql import Composable

from sync_assets.engine.layout.layout import Field, Layout
from sync_assets.engine.plan.batch_format import BatchFormat
from sync_assets.engine.plan.cursor_range import CursorRange
from sync_assets.engine.postgres.relation import Leaf
from sync_assets.engine.postgres.xid import XidWindow
from sync_assets.engine.snapshot.pages import PageRange, Position, pages_in
from sync_assets.engine.snapshot.snapshot import SourceRelation
from sync_assets.engine.table import Deletes, SyncMode, Table


class How(str, enum.Enum):
    """How a leaf is read: every row, rows by their xid (in changed pages alone), or by cursor.

    A piece of a first load holds the rows that are older than the load's mark.
    """

    WHOLE = "full"
    BLOCKS = "blocks"
    XID = "scan"
    CURSOR = "cursor"
    OLDER = "piece"


class Removal(str, enum.Enum):
    """What is done to target rows that the source no longer has."""

    NONE = "none"
    DELETE = "delete"
    MARK = "mark"


class KeysByPage(str, enum.Enum):
    """What becomes of the target's map from source pages to keys (`merge.keys_by_page`)."""

    NONE = "none"
    BUILD = "build"
    USE = "use"


@dataclass(frozen=True, slots=True)
class KeyBuckets:
    """Where keys may be gone: what the hash of their text begins with, of `compared` such buckets.

    `rows` are those of the source in scope, of which only the keys in these buckets are listed.
    """

    prefixes: tuple[str, ...]
    rows: int
    compared: int


@dataclass(frozen=True, slots=True)
class KeySearch:
    """How target rows are found that the source no longer has.

    `by_page` is what becomes of the map of keys by page, which was there before if `mapped`;
    `gone_leaves` are the oids of leaves that were there at the last run. `later` says that keys are
    read after the rows, in the buckets that then differ (`key_buckets`). Where all of the target's
    keys are the source's, but for those that are gone, `in_target` is how many it has: counting the
    source's rows then tells whether any is.
    """

    by_page: KeysByPage = KeysByPage.NONE
    mapped: bool = False
    gone_leaves: tuple[int, ...] = ()
    later: bool = False
    in_target: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The rows that a run reads again, whatever their xid, and the only ones: what `Table.rows` says.

    `within` is the condition on the target's, of which those are removed that are gone; None as long
    as the target has not proven it. Where the key alone tells them, no other keys are read, and
    `rows_in_source` are all rows that the source has.
    """

    within: Composable | None = None
    rows_in_source: int | None = None


@dataclass(frozen=True, slots=True)
class LeafRead:
    """One leaf and how it is read. A leaf may be read both by xid and by cursor.

    `runs` are the changed pages of one that is read by them.
    """

    leaf: Leaf
    how: How
    reason: str
    runs: tuple[PageRange, ...] = ()


@dataclass(frozen=True, slots=True)
class Scan:
    """A sequential scan over so many `rows`, which is to begin before a page and come past another."""

    rows: int
    begins_before: int
    comes_past: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one COPY reads: pages `first` up to, not including, `end` of a leaf; None: to its end.

    Without `first` the whole leaf is read, or only `runs` of its pages, and without a leaf the
    whole relation. `member` is the plan's place in its group. `notes` says that keys come with the
    page of each changed row, and that the rows of those pages are read thereafter. `buckets` are the
    only ones whose keys are read, where not all are. With a `scan` the rows come from one, as far as that
    goes; with `after`, a ctid, only those that lie behind it.
    """

    number: int
    member: int
    leaf: Leaf | None
    how: How
    first: int | None = None
    end: int | None = None
    keys_only: bool = False
    runs: tuple[PageRange, ...] = ()
    notes: bool = False
    buckets: KeyBuckets | None = None
    scan: Scan | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, decided: it does not change any more. `full` says that every row of the source is read.

    `events` is what happened to leaves since the last run. `position` is where a later run's WAL
    window may start. With a `part` the run leaves the mark where it is.
    """

    table: Table
    view: SourceRelation
    layout: Layout
    window: XidWindow
    reads: tuple[LeafRead, ...]
    full: bool
    reason: str
    fingerprint: str
    cursor: CursorRange | None = None
    events: tuple[str, ...] = ()
    position: Position | None = None
    keys: KeySearch = KeySearch()
    format: BatchFormat = field(default_factory=BatchFormat)
    part: Part | None = None

    @property
    def mode(self) -> str:
        """How rows are found: in the table's mode, or as a part of them."""
        return self.table.mode.value if self.part is None else "rows"

    def sends_binary(self, *, keys_only: bool) -> bool:
        """Whether a batch of its rows, or of their keys alone, is binary COPY data."""
        return self.format.binary and not keys_only

    def finds_rows(self, how: How) -> bool:
        """Whether a leaf that is read so can have any: by xid only if a transaction has ended since."""
        return how is not How.XID or not self.window.is_empty

    @property
    def finds_nothing(self) -> bool:
        """Whether it is known that no row of the source has changed, and no key is looked for."""
        by_xid = all(read.how is How.XID for read in self.reads)
        return by_xid and self.window.is_empty and not self.full and not self.compares_keys

    @property
    def removal(self) -> Removal:
        """What becomes of target rows that the source no longer has."""
        return Removal.NONE if self.layout.creates else self.removes_later

    @property
    def removes_later(self) -> Removal:
        """What becomes of such rows once there is a target that may have some."""
        if self.table.mode is not SyncMode.FULL_SYNC and self.table.deletes is Deletes.IGNORE:
            return Removal.NONE
        return Removal.MARK if self.table.deletes is Deletes.SOFT else Removal.DELETE

    @property
    def compares_keys(self) -> bool:
        """Whether keys are read besides the changed rows, to find what is gone."""
        by_key = self.part is not None and self.part.rows_in_source is not None
        return self.removal is not Removal.NONE and not self.full and not by_key

    @property
    def reads_all_keys(self) -> bool:
        """Whether those are all keys of the source, not only those of its changed pages."""
        return self.compares_keys and self.keys.by_page is not KeysByPage.USE

    @property
    def notes_pages(self) -> bool:
        """Whether one pass over a leaf finds all keys, and the pages that changed rows are on."""
        keys = self.keys
        alone = self.reads_all_keys and not keys.later and keys.by_page is KeysByPage.NONE
        by_xid = any(read.how is How.XID for read in self.reads) and self.finds_rows(How.XID)
        return alone and by_xid and not self.view.relation.through_parent

    @property
    def changed_pages(self) -> int | None:
        """How many pages are read because the WAL names them; None where it was not asked."""
        counts = [
            pages_in(read.runs, read.leaf.pages) for read in self.reads if read.how is How.BLOCKS
        ]
        return sum(counts) if counts else None

    @property
    def flags_scope(self) -> bool:
        """Whether rows that fail the filter travel too, as their key alone.

        Nobody else would notice that a row has left the scope.
        """
        whole = self.full or self.part is not None
        return self.table.where is not None and not whole and not self.compares_keys

    @property
    def loads(self) -> bool:
        """Whether the rows go to the target: a dry run makes no table for them."""
        return not (self.table.dry_run and self.layout.creates)

    @property
    def exact(self) -> bool:
        """Whether the run misses no committed row, whatever the cursor says.

        Another server has a snapshot of its own, which nothing proves to be whole.
        """
        reach, leaves = self.view.reach, self.view.relation.leaves
        remote = any(leaf.kind == "f" for leaf in leaves) or (reach is not None and reach.remote)
        return not remote and (self.full or self.cursor is None or self.reads_by_xid)

    @property
    def reads_by_xid(self) -> bool:
        """Whether every leaf that is not read whole is read by xid."""
        by_xid = {read.leaf.oid for read in self.reads if read.how is not How.CURSOR}
        return self.view.relation.has_versions and by_xid >= {
            leaf.oid for leaf in self.view.relation.leaves
        }

    @property
    def whole(self) -> tuple[int, ...]:
        """The leaves that are read whole, by oid."""
        return tuple(read.leaf.oid for read in self.reads if read.how is How.WHOLE)


def key_fields(plan: Plan) -> tuple[Field, ...]:
    """The fields of the key, in its order."""
    fields = {field.name: field for field in plan.layout.fields}
    return tuple(fields[name] for name in plan.layout.key_columns)
