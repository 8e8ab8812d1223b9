"""Random changes of columns, partitions and rows between syncs: each sequence ends exact.

`make random ROUNDS=500 SEED=7` is the long form; here are a few dozen sequences of a fixed seed.
"""

from __future__ import annotations

import dataclasses
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import hypothesis
import psycopg2
import pytest
from hypothesis import strategies as st

from sync_assets.engine.errors import SchemaConflict
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import Versions

ROUNDS = int(os.environ.get("SYNC_RANDOM_ROUNDS", "20"))
SEED = int(os.environ.get("SYNC_RANDOM_SEED", "1"))
LONG = 500
"""From so many rounds on each kind of change must have come up, and refusals must be rare."""

REFUSALS = (
    # A key whose values do not convert: nobody could say which row is which.
    r"change column \"id\" .* does not allow it",
    # A value that a person put on the target.
    r"the target has no unique index on its key",
)

TYPES = (
    ("integer", "abs(hashtext({}::text)) % 1000"),
    ("bigint", "abs(hashtext({}::text))::bigint * 1000"),
    ("smallint", "(hashtext({}::text) % 100)::smallint"),
    ("text", "{}::text"),
    ("varchar(4)", "left({}::text, 4)"),
    ("varchar(40)", "left({}::text, 40)"),
    ("varchar", "{}::text"),
    ("numeric(12,2)", "(hashtext({}::text) % 10000)::numeric / 100"),
    ("numeric(14,2)", "(hashtext({}::text) % 10000)::numeric / 100"),
    ("numeric(14,4)", "(hashtext({}::text) % 10000)::numeric / 1000"),
    ("numeric", "hashtext({}::text)::numeric / 7"),
    ("timestamp(3)", "timestamp '2026-01-01' + hashtext({}::text) % 1000 * interval '1.234567 s'"),
    ("timestamptz", "timestamptz '2026-01-01' + hashtext({}::text) % 1000 * interval '1.2345 s'"),
    ("boolean", "hashtext({}::text) > 0"),
    ("text[]", "ARRAY[{}::text, NULL]"),
    ("mood", "(enum_range(NULL::mood))[1 + abs(hashtext({}::text)) % 2]"),
)
USING = dict(TYPES)


@dataclasses.dataclass
class World:
    """The two databases and what a sequence has done to them so far."""

    pair: Pair
    partitioned: bool
    chance: random.Random = dataclasses.field(default_factory=random.Random)
    done: list[str] = dataclasses.field(default_factory=list)
    numbers: int = 0

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def name(self) -> str:
        """A new name, or now and then one that a column had before."""
        here = {name for name, _, _ in self.columns()}
        free = sorted({f"c{number}" for number in range(1, self.numbers + 1)} - here)
        old = free and self.chance.random() < 0.3
        return self.chance.choice(free) if old else f"c{self.number()}"

    def columns(self) -> list[tuple[str, str, bool]]:
        """Names, types and NOT NULL of the columns beside the key."""
        return self.pair.source(
            "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
            "WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'id'"
        )

    def column(self) -> str:
        return self.chance.choice(self.columns())[0]

    def partitions(self) -> list[str]:
        found = self.pair.source(
            "SELECT c.oid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = inhrelid "
            "WHERE inhparent = 't'::regclass AND c.relname <> 't_rest' ORDER BY 1"
        )
        return [name for (name,) in found]

    def source(self, *statements: str) -> None:
        self.done += statements
        self.pair.source(*statements)

    def target(self, *statements: str) -> None:
        self.done += [f"-- target: {each}" for each in statements]
        self.pair.target(*statements)


Change = Callable[[World], None]


def add_plain(world: World) -> None:
    type_, _ = world.chance.choice(TYPES)
    world.source(f"ALTER TABLE t ADD COLUMN {world.name()} {type_}")


def add_default(world: World) -> None:
    type_, value = world.chance.choice(TYPES)
    ((text,),) = world.pair.source(f"SELECT quote_literal(({value.format('4711')})::{type_})")
    null = world.chance.choice(["", " NOT NULL"])
    world.source(f"ALTER TABLE t ADD COLUMN {world.name()} {type_}{null} DEFAULT {text}")


def add_volatile(world: World) -> None:
    world.source(f"ALTER TABLE t ADD COLUMN {world.name()} float DEFAULT random()")


def add_serial(world: World) -> None:
    world.source(f"ALTER TABLE t ADD COLUMN {world.name()} bigserial")


