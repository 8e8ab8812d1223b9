"""A story, told to two databases: what is done, and that every sync ends exact or is refused."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psycopg2
from psycopg2.extensions import connection

from sync_assets.engine import PartitionOf, Receipt, RelationName
from sync_assets.engine.errors import SyncError
from sync_assets.engine.table import SyncMode, table_of
from sync_assets_tests.fixtures.histories import broken, key_of_versions
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.random_changes import again, masks, rows, shape, views
from sync_assets_tests.random_changes.sequences import (
    AGAIN,
    DML,
    KINDS,
    MODES,
    NEEDS_NO_VIEW,
    OBJECTS,
    OBJECTS_THERE,
    SOURCE,
    TARGET,
    Operation,
    Story,
    Sync,
)
from sync_assets_tests.random_changes.shape import (
    BESIDE,
    COMPANION,
    IDENTIFIES,
    MOOD,
    MOVED,
    MOVED_AT,
    NAMES,
    PART,
    SCHEMA,
    SECRET,
    TABLE,
)
from sync_assets_tests.random_changes.values import TIMES, TYPES

WHOLE = f"{SCHEMA}.whole"
"""The table of many sources, of which both are partitions where they share one."""

SOURCE_COLUMN = "its source"


TELLS_PAGES = 150000
"""The first version whose WAL can be asked which pages have changed."""

NO_PART = (
    "must read every row",
    "must follow its source first",
    "never synced",
    "asked by the same",
)
"""Why a part is not read: what is said then."""


SHARED = (
    "cannot hold what its source sends",
    "has no unique index on its key",
    "which its rows are told apart by",
    "which all sources share",
)
"""What is said of a partition where other sources have its columns, too."""

NO_SUCH_VERSIONS = "not every value that it keeps can become that"
"""What is said of a history whose older versions cannot take a column's new type."""


class StoryFailed(AssertionError):
    """Every statement up to the failure is in the message."""


@dataclass(slots=True)
class Tally:
    """How often each kind ended exact, and what was refused after which kind."""

    stories: int = 0
    syncs: int = 0
    exact: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    refusals: int = 0

    def table(self) -> str:
        """All of it, to be read."""
        kinds = (*KINDS, *(kind for kind in (*OBJECTS, *OBJECTS_THERE) if self.exact[kind]))
        lines = [f"{self.exact[kind]:6} {kind}" for kind in kinds]
        lines += [
            f"{n:6} refused: {error} after {kind}"
            for (error, kind), n in sorted(self.refused.items())
        ]
        return "\n".join(
            [f"{self.stories} stories, {self.syncs} syncs, {self.refusals} of them refused", *lines]
        )


