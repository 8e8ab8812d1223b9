"""What tables have besides rows is made on the target once the rows are there, and followed."""

from __future__ import annotations

from typing import Any

import pytest

from sync_assets.engine import Deletes, Receipt, RelationName, Table
from sync_assets.engine.errors import SourceIdentityChanged
from sync_assets.engine.inspection.idle import idle_among
from sync_assets.engine.table import Carry
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import NewDatabase, both_ways

pytestmark = both_ways

TABLE = (
    (
        "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL DEFAULT 'none', n int, at timestamptz"
        " DEFAULT now(), CONSTRAINT positive CHECK (n > 0), CONSTRAINT once UNIQUE (v, n))"
    ),
    "CREATE INDEX t_n ON t (n DESC NULLS LAST) INCLUDE (v) WHERE n > 2",
    "CREATE UNIQUE INDEX t_lower ON t (lower(v), id)",
    "CREATE STATISTICS t_both (ndistinct, dependencies) ON v, n FROM t",
    "COMMENT ON COLUMN t.v IS 'its''s value'",
    "INSERT INTO t SELECT i, 'v' || i, i FROM generate_series(1, 1000) i",
)
HARD: dict[str, Any] = {"carry": "all", "deletes": "hard"}

INDEXES = "SELECT indexdef FROM pg_indexes WHERE tablename = 't' ORDER BY 1"
CONSTRAINTS = (
    "SELECT conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint"
    " WHERE conrelid = 't'::regclass AND contype <> 'n' ORDER BY 1"
)
COLUMNS = (
    "SELECT attname, attnotnull, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)"
    " FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
    " WHERE attrelid = 't'::regclass AND attnum > 0 AND attname <> 'source_xmin' ORDER BY 1"
)
STATISTICS = "SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext ORDER BY 1"
EVERYTHING = (INDEXES, CONSTRAINTS, COLUMNS, STATISTICS)


def is_alike(pair: Pair) -> bool:
    """Whether both ends say the same of their table."""
    for question in EVERYTHING:
        assert pair.target(question) == pair.source(question)
    return True


def said(receipt: Receipt) -> set[str]:
    return {event for event in receipt.events if "waited" not in event}


def test_the_target_has_what_its_source_has(pair: Pair) -> None:
    pair.source(*TABLE)
    receipt = pair.sync(**HARD)
    assert is_alike(pair)
    assert {"index t_n made", "check positive made", "the default of v made"} <= said(receipt)
    assert not [each for each in said(receipt) if "not carried" in each]
    stored = pair.target("SELECT receipt FROM sync_assets.receipt")[0][0]
    assert set(stored["events"]) == set(receipt.events)
    assert said(pair.sync(**HARD)) == set()


def test_a_target_that_is_filled_is_given_them_later(pair: Pair) -> None:
    pair.source(*TABLE)
    pair.sync()
    pair.target("DROP TABLE IF EXISTS nobody", "ALTER TABLE t ALTER v DROP NOT NULL")
    assert pair.target(INDEXES) != pair.source(INDEXES)
    pair.sync(**HARD)
    assert is_alike(pair)