def add_generated(world: World) -> None:
    world.source(f"ALTER TABLE t ADD COLUMN {world.name()} int GENERATED ALWAYS AS (id % 7) STORED")


def drop_column(world: World) -> None:
    if len(world.columns()) > 1:
        world.source(f"ALTER TABLE t DROP COLUMN {world.column()}")


def rename_column(world: World) -> None:
    world.source(f"ALTER TABLE t RENAME COLUMN {world.column()} TO {world.name()}")


def rename_key(world: World) -> None:
    world.source("ALTER TABLE t RENAME COLUMN id TO key", "ALTER TABLE t RENAME COLUMN key TO id")


def swap_names(world: World) -> None:
    names = [name for name, _, _ in world.columns()]
    if len(names) > 1:
        one, other = world.chance.sample(names, 2)
        world.source(
            f"ALTER TABLE t RENAME COLUMN {one} TO parked",
            f"ALTER TABLE t RENAME COLUMN {other} TO {one}",
            f"ALTER TABLE t RENAME COLUMN parked TO {other}",
        )


def change_type(world: World) -> None:
    type_, value = world.chance.choice(TYPES)
    name = world.column()
    cast = world.chance.choice([f"{name}::{type_}", value.format(name)])
    world.source(f"ALTER TABLE t ALTER {name} DROP DEFAULT, ALTER {name} TYPE {type_} USING {cast}")


def widen_type(world: World) -> None:
    wider = {
        "smallint": "integer",
        "integer": "bigint",
        "character varying(4)": "varchar(40)",
        "character varying(40)": "text",
        "character varying": "text",
        "numeric(12,2)": "numeric(14,2)",
        "numeric(14,2)": "numeric",
        "timestamp(3) without time zone": "timestamp",
    }
    found = [(name, wider[type_]) for name, type_, _ in world.columns() if type_ in wider]
    if found:
        name, type_ = world.chance.choice(found)
        world.source(f"ALTER TABLE t ALTER {name} TYPE {type_}")


def change_key_type(world: World) -> None:
    if not world.partitioned:
        type_ = world.chance.choice(["bigint", "integer"])
        world.source(f"ALTER TABLE t ALTER id TYPE {type_}")


def set_not_null(world: World) -> None:
    name = world.column()
    world.source(f"DELETE FROM t WHERE {name} IS NULL", f"ALTER TABLE t ALTER {name} SET NOT NULL")


def drop_not_null(world: World) -> None:
    found = [name for name, _, not_null in world.columns() if not_null]
    if found:
        name = world.chance.choice(found)
        world.source(
            f"ALTER TABLE t ALTER {name} DROP NOT NULL",
            f"UPDATE t SET {name} = NULL WHERE id % 5 = 0",
        )


def add_label(world: World) -> None:
    label = f"m{world.number()}"
    place = world.chance.choice(["BEFORE", "AFTER"])
    (*_, (other,)) = world.pair.source("SELECT unnest(enum_range(NULL::mood))::text")
    world.source(f"ALTER TYPE mood ADD VALUE '{label}' {place} '{other}'")


def rename_label(world: World) -> None:
    labels = world.pair.source("SELECT unnest(enum_range(NULL::mood))::text")
    (label,) = world.chance.choice(labels)
    world.source(f"ALTER TYPE mood RENAME VALUE '{label}' TO 'm{world.number()}'")


def insert(world: World) -> None:
    world.source(*inserts(world, "t", world.chance.randint(1, 2000)))


def inserts(world: World, table: str, first: int) -> list[str]:
    """A few rows; columns that may be NULL are now and then."""
    generated = world.pair.source(
        "SELECT attname::text FROM pg_attribute "
        "WHERE attrelid = 't'::regclass AND attgenerated <> ''"
    )
    values = {
        name: USING.get(_short(type_), "{}").format("i")
        for name, type_, not_null in world.columns()
        if (name,) not in generated and (not_null or world.chance.random() < 0.9)
    }
    names, made = ", ".join(["id", *values]), ", ".join(["i", *values.values()])
    rows = f"generate_series({first}, {first + 5}) i ON CONFLICT DO NOTHING"
    return [f"INSERT INTO {table} ({names}) SELECT {made} FROM {rows}"]


def _short(type_: str) -> str:
    long = {
        "character varying": "varchar",
        " without time zone": "",
        "timestamp with time zone": "timestamptz",
    }
    for word, short in long.items():
        type_ = type_.replace(word, short)
    return type_


def update(world: World) -> None:
    name, type_, _ = world.chance.choice(world.columns())
    value = USING.get(_short(type_), "{}").format("(id + 1)")
    world.source(f"UPDATE t SET {name} = {value} WHERE id % 4 = {world.chance.randint(0, 3)}")