@dataclass(slots=True)
class Telling:
    """One story under way.

    `since` are the kinds of operations since the last sync, `ever` those since the target was made.
    """

    pair: Pair
    tally: Tally
    allowed: Collection[tuple[str, str, str]]
    source: connection
    target: connection
    script: list[str] = field(default_factory=list)
    since: list[str] = field(default_factory=list)
    ever: set[str] = field(default_factory=set)
    held: connection | None = None
    carries: bool = False
    told: dict[str, str] = field(default_factory=dict)
    """Which views are not carried, and why."""

    shared: bool = False
    accompanied: bool = False
    """Whether it travels together with another table, as one of many does."""

    keeps_history: bool = False
    """Whether versions of its rows are kept."""

    masked: int | None = None
    """The seed of how a column is masked, if it is."""

    synced: int = 0

    keys: set[tuple[str, ...]] = field(default_factory=set)
    """The keys by which they were told apart."""

    def begin(self, story: Story) -> None:
        """Two databases without a trace of the last story, and a table on the source."""
        gone = f"DROP SCHEMA IF EXISTS {SCHEMA}, {BESIDE} CASCADE"
        forgotten = (
            "DO $$ BEGIN IF to_regclass('sync_assets.state') IS NOT NULL THEN "
            "DELETE FROM sync_assets.state; DELETE FROM sync_assets.receipt; "
            "DELETE FROM sync_assets.carried; END IF; END $$"
        )
        self.accompanied, self.carries = story.seed % 2 == 1, story.carries
        self.shared = story.shared
        self.masked = story.seed if story.masked else None
        self.keeps_history = story.seed % 5 < 2
        self.do(self.target, gone, forgotten)
        self.do(self.source, gone, *creation(story))
        self.do(self.source, *rows.bulk_insert(self.shape(), Random(story.seed)))

    def shape(self) -> shape.RememberedColumns:
        """The source's table as it is now."""
        found = shape.read(self.source)
        assert found is not None
        return found

    def do(self, session: connection, *statements: str) -> None:
        """Execute and note statements."""
        ends = {id(self.source): "source", id(self.target): "target"}
        with session.cursor() as cursor:
            for statement in statements:
                self.script.append(f"{ends.get(id(session), 'late')}: {statement}")
                cursor.execute(statement)

    def operate(self, operation: Operation) -> None:
        """Do one operation, if there is anything to do it to."""
        chance = Random(operation.seed)
        if operation.kind == AGAIN:
            self.read_again(chance)
            return
        statements: list[str] = []
        if operation.kind in SOURCE:
            end, there = self.source, self.shape()
            statements = SOURCE[operation.kind](there, chance)
            if operation.kind in NEEDS_NO_VIEW:
                statements = views.out_of_the_way(there, chance, statements)
        else:
            end, found = self.target, shape.read(self.target, TABLE)
            if found is not None:
                synced = [column.name for column in self.shape().columns]
                statements = {**TARGET, **OBJECTS_THERE}[operation.kind](found, chance, synced)
                if self.shared:
                    owner = f"ALTER TABLE {WHOLE} "
                    statements = [s.replace(f"ALTER TABLE {TABLE} ", owner) for s in statements]
        if statements:
            self.script.append(f"-- {operation.kind}")
            self.do(end, *statements)
            self.since.append(operation.kind)
            self.ever.add(operation.kind)

    def sync_across(self, sync: Sync) -> None:
        """A sync, with what is open meanwhile."""
        self.end_held()
        if sync.late == "held":
            self.held = self.late()
        if sync.late in {None, "held"}:
            self.sync(sync.mode)
            return
        with closing(self.late()) as late:
            self.do(late, *self.written_late(sync))
            self.sync(sync.mode)
            self.do(late, "COMMIT" if sync.late == "commits" else "ROLLBACK")

    def late(self) -> connection:
        """A session with a transaction and an xid."""
        session = psycopg2.connect(self.pair.source_url)
        session.autocommit = True
        self.do(session, "SET search_path = pg_catalog; BEGIN; SELECT pg_current_xact_id()")
        return session

    def written_late(self, sync: Sync) -> list[str]:
        """What the transaction writes."""
        chance = Random(sync.seed)
        return DML[chance.choice(list(DML))](self.shape(), chance)

    def end_held(self) -> None:
        """Write and commit with an xid that is older than syncs since."""
        if self.held is not None:
            with closing(self.held) as held:
                self.do(held, *rows.insert(self.shape(), Random(1)), "COMMIT")
            self.held = None

    def sync(self, mode: str) -> None:
        """Sync, and see that both ends are the same; or that it is refused as it may be."""
        try:
            self._sync_with_history(mode)
        except SyncError as error:
            self.refuse(error)
            others = f", {WHOLE}" * self.shared
            self.do(self.target, f"DROP TABLE IF EXISTS {TABLE}, {TABLE}_history{others} CASCADE")
            self.ever.clear()
            self._sync(mode)
        else:
            self.tally.exact.update(self.since)
        self.since.clear()

    def read_again(self, chance: Random) -> None:
        """Read a part again, and see that what it has put right is right, and the mark where it was.

        The sync that follows sees that all the rest is. Where a part may not be read it is left
        alone, and the sync says why.
        """
        wanted, mode = again.rows(self.shape(), chance), chance.choice(list(MODES))
        try:
            self._part(mode, wanted)
        except SyncError as error:
            unread = any(words in error.message for words in (*NO_PART, *SHARED * self.shared))
            if not (unread or self.may_be_refused(error)):
                raise
            self.script.append(f"-- no part: {error}")
            return
        there = shape.read(self.target)
        assert there is not None
        synced = [column.name for column in self.shape().columns]
        self.do(self.target, *again.tampering(there, chance, wanted, synced))
        before = self._mark()
        try:
            self._part(mode, wanted)
        except SyncError as error:
            self.refuse(error)
            self.do(self.target, f"DROP TABLE {TABLE} CASCADE")
            return
        assert self._mark() == before, "the mark has moved"
        assert self._part(mode, wanted).rows_written == 0, "the part differs"
        self.since.append(AGAIN)
        self.ever.add(AGAIN)

    def _part(self, mode: str, wanted: str) -> Receipt:
        self.script.append(f"-- {mode}, rows again: {wanted}")
        self.flush()
        return self._receipt(rows=wanted, **self._options(mode))

    def _mark(self) -> list[tuple[Any, ...]]:
        return self.pair.target(
            "SELECT watermark, snapshot_xmax, cursor_mark, positions, configuration, target_storage, s.columns, "
            "l.* FROM sync_assets.state AS s JOIN sync_assets.state_leaf AS l "
            "USING (target_schema, target_table) WHERE target_table = 't' ORDER BY leaf"
        )

    def _options(self, mode: str) -> dict[str, Any]:
        options = dict(MODES[mode])
        tells = self.source.server_version >= TELLS_PAGES and not self._is_unlogged()
        if "changed_blocks" in options and not tells:
            # Of such a table, or on such a server, no WAL tells, and to require it is refused.
            options["changed_blocks"] = "auto"
        options |= {"carry": "all"} if self.carries else {}
        if self.masked is not None:
            how = masks.mask_of(self.masked, self.synced)
            options |= {"mask": {SECRET: how}, "mask_key": masks.KEY}
        kept = {"deletes": "hard", "history": self.keeps_history, **self._partition(TABLE)}
        return {**kept, "allow_empty": True, "max_delete_ratio": 1, **options}

    def _partition(self, table: str) -> dict[str, Any]:
        if not self.shared:
            return {}
        whole = RelationName.parse(WHOLE)
        return {"partition_of": PartitionOf(whole, SOURCE_COLUMN, table)}

    def _sync_with_history(self, mode: str) -> None:
        """Sync; where older versions cannot take a column's new type, have them begin anew."""
        try:
            self._sync(mode)
        except SyncError as error:
            if NO_SUCH_VERSIONS not in error.message:
                raise
            self.do(self.target, f"DROP TABLE {TABLE}_history")
            self._sync(mode)

    def _sync(self, mode: str) -> None:
        self.tally.syncs += 1
        self.script.append(f"-- sync {mode}")
        self.flush()
        receipt = self._receipt(**self._options(mode))
        self.script.append(f"-- {receipt.reason}")
        assert self._is_exact(), "the ends differ"
        self.synced += 1
        self.script += [f"-- {event}" for event in receipt.events]
        if self.carries:
            self._follow_views(receipt)
            left = self._left_to_make(mode)
            assert not left, f"not carried: {left}"
        if self.keeps_history:
            self.keys.add(key_of_versions(self.pair, TABLE))
            wrong = broken(self.pair, TABLE, one_key=len(self.keys) == 1)
            assert not wrong, f"the history is not whole: {wrong}"

    def _is_exact(self) -> bool:
        if self.masked is None:
            return self.pair.is_exact(TABLE)
        return masks.is_exact(self.pair, masks.mask_of(self.masked, self.synced))

    def _follow_views(self, receipt: Receipt) -> None:
        """See that the target's views say what the source's say, or that a run said why not."""
        for event in receipt.events:
            said = re.fullmatch(r"view (.*) (made|dropped|not carried: (.*))", event)
            if said and said[3]:
                self.told[said[1]] = said[3]
            elif said:
                self.told.pop(said[1], None)
        synced = [TABLE, COMPANION][: 1 + self.accompanied]
        wrong = [*views.unfollowed(self.pair, synced, self.told)]
        assert not wrong, f"the views are not as on the source: {wrong}"

    def _left_to_make(self, mode: str) -> list[str]:
        """What the next run would make or drop besides rows."""
        options = self._options(mode)
        wanted = SyncMode.parse(options.pop("sync_mode"))
        planned = self.pair.engine().plan(table_of(TABLE, TABLE, wanted, options)).ddl
        in_vain = tuple(RelationName.parse(name).as_sql for name in self.told)
        return [
            line
            for line in planned
            if not line.startswith("--") and not any(f"VIEW {name}" in line for name in in_vain)
        ]

    def _receipt(self, **options: Any) -> Receipt:
        """What a run left that the table had to itself, or shared with one that never changes."""
        engine = self.pair.engine(workers=1)
        if not self.accompanied:
            return engine.copy_table_data(TABLE, TABLE, **options)
        mode = SyncMode.parse(options.pop("sync_mode"))
        own = self._partition(COMPANION)
        companion = table_of(COMPANION, COMPANION, SyncMode.XMIN_INCREMENTAL, own)
        outcome, other = engine.sync_each([table_of(TABLE, TABLE, mode, options), companion])
        if isinstance(outcome, SyncError):
            raise outcome
        assert isinstance(other, Receipt), other
        if self.shared:
            found = f'SELECT count(*) FILTER (WHERE "{SOURCE_COLUMN}" = %s), count(*) FROM {WHOLE}'
            told = self.pair.target(found.replace("%s", f"'{COMPANION}'"))
            ((here,),) = self.pair.target(f"SELECT count(*) FROM {TABLE}")
            assert told == [(1, here + 1)], "another source's rows are not what they were"
        return outcome

    def _is_unlogged(self) -> bool:
        """Whether the source's table, or a partition of it, is not in the WAL."""
        with self.source.cursor() as cursor:
            cursor.execute(
                "SELECT EXISTS (SELECT FROM pg_class WHERE relpersistence = 'u' AND (oid = %s::regclass"
                " OR oid IN (SELECT relid FROM pg_partition_tree(%s::regclass))))",
                (TABLE, TABLE),
            )
            return cursor.fetchone() == (True,)

    def flush(self) -> None:
        """Have the source's WAL on disk, or the run would wait for the server's own time."""
        with self.source.cursor() as cursor:
            cursor.execute("SELECT pg_logical_emit_message(true, 'flush', '')")

    def refuse(self, error: SyncError) -> None:
        """Count a refusal, if it is one that may be."""
        self.script.append(f"-- refused: {error}")
        allowed = self.may_be_refused(error)
        if not allowed:
            raise error
        self.tally.refusals += 1
        self.tally.refused.update(allowed[:1])

    def may_be_refused(self, error: SyncError) -> list[tuple[str, str]]:
        """The changes of this story after which the error is one that may be, each with its kind."""
        return [
            (kind, change)
            for kind, change, words in self.allowed
            if kind == error.kind and change in self.ever and words in error.message
        ]