FOLLOWED = {
    "another index": ["DROP INDEX t_n", "CREATE INDEX t_n ON t (n)"],
    "an index more": ["CREATE INDEX t_v ON t USING hash (v)"],
    "an index less": ["DROP INDEX t_n", "DROP INDEX t_lower"],
    "a looser check": [
        "ALTER TABLE t DROP CONSTRAINT positive, ADD CONSTRAINT positive CHECK (n > -9)",
        "INSERT INTO t VALUES (-1, 'minus', -1)",
    ],
    "no uniqueness": ["ALTER TABLE t DROP CONSTRAINT once", "INSERT INTO t VALUES (2000, 'v1', 1)"],
    "a default": ["ALTER TABLE t ALTER v SET DEFAULT 'some', ALTER at DROP DEFAULT"],
    "nullable": ["ALTER TABLE t ALTER v DROP NOT NULL", "INSERT INTO t VALUES (-1, NULL, 1)"],
    "not null": ["ALTER TABLE t ALTER n SET NOT NULL"],
    "statistics": ["DROP STATISTICS t_both", "CREATE STATISTICS t_one (mcv) ON n, id FROM t"],
    "a comment": ["COMMENT ON COLUMN t.v IS 'another'", "COMMENT ON COLUMN t.n IS 'one more'"],
    "a comment less": ["COMMENT ON COLUMN t.v IS NULL"],
    "another name": ["ALTER TABLE t RENAME n TO m"],
    "another type": ["ALTER TABLE t ALTER n TYPE bigint"],
    "a type that its index is not for": [
        "DROP INDEX t_n",
        "ALTER TABLE t DROP CONSTRAINT positive, ALTER n TYPE text",
        "CREATE INDEX t_n ON t ((n || 'x'))",
    ],
    "the same index, no longer unique": [
        "ALTER TABLE t DROP CONSTRAINT once",
        "CREATE INDEX once ON t (v, n)",
        "INSERT INTO t VALUES (2000, 'v1', 1)",
    ],
    "a constraint that can be put off": [
        "ALTER TABLE t DROP CONSTRAINT once, ADD CONSTRAINT once UNIQUE (v, n) DEFERRABLE"
    ],
}


@pytest.mark.parametrize("statements", FOLLOWED.values(), ids=FOLLOWED)
def test_what_changes_on_the_source_is_followed(pair: Pair, statements: list[str]) -> None:
    pair.source(*TABLE)
    pair.sync(**HARD)
    pair.source(*statements, "UPDATE t SET at = at WHERE id = 7")
    pair.sync(**HARD)
    assert pair.is_exact()
    assert is_alike(pair)
    assert said(pair.sync(**HARD)) == set()


def test_an_index_is_not_built_again_for_another_name_or_another_way_to_write_it(
    pair: Pair,
) -> None:
    pair.source(*TABLE)
    pair.sync(**HARD)
    oids = "SELECT indexrelid FROM pg_index WHERE indrelid = 't'::regclass ORDER BY 1"
    before = pair.target(oids)
    pair.source("ALTER INDEX t_n RENAME TO t_m", "UPDATE t SET at = at WHERE id = 7")
    assert said(pair.sync(**HARD)) == set()
    assert pair.target(oids) == before
    # The target's column stays text, and its server leaves the cast out.
    pair.source("ALTER TABLE t ALTER v TYPE varchar(90)")
    assert pair.sync(**HARD).rows_exported == 1000
    before = pair.target(oids)
    pair.source("UPDATE t SET at = at WHERE id = 7")
    assert said(pair.sync(**HARD)) == set()
    assert pair.target(oids) == before


OUR_OWN = "CREATE FUNCTION public.mine(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'"
REFUSED = {
    "code of the source's own": (
        [OUR_OWN, "CREATE INDEX mine ON t (public.mine(v))"],
        {},
        "index mine not carried: it calls public.mine(text), which is code of the source's own",
    ),
    "an extension that the target lacks": (
        ["CREATE EXTENSION pg_trgm", "ALTER TABLE t ADD CHECK (similarity(v, 'x') < 2)"],
        {},
        "check t_v_check not carried: it needs the extension pg_trgm, which the target lacks",
    ),
    "what says another thing each time": (
        ["ALTER TABLE t ADD CHECK (at < clock_timestamp() + '1 day')"],
        {},
        "check t_at_check not carried: clock_timestamp() may say something else the next time",
    ),
    "what says another thing to another": (
        ["ALTER TABLE t ADD CHECK (CURRENT_USER <> v)"],
        {},
        "check t_v_check not carried: CURRENT_USER may say something else the next time",
    ),
    "a cast that a setting decides about": (
        ["ALTER TABLE t ADD CHECK (CASE WHEN n < 0 THEN v::date > '2020-01-01' ELSE true END)"],
        {},
        "check t_check not carried: date_in() may say something else the next time",
    ),
    "what old rows may break": (
        ["ALTER TABLE t ADD CONSTRAINT odd CHECK (n % 2 = 1) NOT VALID"],
        {},
        "check odd not carried: it is not valid on the source, where rows may break it",
    ),
    "a sequence of nobody's": (
        ["CREATE SEQUENCE s", "ALTER TABLE t ALTER n SET DEFAULT nextval('s')"],
        {},
        "the default of n not carried: nextval() may say something else the next time",
    ),
    "a column that stays": (
        [],
        {"exclude": ["n"]},
        "check positive not carried: the column n does not travel",
    ),
    "a column that is masked": (
        [],
        {"mask": {"v": "redact"}},
        "index t_lower not carried: the column v is computed on its way",
    ),
}