def update_key(world: World) -> None:
    world.source(
        f"UPDATE t SET id = id + 2000 WHERE id IN (SELECT id FROM t WHERE id < 2000 "
        f"ORDER BY id LIMIT {world.chance.randint(1, 4)}) AND NOT EXISTS "
        "(SELECT FROM t o WHERE o.id = t.id + 2000)"
    )


def delete(world: World) -> None:
    world.source(f"DELETE FROM t WHERE id % 6 = {world.chance.randint(0, 5)}")


def vacuum_full(world: World) -> None:
    world.source("VACUUM FULL t")


def vacuum_freeze(world: World) -> None:
    world.source("VACUUM (FREEZE) t")


def cluster(world: World) -> None:
    world.source("CLUSTER t USING t_pkey")


def truncate_source(world: World) -> None:
    world.source("TRUNCATE t")


def truncate_target(world: World) -> None:
    world.target("TRUNCATE t")


def drop_target(world: World) -> None:
    world.target("DROP TABLE t")


def drop_target_column(world: World) -> None:
    world.target(f"ALTER TABLE t DROP COLUMN IF EXISTS {world.column()}")


def new_partition(world: World) -> None:
    if world.partitioned:
        first = 10_000 + 100 * world.number()
        world.source(
            f"CREATE TABLE t_{first} PARTITION OF t FOR VALUES FROM ({first}) TO ({first + 100})"
        )


def detach(world: World) -> None:
    if world.partitioned and (found := world.partitions()):
        world.source(f"ALTER TABLE t DETACH PARTITION {world.chance.choice(found)}")


def attach(world: World) -> None:
    """A table that was made by itself, with its columns in another order and a dropped one."""
    if world.partitioned:
        first = 10_000 + 100 * world.number()
        name = f"t_{first}"
        columns = "".join(
            f", {column} {type_}{' NOT NULL' if not_null else ''}"
            for column, type_, not_null in reversed(world.columns())
        )
        world.source(
            f"CREATE TABLE {name} (gone integer{columns}, id integer NOT NULL)",
            f"ALTER TABLE {name} DROP COLUMN gone",
            *inserts(world, name, first),
            f"ALTER TABLE t ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({first + 100})",
        )


def alter_detached(world: World) -> None:
    """A partition that changes while it is away, and returns as if nothing had been."""
    if world.partitioned and (found := world.partitions()):
        name, column = world.chance.choice(found), world.column()
        ((bound, type_),) = world.pair.source(
            "SELECT pg_get_expr(c.relpartbound, c.oid), format_type(atttypid, atttypmod) "
            "FROM pg_class c JOIN pg_attribute ON attrelid = c.oid "
            f"WHERE c.oid = '{name}'::regclass AND attname = '{column}'"
        )
        value = USING.get(_short(type_), "0").format("815")
        ((text,),) = world.pair.source(f"SELECT quote_literal(({value})::{type_})")
        world.source(
            f"ALTER TABLE t DETACH PARTITION {name}",
            f"ALTER TABLE {name} DROP COLUMN {column}",
            f"ALTER TABLE {name} ADD COLUMN {column} {type_} DEFAULT {text} NOT NULL",
            f"ALTER TABLE t ATTACH PARTITION {name} {bound}",
        )


def swap_table(world: World) -> None:
    if not world.partitioned:
        name = f"old_{world.number()}"
        world.source(
            "CREATE TABLE swapped (LIKE t INCLUDING GENERATED)",
            "ALTER TABLE swapped ADD PRIMARY KEY (id)",
            f"ALTER TABLE t RENAME TO {name}; ALTER INDEX t_pkey RENAME TO {name}_pkey; "
            "ALTER TABLE swapped RENAME TO t; ALTER INDEX swapped_pkey RENAME TO t_pkey",
        )


def set_unlogged(world: World) -> None:
    if not world.partitioned:
        world.source(f"ALTER TABLE t SET {world.chance.choice(['UNLOGGED', 'LOGGED'])}")


CHANGES: Mapping[str, Change] = MappingProxyType(
    {
        change.__name__: change
        for change in (
            add_plain,
            add_default,
            add_volatile,
            add_serial,
            add_generated,
            drop_column,
            rename_column,
            rename_key,
            swap_names,
            change_type,
            widen_type,
            change_key_type,
            set_not_null,
            drop_not_null,
            add_label,
            rename_label,
            insert,
            update,
            update_key,
            delete,
            vacuum_full,
            vacuum_freeze,
            cluster,
            truncate_source,
            truncate_target,
            drop_target,
            drop_target_column,
            new_partition,
            detach,
            attach,
            alter_detached,
            swap_table,
            set_unlogged,
        )
    }
)


