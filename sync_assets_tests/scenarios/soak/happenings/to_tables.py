"""What happens to tables on either end, and who else is at them."""

from __future__ import annotations

import contextlib

import psycopg2

from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.lock import advisory_key
from sync_assets_tests.fixtures.pair import eventually
from sync_assets_tests.scenarios.soak.home import PATIENCE
from sync_assets_tests.scenarios.soak.stage import NOTHING, Happening, Stage, Told
from sync_assets_tests.scenarios.soak.tables import GROUP, PARTED, PARTITIONS, ROWS


def right_revoked(stage: Stage) -> Happening:
    name = stage.any_of(["customers", "visits", "notes", "stock", *GROUP])
    stage.servers.pair.source(f"REVOKE SELECT ON {name} FROM reader")
    yield stage.hindered(name, "PrivilegeError")
    stage.servers.pair.source(f"GRANT SELECT ON {name} TO reader")


def table_dropped(stage: Stage) -> Happening:
    name = stage.any_of(["customers", "visits", "notes", "stock", *GROUP])
    stage.tables.there.discard(name)
    stage.servers.pair.source(f"DROP TABLE {name}")
    yield stage.hindered(name, "NoSuchRelation")
    stage.tables.create_one(name)


def table_renamed(stage: Stage) -> Happening:
    name = stage.any_of(["customers", "visits", "notes", "stock"])
    stage.tables.there.discard(name)
    stage.servers.pair.source(f"ALTER TABLE {name} RENAME TO {name}_of_yore")
    yield stage.hindered(name, "NoSuchRelation")
    stage.servers.pair.source(f"ALTER TABLE {name}_of_yore RENAME TO {name}")
    stage.tables.there.add(name)


def table_added(stage: Stage) -> Happening:
    stage.tables.added += 1
    name = f"added_{stage.tables.added}"
    stage.tables.create_one(name)
    stage.tables.synced[name] = {}
    stage.redefine()
    yield NOTHING


def table_taken_out(stage: Stage) -> Happening:
    added = sorted(stage.tables.synced.keys() & stage.tables.there - set(_base(stage)))
    if added:
        del stage.tables.synced[added[0]]
        stage.redefine()
    yield NOTHING


def _base(stage: Stage) -> list[str]:
    return [name for name in stage.tables.synced if not name.startswith("added_")]


def column(stage: Stage, what: str) -> Happening:
    name = stage.any_of(_base(stage))
    stage.servers.pair.source(f"ALTER TABLE {name} {what}")
    yield NOTHING


def partition_attached(stage: Stage) -> Happening:
    stage.tables.added += 1
    number = stage.tables.added
    name, low = f"{PARTED}_{number}", (number + 1) * 1_000_000
    stage.servers.pair.source(
        f"CREATE TABLE {name} (LIKE {PARTED} INCLUDING ALL)",
        f"INSERT INTO {name} (id, n, note) SELECT {low} + i, i, 'new' FROM generate_series(1, 50) i",
        f"ALTER TABLE {PARTED} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({low + 1_000_000})",
    )
    yield NOTHING


def partition_detached(stage: Stage) -> Happening:
    _, high = PARTITIONS
    stage.servers.pair.source(f"ALTER TABLE {PARTED} DETACH PARTITION {high}")
    yield NOTHING
    stage.servers.pair.source(
        f"ALTER TABLE {PARTED} ATTACH PARTITION {high} FOR VALUES FROM (1000000) TO (2000000)"
    )


def truncated(stage: Stage) -> Happening:
    name = stage.any_of(["visits", "notes", *GROUP])
    stage.servers.pair.source(
        f"TRUNCATE {name}; INSERT INTO {name} (id, n) SELECT i, -i FROM generate_series(1, {ROWS}) i"
    )
    yield NOTHING


def most_deleted(stage: Stage) -> Happening:
    source = stage.servers.pair.source
    stage.tables.there.discard("visits")
    source("CREATE TABLE aside AS SELECT * FROM visits", "DELETE FROM visits WHERE id > 20")
    yield Told(failed="visits")
    source("INSERT INTO visits SELECT * FROM aside WHERE id > 20", "DROP TABLE aside")
    stage.tables.there.add("visits")


def refused_by_the_target(stage: Stage) -> Happening:
    pair = stage.servers.pair
    pair.target("ALTER TABLE notes ADD CONSTRAINT small CHECK (n < 1000000)")
    pair.source("UPDATE notes SET n = 2000000 WHERE id = (SELECT min(id) FROM notes)")
    yield Told(failed="notes")
    pair.target("ALTER TABLE notes DROP CONSTRAINT small")
    pair.source("UPDATE notes SET n = 0 WHERE n >= 1000000")


def refused_unheard(stage: Stage) -> Happening:
    """The receiver of alerts is away when a sync fails, and comes back."""
    stage.inbox.status = 503
    happening = refused_by_the_target(stage)
    told = next(happening)
    failed = stage.inbox.refused
    try:
        assert eventually(lambda: stage.inbox.refused > failed + 2, PATIENCE * 4), (
            "no alert was tried"
        )
    finally:
        stage.inbox.status = 200
    yield told
    for _ in happening:
        pass


def target_changed(stage: Stage, statement: str) -> Happening:
    name = stage.any_of(["visits", "notes", "customers"])
    stage.servers.pair.target(statement.format(name))
    stage.tables.touch([name])
    yield NOTHING


def locked_by_a_stranger(stage: Stage) -> Happening:
    with contextlib.closing(psycopg2.connect(stage.servers.pair.target_url)) as session:
        with session.cursor() as cursor:
            cursor.execute("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
        stage.tables.touch(["notes"])
        yield NOTHING


def lock_of_runs_held(stage: Stage) -> Happening:
    with contextlib.closing(psycopg2.connect(stage.servers.pair.target_url)) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            key = advisory_key(RelationName("public", "notes"))
            cursor.execute("SELECT pg_advisory_lock(%s)", (key,))
        stage.tables.touch(["notes"])
        yield Told(failed="notes")


def open_transaction(stage: Stage) -> Happening:
    with contextlib.closing(psycopg2.connect(stage.servers.pair.source_url)) as session:
        with session.cursor() as cursor:
            cursor.execute("INSERT INTO notes (id, note) VALUES (900000, 'of a long transaction')")
        yield NOTHING
        with session.cursor() as cursor:
            cursor.execute("DELETE FROM notes WHERE id = 900000")
        session.commit()