@pytest.mark.parametrize(("statements", "options", "event"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_carried_is_told_once_with_its_reason(
    pair: Pair, statements: list[str], options: dict[str, Any], event: str
) -> None:
    pair.source(*TABLE, *statements)
    assert event in said(pair.sync(**HARD, **options))
    pair.source("UPDATE t SET at = at WHERE id = 7")
    assert said(pair.sync(**HARD, **options)) == set()
    known = "SELECT problem FROM sync_assets.carried WHERE problem IS NOT NULL"
    assert event.partition(" not carried: ")[2] in {found for (found,) in pair.target(known)}


def test_where_rows_stay_that_the_source_deleted_nothing_on_the_target_is_unique(
    pair: Pair,
) -> None:
    pair.source(*TABLE)
    pair.sync(carry="all")
    pair.source("DELETE FROM t WHERE id = 1", "INSERT INTO t VALUES (2000, 'v1', 1)")
    assert pair.sync(carry="all").rows_inserted == 1
    assert pair.target("SELECT count(*) FROM t WHERE v = 'v1'") == [(2,)]
    names = pair.target("SELECT indexname::text FROM pg_indexes WHERE tablename = 't'")
    assert {"t_n", "t_lower", "once"} <= {name for (name,) in names}


def test_rows_that_break_what_the_source_promises_cost_no_run(pair: Pair) -> None:
    pair.source(*TABLE)
    pair.sync()
    pair.target("INSERT INTO t VALUES (-1, 'v1', 1), (-2, 'minus', -2)")
    options: dict[str, Any] = {"carry": ["checks"], "deletes": "hard", "max_delete_ratio": 1.0}
    ignored = pair.sync(carry=["checks"])
    assert "check positive not carried" in str(said(ignored))
    assert pair.target("SELECT count(*) FROM pg_constraint WHERE conname = 'positive'") == [(0,)]
    assert said(pair.sync(carry=["checks"])) == set()
    # The rows are gone with this run, and a full pass tries again.
    assert "check positive made" in said(pair.sync(**options, full_refresh=True))


def test_a_target_of_another_role_is_filled_and_nothing_is_made(pair: Pair) -> None:
    pair.source(*TABLE)
    pair.sync()
    pair.target(
        "DO $$ BEGIN CREATE ROLE loader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT ALL ON t TO loader",
        "GRANT ALL ON SCHEMA sync_assets TO loader",
        "GRANT ALL ON ALL TABLES IN SCHEMA sync_assets TO loader",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA sync_assets TO loader",
    )
    loader = Pair(pair.source_url, pair.target_url.replace("postgres@", "loader@"))
    pair.source("UPDATE t SET v = 'new' WHERE id = 7")
    receipt = loader.sync(**HARD)
    assert receipt.rows_updated == 1
    assert "index t_n not carried: the target said: must be owner of table t" in said(receipt)


def test_an_index_whose_building_was_cut_off_is_built_anew(pair: Pair) -> None:
    pair.source(*TABLE)
    pair.sync(**HARD)
    # As a CREATE INDEX CONCURRENTLY leaves it that was killed.
    pair.target("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_n'::regclass")
    assert said(pair.sync(**HARD)) == {"index t_n made"}
    assert is_alike(pair)


def test_a_foreign_key_holds_between_tables_of_one_snapshot_group(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int PRIMARY KEY, its int REFERENCES parent ON DELETE CASCADE)",
        "CREATE TABLE other (id int PRIMARY KEY, its int REFERENCES parent)",
        "INSERT INTO parent VALUES (1), (2)",
        "INSERT INTO child VALUES (1, 1), (2, 2)",
    )
    tables = [
        Table(name, name, deletes=Deletes.HARD, max_delete_ratio=1.0, carry=tuple(Carry))
        for name in (RelationName("public", "child"), RelationName("public", "parent"))
    ]
    pair.engine().sync_group(tables)
    keys = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'child'::regclass"
    found = "FOREIGN KEY (its) REFERENCES parent(id) ON DELETE CASCADE"
    assert pair.target(keys) == [(found,)]
    pair.source(
        "INSERT INTO parent VALUES (3)",
        "INSERT INTO child VALUES (3, 3)",
        "DELETE FROM parent WHERE id = 1",
    )
    pair.engine().sync_group(tables)
    assert pair.target("SELECT id, its FROM child ORDER BY 1") == [(2, 2), (3, 3)]
    planned = pair.engine().plan(tables[0]).ddl
    assert planned == ("-- foreign key child_its_fkey is for a run of its snapshot_group",)
    parent = Table(tables[1].target, tables[1].target, deletes=Deletes.HARD, max_delete_ratio=1.0)
    # It need not carry anything itself.
    assert said(pair.engine().sync_group([tables[0], parent])[0]) == set()
    alone = pair.sync("other", **HARD)
    assert "is not synced in one snapshot_group with public.other" in str(said(alone))
    pair.source(
        "ALTER TABLE child DROP CONSTRAINT child_its_fkey", "INSERT INTO child VALUES (9, 9)"
    )
    pair.engine().sync_group(tables)
    assert pair.target(keys) == []


def test_after_a_cut_over_the_target_goes_on_where_the_sequence_was(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY (INCREMENT 10) PRIMARY KEY,"
        " n serial, v text)",
        "INSERT INTO t (v) SELECT 'v' FROM generate_series(1, 5)",
    )
    pair.sync(**HARD)
    pair.source("INSERT INTO t (v) VALUES ('new')", "SELECT nextval('t_n_seq')")
    pair.sync(**HARD)
    assert pair.is_exact()
    added = pair.target("INSERT INTO t (v) VALUES ('own') RETURNING id, n")
    assert added == [(61, 8)]


def test_a_sequence_that_was_set_and_not_called_yet_begins_there_on_the_target_too(
    pair: Pair,
) -> None:
    # As serials of versions before 10 are, a sequence may go beyond its column.
    pair.source(
        "CREATE TABLE t (id int PRIMARY KEY, m serial)",
        "CREATE SEQUENCE s OWNED BY t.id",
        "ALTER TABLE t ALTER id SET DEFAULT nextval('s')",
        "INSERT INTO t (id) SELECT generate_series(1, 50)",
        "ALTER SEQUENCE s RESTART WITH 51",
    )
    assert "the sequence of id made" in said(pair.sync(exclude=["m"], **HARD))
    assert pair.target("INSERT INTO t DEFAULT VALUES RETURNING id") == [(51,)]


def test_a_sequence_that_no_other_column_takes_from_is_its_columns_own(pair: Pair) -> None:
    # As dumps of old versions, Pagila for one, have it.
    columns = "id int NOT NULL DEFAULT nextval('t_seq'), v text, at date, PRIMARY KEY (at, id)"
    pair.source(
        "CREATE SEQUENCE t_seq",
        "CREATE SEQUENCE shared",
        f"CREATE TABLE t ({columns}, n bigint DEFAULT nextval('shared')) PARTITION BY RANGE (at)",
        "CREATE TABLE t_1 PARTITION OF t (id DEFAULT nextval('t_seq')) FOR VALUES FROM ('2020-01-01')"
        " TO ('2030-01-01')",
        "CREATE TABLE other (n bigint DEFAULT nextval('shared'))",
        "INSERT INTO t (v, at) SELECT 'v', '2025-01-01' FROM generate_series(1, 7)",
    )
    found = said(pair.sync(**HARD))
    assert "the sequence of id made" in found
    assert "the default of n not carried: nextval() may say something else the next time" in found
    assert pair.target("INSERT INTO t (at) VALUES ('2025-01-01') RETURNING id") == [(8,)]


def test_keys_and_not_null_have_the_names_that_they_have_on_the_source(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id int CONSTRAINT pk_of_t PRIMARY KEY, v text NOT NULL)",
        "INSERT INTO t VALUES (1, 'a')",
    )
    key = "SELECT conname::text FROM pg_constraint WHERE contype = 'p' AND conrelid = 't'::regclass"
    planned = (
        pair.engine().plan(Table(RelationName("public", "t"), RelationName("public", "t"))).ddl
    )
    assert 'CONSTRAINT "pk_of_t" PRIMARY KEY' in str(planned)
    pair.sync()
    assert pair.target(key) == [("pk_of_t",)]
    # From 18 on NOT NULL has a name, which an error tells.
    names = (
        "SELECT conname::text FROM pg_constraint WHERE contype = 'n' AND conrelid = 't'::regclass"
    )
    assert {name for (name,) in pair.target(names)} <= {"t_id_not_null", "t_v_not_null"}