def begin(pair: Pair, *, partitioned: bool) -> World:
    """Empty both databases, and make a table of one kind or the other."""
    for execute in (pair.source, pair.target):
        execute(
            "SET client_min_messages = error",
            "DROP SCHEMA IF EXISTS sync_assets CASCADE",
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
        )
    world = World(pair, partitioned)
    world.source(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
        "CREATE TABLE t (id integer PRIMARY KEY, a integer NOT NULL, b varchar(40), m mood)"
        + (" PARTITION BY RANGE (id)" if partitioned else ""),
    )
    if partitioned:
        world.source(
            "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (20)",
            "CREATE TABLE t_2 (m mood, gone int, b varchar(40), a integer NOT NULL, id integer NOT NULL)",
            "ALTER TABLE t_2 DROP COLUMN gone",
            "ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM (20) TO (40)",
            "CREATE TABLE t_rest PARTITION OF t DEFAULT",
        )
    world.source("INSERT INTO t SELECT i, i, 'b' || i, 'ok' FROM generate_series(1, 60) i")
    return world


def attempted(world: World, kind: str, chance: int) -> bool:
    """Whether the change was made: PostgreSQL itself refuses some."""
    world.chance.seed(chance)
    before = len(world.done)
    try:
        CHANGES[kind](world)
    except psycopg2.Error as error:
        world.done.append(f"-- refused: {error.diag.message_primary}")
    return len(world.done) > before and not world.done[-1].startswith("-- refused")


def synced(world: World) -> bool:
    """Sync and compare; False where the sync was refused, in words that are expected."""
    world.done.append("-- sync")
    try:
        world.pair.sync(deletes="hard", allow_empty=True, max_delete_ratio=1.0)
    except SchemaConflict as refusal:
        if any(re.search(allowed, refusal.message) for allowed in REFUSALS):
            return False
        raise
    assert world.pair.is_exact()
    return True


Steps = list[list[tuple[str, int]]]
steps: st.SearchStrategy[Steps] = st.integers(0, (1 << 63) - 1).map(
    lambda start: drawn_from(random.Random(start))
)


def drawn_from(chance: random.Random) -> Steps:
    """Three rounds of changes, every kind as likely as any other."""
    kinds = sorted(CHANGES)
    return [
        [(chance.choice(kinds), chance.randrange(1 << 30)) for _ in range(chance.randint(2, 6))]
        for _ in range(3)
    ]


@pytest.fixture
def counted() -> Iterator[Counter[str]]:
    """What came up, printed at the end."""
    found: Counter[str] = Counter()
    yield found
    print("\n" + "\n".join(f"{kind:20}{count:6}" for kind, count in sorted(found.items())))  # noqa: T201


@pytest.mark.parametrize("partitioned", [False, True], ids=["plain", "partitioned"])
@pytest.mark.parametrize("versions", [("15", "18"), ("18", "15")], indirect=True, ids="-to-".join)
@pytest.mark.timeout(300 + ROUNDS * 10)
def test_any_sequence_of_changes_ends_exact(
    pair: Pair, versions: Versions, partitioned: bool, counted: Counter[str]
) -> None:
    @hypothesis.seed(f"{SEED} {versions} {partitioned}")
    @hypothesis.settings(
        max_examples=max(1, ROUNDS // 4),
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(steps)
    def one(drawn: Steps) -> None:
        world = begin(pair, partitioned=partitioned)
        try:
            counted["sequences"] += 1
            synced(world)
            for changes in drawn:
                made = [kind for kind, chance in changes if attempted(world, kind, chance)]
                if not synced(world):
                    counted["refused"] += 1
                    return
                counted.update(made)
        except BaseException:
            print(";\n".join(world.done))  # noqa: T201
            raise
        counted.update(each for each in world.done if each.startswith("-- refused"))

    one()
    assert counted["refused"] <= max(1, counted["sequences"] // 20)
    if ROUNDS >= LONG:
        scarce = {kind for kind in CHANGES if counted[kind] < LONG // 100} - ONLY[not partitioned]
        assert not scarce


ONLY = {
    False: {"change_key_type", "swap_table", "set_unlogged"},
    True: {"new_partition", "detach", "attach", "alter_detached"},
}
"""What only a plain table, and what only a partitioned one, can have done to it."""
