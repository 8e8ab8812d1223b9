"""The tables of the torture, each synced in another way, and the sessions that change them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from psycopg2.extensions import connection

from sync_assets.engine.computed.masks import Mask
from sync_assets.engine.names import PartitionOf, RelationName, quoted
from sync_assets.engine.table import Carry, ChangedBlocks, Deletes, SyncMode, Table
from sync_assets_tests.fixtures.histories import broken
from sync_assets_tests.fixtures.pair import Pair, execute
from sync_assets_tests.scenarios.storms.storm import Choice, Storm, Work, roll_back_prepared

WRITERS = 3
ROWS = 1500
"""So many rows a table starts with, and has again after TRUNCATE."""


@dataclass(frozen=True)
class Subject:
    """A table, and which of the target's rows must be the source's.

    `masked` has, by column, what the target must have in its place, as SQL over the source; `wrong`
    tells what else is not as it must be after a run without a fault. Of the faults it is `spared` those
    whose outcome it refuses.
    """

    table: Table
    counts: str = "true"
    keeps_deleted: bool = False
    masked: Mapping[str, str] = field(default_factory=dict)
    wrong: Callable[[Pair, Table], list[Any]] = lambda *_: []
    spared: Collection[str] = ()

    @property
    def name(self) -> str:
        """What it is called on both ends."""
        return str(self.table.source)

    def columns(self, names: Iterable[str]) -> tuple[str, str]:
        """How the source and how the target are asked for what must be equal."""
        there = {name: quoted(name) for name in names}
        here = [self.masked.get(name, written) for name, written in there.items()]
        return ", ".join(here), ", ".join(there.values())


def _table(name: str, mode: SyncMode = SyncMode.XMIN_INCREMENTAL, **options: Any) -> Table:
    relation = RelationName("public", name)
    return Table(relation, relation, mode, max_delete_ratio=1.0, allow_empty=True, **options)


def _still_to_carry(pair: Pair, table: Table) -> list[str]:
    planned = pair.engine().plan(table).ddl
    return [line for line in planned if not line.startswith("--")]


def _not_of_the_whole(pair: Pair, table: Table) -> list[Any]:
    of_it = "count(*), sum(hashtext(ROW(id, n, v)::text))"
    there = pair.target(f"SELECT {of_it} FROM {table.whole} WHERE region = 'eu'")
    here = pair.target(f"SELECT {of_it} FROM {table.target}")
    return [] if there == here else [there, here]


LAST_FOUR = (
    "CASE WHEN length(v) > 4 THEN overlay(v placing repeat('*', length(v) - 4) from 1) "
    "ELSE repeat('*', length(v)) END"
)

PARTED = Subject(_table("parted", deletes=Deletes.HARD))
SUBJECTS = (
    Subject(_table("plain", deletes=Deletes.HARD)),
    Subject(_table("paired", deletes=Deletes.HARD, changed_blocks=ChangedBlocks.OFF)),
    PARTED,
    Subject(_table("marked", deletes=Deletes.SOFT), counts="deleted_at IS NULL"),
    Subject(_table("dated", SyncMode.INCREMENTAL_SYNC, cursor="at"), keeps_deleted=True),
    Subject(_table("whole", SyncMode.FULL_SYNC)),
    Subject(
        _table("versioned", deletes=Deletes.HARD, history=True),
        wrong=lambda pair, table: broken(pair, str(table.target)),
    ),
    Subject(_table("furnished", deletes=Deletes.HARD, carry=tuple(Carry)), wrong=_still_to_carry),
    Subject(
        _table("masked", deletes=Deletes.HARD, mask=(("v", Mask("keep_last", 4)),)),
        masked={"v": LAST_FOUR},
    ),
    Subject(
        _table(
            "regional",
            deletes=Deletes.HARD,
            partition_of=PartitionOf(RelationName("public", "regions"), "region", "eu"),
        ),
        wrong=_not_of_the_whole,
        # With the type that another one had under its name, which other sources may still have.
        spared={"source column added"},
    ),
)
NAMES = tuple(subject.name for subject in SUBJECTS)
MIDDLE = f"{PARTED.name}_middle"
"""The partition that comes and goes."""

_COLUMNS = (
    "id integer NOT NULL, n integer NOT NULL, tag integer NOT NULL, v text, big text, "
    "at timestamptz NOT NULL DEFAULT now()"
)
_LOOSE = "WITH (fillfactor = 10)"
"""Few rows on a page, so that reading the changed pages alone pays."""

FILL = (
    f"INSERT INTO {{t}} SELECT i, 0, i % 7, md5(i::text) FROM generate_series(1, {ROWS}) i "
    "ON CONFLICT DO NOTHING"
)
ATTACH = f"ALTER TABLE {PARTED.name} ATTACH PARTITION {MIDDLE} FOR VALUES FROM (2000) TO (4000)"
DETACH = f"ALTER TABLE {PARTED.name} DETACH PARTITION {MIDDLE}"
SWAP = (
    f"DROP TABLE {MIDDLE}; "
    f"CREATE TABLE {MIDDLE} PARTITION OF {PARTED.name} FOR VALUES FROM (2000) TO (4000); "
    f"INSERT INTO {PARTED.name} SELECT i, 8, 9, 'swapped' FROM generate_series(2000, 2500) i"
)

SCHEMA = (
    f"CREATE TABLE public.plain ({_COLUMNS}, PRIMARY KEY (id)) {_LOOSE}",
    f"CREATE TABLE public.paired ({_COLUMNS}, PRIMARY KEY (tag, id), UNIQUE (id))",
    f"CREATE TABLE {PARTED.name} ({_COLUMNS}, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
    f"CREATE TABLE {PARTED.name}_low PARTITION OF {PARTED.name} FOR VALUES FROM (0) TO (2000)",
    f"CREATE TABLE {MIDDLE} PARTITION OF {PARTED.name} FOR VALUES FROM (2000) TO (4000)",
    (
        f"CREATE TABLE {PARTED.name}_high PARTITION OF {PARTED.name} "
        "FOR VALUES FROM (4000) TO (MAXVALUE)"
    ),
    f"CREATE TABLE public.marked ({_COLUMNS}, PRIMARY KEY (id))",
    f"CREATE TABLE public.dated ({_COLUMNS}, PRIMARY KEY (id))",
    f"CREATE TABLE public.whole ({_COLUMNS}, PRIMARY KEY (id))",
    f"CREATE TABLE public.versioned ({_COLUMNS}, PRIMARY KEY (id))",
    f"CREATE TABLE public.furnished ({_COLUMNS}, PRIMARY KEY (id), CHECK (id > -1))",
    "CREATE INDEX ON public.furnished (tag, n)",
    "CREATE INDEX ON public.furnished (lower(v)) WHERE n > 1",
    "CREATE STATISTICS public.furnishings ON tag, n FROM public.furnished",
    "COMMENT ON TABLE public.furnished IS 'has what a target can be given'",
    f"CREATE TABLE public.masked ({_COLUMNS}, PRIMARY KEY (id))",
    f"CREATE TABLE public.regional ({_COLUMNS}, PRIMARY KEY (id))",
    "CREATE INDEX ON public.dated (at)",
    (
        "CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.at := now(); RETURN NEW; END'"
    ),
    # Half of the changes leave the cursor as it was.
    (
        "CREATE TRIGGER touch BEFORE UPDATE ON public.dated FOR EACH ROW WHEN (OLD.id % 2 = 0) "
        "EXECUTE FUNCTION public.touch()"
    ),
    *(FILL.format(t=name) for name in NAMES),
)

LOST = (psycopg2.DatabaseError, psycopg2.InterfaceError)
"""What a session meets when its server is killed: almost any error, with or without a code."""


class Writers(Storm):
    """A few writers and a caretaker, who come back when their server does."""

    def __init__(self, url: str, seed: str) -> None:
        super().__init__(url, seed, writers=WRITERS, outlived=LOST, tables=NAMES)

    def _works(self, writers: int) -> list[Work]:
        return [*([self._write] * writers), self._care]

    def _care(self, session: connection, chance: Choice) -> None:
        super()._care(session, chance)
        # Those of a session that was lost between the two phases.
        roll_back_prepared(self.url, 5)


def create_tables(url: str) -> None:
    """Create and fill the tables."""
    execute(url, *SCHEMA)