def test_statistics_of_two_schemas_meet_in_one_under_two_names(pair: Pair) -> None:
    for schema in ("a", "b"):
        pair.source(
            f"CREATE SCHEMA {schema}",
            f"CREATE TABLE {schema}.t (id int PRIMARY KEY, n int)",
            f"CREATE STATISTICS {schema}.both ON id, n FROM {schema}.t",
        )
        receipt = pair.engine().copy_table_data_with_xmin(f"{schema}.t", f"public.{schema}", **HARD)
        assert "statistics both made" in said(receipt)
    names = "SELECT stxname::text, stxrelid::regclass::text FROM pg_statistic_ext ORDER BY 1"
    assert pair.target(names) == [("both", "a"), ("both1", "b")]


def test_a_partitioned_target_has_unique_indexes_in_place_of_constraints(pair: Pair) -> None:
    columns = "id int, v text, n int, PRIMARY KEY (id, n)"
    pair.source(f"CREATE TABLE t ({columns}, UNIQUE (v, n))", "INSERT INTO t VALUES (1, 'a', 1)")
    pair.target(
        f"CREATE TABLE t ({columns}) PARTITION BY LIST (n)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1)",
    )
    assert said(pair.sync(**HARD)) == {"index t_v_n_key made"}
    assert said(pair.sync(**HARD)) == set()