def tell(pair: Pair, story: Story, tally: Tally, allowed: Collection[tuple[str, str, str]]) -> None:
    """Take all steps, and sync once more when nothing is open any more."""
    with _session(pair.source_url) as source, _session(pair.target_url) as target:
        telling = Telling(pair, tally, allowed, source, target)
        try:
            telling.begin(story)
            telling.sync("xmin")
            for step in story.steps:
                if isinstance(step, Sync):
                    telling.sync_across(step)
                else:
                    telling.operate(step)
            telling.end_held()
            telling.sync("xmin")
        except Exception as error:
            script = "\n".join(telling.script)
            raise StoryFailed(f"{type(error).__name__}: {error}\n{script}") from error
        finally:
            if telling.held is not None:
                telling.held.close()
    tally.stories += 1


def creation(story: Story) -> list[str]:
    """The statements that make the table, its type and its numbers."""
    chance = Random(story.seed)
    part = [f"{PART} integer NOT NULL"] * story.partitioned
    types = [chance.choice(TIMES), *chance.sample(TYPES, 3)]
    drawn = [
        f"{name} {type_}" + " NOT NULL" * (chance.random() < 0.2)
        for name, type_ in zip(chance.sample(NAMES, 4), types, strict=True)
    ]
    generated = [f"computed numeric GENERATED ALWAYS AS ({MOVED} % 7) STORED"]
    columns = [
        "id integer NOT NULL",
        "code text NOT NULL",
        f"{MOVED} bigint",
        f"{MOVED_AT} timestamp with time zone",
        "gone integer",
        *part,
        *drawn,
        *generated * (chance.random() < 0.4),
    ]
    chance.shuffle(columns)
    columns += [f"{SECRET} text"] * story.masked
    ranges = [
        f"CREATE TABLE {TABLE}_{first} PARTITION OF {TABLE} "
        f"FOR VALUES FROM ({first}) TO ({first + 10})"
        for first in (0, 10)
    ]
    key, by = ("id, part", f" PARTITION BY RANGE ({PART})") if story.partitioned else ("id", "")
    return [
        f"CREATE SCHEMA {SCHEMA}",
        f"CREATE SCHEMA {BESIDE}",
        f"CREATE SEQUENCE {SCHEMA}.numbers",
        f"CREATE TABLE {COMPANION} AS SELECT 1 AS companion_id",
        f"ALTER TABLE {COMPANION} ADD PRIMARY KEY (companion_id)",
        f"CREATE TYPE {MOOD} AS ENUM ('calm', 'glad', 'sad')",
        f"CREATE TABLE {TABLE} ({', '.join(columns)}, PRIMARY KEY ({key})){by}",
        f"COMMENT ON COLUMN {TABLE}.id IS '{IDENTIFIES}'",
        f"COMMENT ON COLUMN {TABLE}.code IS '{IDENTIFIES}'",
        f"ALTER TABLE {TABLE} DROP COLUMN gone",
        *ranges * story.partitioned,
    ]


@contextlib.contextmanager
def _session(url: str) -> Iterator[connection]:
    with closing(psycopg2.connect(url)) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute("SET search_path = pg_catalog; SET client_min_messages = error")
        yield session
