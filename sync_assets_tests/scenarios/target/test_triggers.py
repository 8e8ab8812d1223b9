"""Triggers and rules on the target: what they change is refused, and what they leave alone is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from psycopg2.extensions import make_dsn

from sync_assets.engine import RelationName, SyncMode, Table
from sync_assets.engine.errors import SchemaConflict, SyncError
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

pytestmark = both_ways

CREATE = "CREATE TABLE t (id integer PRIMARY KEY, v text, touched integer)"
FILL = "INSERT INTO t SELECT i, 'v' || i, 0 FROM generate_series(1, 200) i"
CHANGES = (
    "UPDATE t SET v = 'changed' WHERE id IN (1, 2)",
    "INSERT INTO t VALUES (1001, 'new', 0)",
    "DELETE FROM t WHERE id = 3",
)
# A function of the target runs under our pinned search_path, unless it has one of its own.
BODY = "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN {} END $$"
EACH_ROW = "FOR EACH ROW EXECUTE FUNCTION act()"
BEFORE = f"CREATE TRIGGER act BEFORE {{}} ON {{}} {EACH_ROW}"

ACTORS = {
    "an update that is left out": (BODY.format("RETURN NULL;"), BEFORE.format("UPDATE", "t")),
    "an insert that is left out": (BODY.format("RETURN NULL;"), BEFORE.format("INSERT", "t")),
    "a delete that is left out": (BODY.format("RETURN NULL;"), BEFORE.format("DELETE", "t")),
    "the target's own clock": (
        BODY.format("NEW.touched := 99; RETURN NEW;"),
        BEFORE.format("UPDATE", "t"),
    ),
    "an update put back afterwards": (
        BODY.format(
            "IF NEW.v = 'changed' THEN UPDATE t SET v = OLD.v WHERE id = NEW.id; END IF; RETURN NULL;"
        ),
        "CREATE TRIGGER act AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION act()",
    ),
    "a statement's rows put back": (
        BODY.format("DELETE FROM t USING n WHERE t.id = n.id; RETURN NULL;"),
        "CREATE TRIGGER act AFTER INSERT ON t REFERENCING NEW TABLE AS n EXECUTE FUNCTION act()",
    ),
    "what is done at the commit": (
        BODY.format("DELETE FROM t WHERE id = NEW.id; RETURN NULL;"),
        f"CREATE CONSTRAINT TRIGGER act AFTER INSERT ON t INITIALLY DEFERRED {EACH_ROW}",
    ),
}


def refused(pair: Pair, sync: Callable[[], Any], *, named: str = "act on public.t") -> None:
    """Nothing is published, and the statements of the remedy are a way out."""
    state = "SELECT version, watermark FROM sync_assets.state"
    before = pair.target(state), pair.target("SELECT * FROM t ORDER BY t::text")
    with pytest.raises(SchemaConflict, match=named) as caught:
        sync()
    assert (pair.target(state), pair.target("SELECT * FROM t ORDER BY t::text")) == before
    statements = re.findall(r"ALTER TABLE [^;]*;", caught.value.remedy)
    assert statements
    pair.target(*statements)
    sync()


@pytest.mark.parametrize("case", ACTORS)
def test_a_trigger_that_changes_what_is_written_is_named(pair: Pair, case: str) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="hard")
    pair.target(*ACTORS[case])
    pair.source(*CHANGES)
    refused(pair, lambda: pair.sync(deletes="hard"))
    assert pair.is_exact()


def test_a_full_pass_is_looked_at_as_well(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync()
    pair.target(*ACTORS["a delete that is left out"])
    pair.source(*CHANGES)
    refused(pair, lambda: pair.engine().copy_table_data("t", "t"))
    assert pair.is_exact()


def test_a_mark_that_is_not_set_is_missed(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="soft")
    pair.target(*ACTORS["an update that is left out"])
    pair.source("DELETE FROM t WHERE id = 3")
    refused(pair, lambda: pair.sync(deletes="soft"))
    assert pair.target("SELECT id FROM t WHERE deleted_at IS NOT NULL") == [(3,)]


@pytest.mark.parametrize(
    "actor",
    [
        ACTORS["an insert that is left out"],
        ACTORS["a delete that is left out"],
        ("CREATE RULE act AS ON DELETE TO t DO INSTEAD NOTHING",),
        ("CREATE RULE act AS ON INSERT TO t DO INSTEAD NOTHING",),
    ],
)
def test_rows_without_a_key_are_looked_for_too(pair: Pair, actor: tuple[str, ...]) -> None:
    pair.source("CREATE TABLE t (v text)", "INSERT INTO t VALUES ('a'), ('a'), ('b'), ('c')")
    pair.engine().copy_table_data("t", "t")
    pair.target(*actor)
    pair.source(
        "DELETE FROM t WHERE ctid IN (SELECT min(ctid) FROM t)", "INSERT INTO t VALUES ('d')"
    )
    refused(pair, lambda: pair.engine().copy_table_data("t", "t"))
    assert pair.is_exact()


def test_a_rule_that_keeps_rows_is_named(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="hard")
    pair.target("CREATE RULE act AS ON DELETE TO t DO INSTEAD NOTHING")
    pair.source("DELETE FROM t WHERE id = 3")
    refused(pair, lambda: pair.sync(deletes="hard"))
    assert pair.is_exact()


def test_a_trigger_of_one_partition_is_named(pair: Pair) -> None:
    parts = (
        CREATE + " PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (1000)",
        "CREATE TABLE high PARTITION OF t DEFAULT",
    )
    pair.source(*parts, FILL)
    pair.target(*parts)
    pair.sync(deletes="hard")
    pair.target(BODY.format("RETURN OLD;"), BEFORE.format("UPDATE", "low"))
    pair.source(*CHANGES)
    refused(pair, lambda: pair.sync(deletes="hard"), named="act on public.low")
    assert pair.is_exact()


def test_a_trigger_of_one_table_that_writes_into_another_of_its_group(pair: Pair) -> None:
    pair.source(CREATE, FILL, "CREATE TABLE u (id integer PRIMARY KEY)")
    group = [
        Table(RelationName("public", name), RelationName("public", name), SyncMode.XMIN_INCREMENTAL)
        for name in ("u", "t")
    ]
    pair.engine().sync_group(group)
    pair.target(
        BODY.format("UPDATE t SET v = 'mine' WHERE id = 1; RETURN NULL;"),
        "CREATE TRIGGER act AFTER INSERT ON u FOR EACH ROW EXECUTE FUNCTION act()",
    )
    pair.source(CHANGES[0], "INSERT INTO u VALUES (1)")
    with pytest.raises(SchemaConflict, match="1 rows are not there as they were sent"):
        pair.engine().sync_group(group)
    assert pair.target("SELECT count(*) FROM u") == [(0,)]


def test_a_repair_that_does_not_hold_is_refused(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="hard")
    pair.target("UPDATE t SET v = 'broken' WHERE id = 7", *ACTORS["an update that is left out"])
    refused(pair, lambda: pair.verify(repair=True, deletes="hard"))
    assert pair.is_exact()


def test_what_triggers_do_to_columns_of_the_target_alone_is_their_own(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.sync(deletes="hard")
    pair.target(
        "ALTER TABLE t ADD COLUMN mine integer",
        BODY.format("NEW.mine := 7; RETURN NEW;"),
        BEFORE.format("INSERT OR UPDATE", "t"),
    )
    pair.source(*CHANGES)
    receipt = pair.sync(deletes="hard")
    assert (receipt.rows_inserted, receipt.rows_updated, receipt.rows_deleted) == (1, 2, 1)
    assert pair.target("SELECT count(*) FROM t WHERE mine = 7") == [(3,)]


@pytest.fixture
def writer(pair: Pair) -> Iterator[Pair]:
    """The synced table, written by a role of few rights that may switch triggers off."""
    pair.source(CREATE, FILL)
    pair.sync(deletes="hard")
    pair.target(
        "DROP ROLE IF EXISTS sync_writer",
        "CREATE ROLE sync_writer LOGIN",
        "GRANT SET ON PARAMETER session_replication_role TO sync_writer",
        "GRANT ALL ON SCHEMA public, sync_assets TO sync_writer",
        "GRANT ALL ON ALL TABLES IN SCHEMA public, sync_assets TO sync_writer",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA sync_assets TO sync_writer",
    )
    pair.source(*CHANGES)
    yield Pair(pair.source_url, make_dsn(pair.target_url, user="sync_writer"))
    pair.target(
        "DROP OWNED BY sync_writer",
        "REVOKE SET ON PARAMETER session_replication_role FROM sync_writer",
        "DROP ROLE sync_writer",
    )


def test_our_sessions_alone_can_go_without_triggers(pair: Pair, writer: Pair) -> None:
    pair.target(*ACTORS["an update that is left out"])
    options = "-csession_replication_role=replica"
    quiet = Pair(pair.source_url, make_dsn(writer.target_url, options=options))
    assert quiet.sync(deletes="hard").rows_updated == 2
    assert pair.is_exact()
    for mode in ("ALWAYS", "REPLICA"):
        pair.target(f"ALTER TABLE t ENABLE {mode} TRIGGER act")
        pair.source("UPDATE t SET v = v || '!' WHERE id = 9")
        refused(pair, lambda: quiet.sync(deletes="hard"))
    assert pair.is_exact()


def test_policies_on_the_target_are_an_error_not_a_loss(pair: Pair, writer: Pair) -> None:
    pair.target(
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY half ON t USING (id > 50) WITH CHECK (true)",
    )
    with pytest.raises(SyncError, match="row-level security"):
        writer.sync(deletes="hard")


def test_a_column_that_the_target_computes_itself_is_refused(pair: Pair) -> None:
    pair.source(CREATE, FILL)
    pair.target(
        "CREATE TABLE t (id integer PRIMARY KEY, v text,"
        " touched integer GENERATED ALWAYS AS (id) STORED)"
    )
    with pytest.raises(SchemaConflict, match="'touched' is generated") as caught:
        pair.sync()
    (drop,) = re.findall(r"ALTER TABLE [^;]*;", caught.value.remedy)
    pair.target(drop)
    pair.sync()
    assert pair.is_exact()