def test_a_column_that_is_an_identity_no_longer_may_be_null(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY)",
        "INSERT INTO t VALUES (1)",
    )
    pair.sync(**HARD)
    pair.source(
        "ALTER TABLE t ALTER n DROP IDENTITY, ALTER n DROP NOT NULL", "INSERT INTO t VALUES (2)"
    )
    pair.sync(**HARD)
    assert pair.is_exact()


def test_what_a_column_had_is_forgotten_with_it(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL DEFAULT 'none', n int NOT NULL"
        " GENERATED BY DEFAULT AS IDENTITY)",
        "COMMENT ON COLUMN t.v IS 'its value'",
    )
    pair.sync(**HARD)
    pair.source("ALTER TABLE t DROP v, DROP n")
    pair.target("DROP TABLE t")
    assert said(pair.sync(**HARD)) == set()
    assert pair.target("SELECT count(*) FROM sync_assets.carried WHERE kind <> 'indexes'") == [(0,)]
    table = Table(RelationName("public", "t"), RelationName("public", "t"), carry=tuple(Carry))
    assert pair.engine().plan(table).ddl == ()


def test_what_somebody_else_made_stays(pair: Pair) -> None:
    pair.source(
        "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY (INCREMENT 5),"
        " CONSTRAINT positive CHECK (n > 0))",
        "CREATE INDEX t_n ON t (n)",
        "INSERT INTO t VALUES (1)",
    )
    made = (
        "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED BY DEFAULT AS IDENTITY,"
        " CONSTRAINT positive CHECK (n > -5))"
    )
    pair.target(made)
    check = 'check positive not carried: the target said: constraint "positive" for relation "t"'
    assert check in str(said(pair.sync(**HARD)))
    assert pair.target(CONSTRAINTS)[0][1] == "CHECK ((n > '-5'::integer))"
    identity = "SELECT attidentity FROM pg_attribute WHERE attrelid = 't'::regclass"
    assert ("d",) in pair.target(identity)
    # Its own one is gone with the table, and the name is another table's.
    pair.target("DROP TABLE t", "CREATE TABLE other (id int)", "CREATE INDEX t_n ON other (id)")
    assert "index t_n made" in said(pair.sync(**HARD))
    assert pair.target("SELECT tablename::text FROM pg_indexes WHERE indexname = 't_n'") == [
        ("other",)
    ]


def test_a_target_that_may_have_double_values_from_now_on_loses_its_uniqueness(pair: Pair) -> None:
    pair.source(*TABLE)
    pair.sync(**HARD)
    pair.source("DELETE FROM t WHERE id = 1", "INSERT INTO t VALUES (2000, 'v1', 1)")
    pair.sync(carry="all")
    assert pair.target("SELECT count(*) FROM t WHERE v = 'v1'") == [(2,)]


@pytest.mark.parametrize("action", ["CASCADE", "RESTRICT"])
def test_values_may_be_swapped_where_foreign_keys_act(pair: Pair, action: str) -> None:
    pair.source(
        "CREATE TABLE parent (id int PRIMARY KEY, code text NOT NULL UNIQUE)",
        f"CREATE TABLE child (id int PRIMARY KEY, its int REFERENCES parent ON DELETE {action})",
        "INSERT INTO parent VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO child VALUES (1, 1), (2, 2)",
    )
    tables = [
        Table(name, name, deletes=Deletes.HARD, carry=tuple(Carry))
        for name in (RelationName("public", "child"), RelationName("public", "parent"))
    ]
    pair.engine().sync_group(tables)
    pair.source(
        "UPDATE parent SET code = 'x' WHERE id = 1",
        "UPDATE parent SET code = 'a' WHERE id = 2",
        "UPDATE parent SET code = 'b' WHERE id = 1",
    )
    child, parent = pair.engine().sync_group(tables)
    assert pair.is_exact("public.parent", "public.child")
    assert said(child) == {"foreign key child_its_fkey made"}
    assert said(parent) == {"index parent_code_key made"}


def test_many_tables_each_get_what_they_have(pair: Pair) -> None:
    names = [f"t{number}" for number in range(5)]
    for name in names:
        pair.source(
            f"CREATE TABLE {name} (id int PRIMARY KEY, v text)", f"CREATE INDEX ON {name} (v)"
        )
    tables = [
        Table(name, name, carry=(Carry.INDEXES,))
        for name in (RelationName("public", name) for name in names)
    ]
    outcomes = pair.engine().sync_each(tables)
    assert [each.events for each in outcomes if isinstance(each, Receipt)] == [
        (f"index {name}_v_idx made",) for name in names
    ]
    pair.source("CREATE INDEX again ON t3 (v, id)")
    outcomes = pair.engine().sync_each(tables)
    assert [each.events for each in outcomes if isinstance(each, Receipt)][3] == (
        "index again made",
    )


def test_what_refuses_rows_for_a_reason_that_no_catalog_tells_gives_way(
    pair: Pair, new_database: NewDatabase, server15: PostgresServer, server18: PostgresServer
) -> None:
    # By its collation, lower() on the target takes two values for one.
    narrow = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE '{}'"
    pair = Pair(
        new_database(server15, narrow.format("C")), new_database(server18, narrow.format("C.UTF-8"))
    )
    names = [f"t{number}" for number in range(2)]
    for name in names:
        pair.source(
            f"CREATE TABLE {name} (id int PRIMARY KEY, v text)",
            f"CREATE UNIQUE INDEX {name}_v ON {name} (lower(v))",
            f"INSERT INTO {name} VALUES (1, 'ä')",
        )
    tables = [
        Table(name, name, carry=(Carry.INDEXES,), deletes=Deletes.HARD)
        for name in (RelationName("public", name) for name in names)
    ]
    pair.engine().sync_each(tables)
    pair.source("INSERT INTO t0 VALUES (2, 'Ä'), (3, 'Z')", "INSERT INTO t1 VALUES (3, 'Z')")
    first, second = pair.engine().sync_each(tables)
    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    assert pair.is_exact("public.t0", "public.t1")
    assert "index t0_v not carried" in str(said(first))
    assert said(second) == set()


def test_a_plan_shows_the_statements_and_a_dry_run_makes_nothing(pair: Pair) -> None:
    pair.source(*TABLE, "ALTER TABLE t ADD CHECK (at < clock_timestamp() + '1 day')")
    table = Table(
        RelationName("public", "t"),
        RelationName("public", "t"),
        carry=tuple(Carry),
        deletes=Deletes.HARD,
    )
    planned = pair.engine().plan(table).ddl
    index = 'INDEX "t_n" ON "public"."t" USING btree (n DESC NULLS LAST) INCLUDE (v) WHERE (n > 2)'
    assert f"CREATE {index}" in planned
    assert any(line.startswith("-- check t_at_check not carried: ") for line in planned)
    # The key and NOT NULL come with the table.
    assert not [
        line for line in planned if ("t_pkey" in line and "INDEX" in line) or "IS NOT NULL" in line
    ]
    pair.sync()
    assert (
        f"CREATE INDEX CONCURRENTLY {index.removeprefix('INDEX ')}" in pair.engine().plan(table).ddl
    )
    pair.sync(**HARD, dry_run=True)
    assert len(pair.target(INDEXES)) == 1
    pair.target(*(line for line in pair.engine().plan(table).ddl if not line.startswith("--")))
    assert pair.target(INDEXES) == pair.source(INDEXES)


def test_another_source_that_is_refused_drops_nothing(
    pair: Pair, new_database: NewDatabase, server15: PostgresServer
) -> None:
    pair.source(*TABLE)
    pair.sync(**HARD)
    other = Pair(new_database(server15), pair.target_url)
    other.source("CREATE TABLE t (id int PRIMARY KEY, v text, n int, at timestamptz)")
    with pytest.raises(SourceIdentityChanged):
        other.sync(**HARD)
    assert is_alike(pair)
    receipt = other.sync(**HARD, accept_source=True, allow_empty=True)
    assert "index t_n dropped" in said(receipt)
    for question in (INDEXES, CONSTRAINTS, STATISTICS):
        assert other.target(question) == other.source(question)


def test_a_table_whose_rows_rest_is_not_idle_while_there_is_something_to_make(pair: Pair) -> None:
    pair.source(*TABLE)
    name = RelationName("public", "t")
    table = Table(name, name, carry=(Carry.INDEXES, Carry.CHECKS))
    pair.engine().sync_each([table])
    assert set(idle_among(pair.source_url, pair.target_url, [table])) == {name}
    pair.source("CREATE INDEX another ON t (v)", "ALTER TABLE t ADD CHECK (id < 100000)")
    pair.target("INSERT INTO t VALUES (100000, 'own', 1)")
    assert idle_among(pair.source_url, pair.target_url, [table]) == {}
    (receipt,) = pair.engine().sync_each([table])
    assert isinstance(receipt, Receipt)
    assert "index another made" in said(receipt)
    # What could not be made is no reason to try again and again.
    assert set(idle_among(pair.source_url, pair.target_url, [table])) == {name}
