"""Every remedy that prints SQL: the statement is run as it is printed, and the trouble is gone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import sync_assets
from sync_assets.engine.errors import SyncError, UnusableKey
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

VERBS = "GRANT|REVOKE|ALTER|CREATE|DROP|TRUNCATE|VACUUM|ANALYZE|REFRESH"
STATEMENT = re.compile(rf"\b(?:{VERBS}) .*?(?=\.(?: |$)|;(?: |$))")
"""From its verb to the full stop or the semicolon behind it."""


@dataclass(frozen=True)
class Case:
    """What leads to a remedy: statements on both ends before and after a first run.

    `prints` is the SQL, with {} for each name; `then` what it says to set besides.
    """

    prints: str
    source: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    then_source: tuple[str, ...] = ()
    then_target: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    then: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = True

    def reach(self, pair: Pair) -> str:
        """Get into the trouble; returns the remedy."""
        pair.source(*self.source)
        if self.target:
            pair.target(*self.target)
        if self.then_source or self.then_target:
            pair.sync(**self.options)
            pair.source("SELECT 1", *self.then_source)
            pair.target("SELECT 1", *self.then_target)
        with pytest.raises(SyncError) as failed:
            pair.sync(**self.options)
        return failed.value.remedy

    def statements(self, remedy: str) -> list[str]:
        """The printed statements of this case's forms, in their order."""
        forms = [re.escape(form).replace(r"\{\}", ".+") for form in self.prints.split("; ")]
        printed = [
            each for each in STATEMENT.findall(remedy) if any(re.fullmatch(f, each) for f in forms)
        ]
        assert len(printed) == len(forms), remedy
        return printed


def retyped(source: str, target: str, *values: str, default: str = "") -> Case:
    """A key of one type, and a target that was made with another."""
    rows = ", ".join(f"('{value}', {number})" for number, value in enumerate(values))
    return Case(
        "ALTER TABLE {} {}",
        (f"CREATE TABLE t (k {source} PRIMARY KEY, v int)", f"INSERT INTO t VALUES {rows}"),
        (
            f"CREATE TABLE t (k {target} {default} PRIMARY KEY, v int)",
            f"INSERT INTO t VALUES ('{values[0]}', 0)",
        ),
    )


UUID = "c0ffee00-0000-4000-8000-000000000000"
KEYED = (
    "CREATE TABLE t (id int PRIMARY KEY, day date NOT NULL)",
    "INSERT INTO t VALUES (1, now())",
)
TWO = "CREATE TABLE t (id int PRIMARY KEY, v {})"
BOTH = "ALTER TABLE {} ALTER COLUMN {} SET NOT NULL; ALTER TABLE {} ADD PRIMARY KEY ({})"
MADE = {
    "uuid from varchar": retyped("uuid", "varchar(36)", UUID),
    "int from varchar": retyped("int", "varchar(36)", "7", "8", default="DEFAULT 'none'"),
    "date from text": retyped("date", "text", "2026-01-01"),
    "boolean from int": retyped("boolean", "int", "1", "0"),
    "inet from varchar": retyped("inet", "varchar(36)", "10.0.0.1"),
    "int[] from text": retyped("int[]", "text", "{1,2}", "{}"),
    "jsonb from text": retyped("jsonb", "text", '{"a": 1}'),
    "bigint from int": retyped("bigint", "int", "1", "99999999999"),
    "int from numeric": retyped("int", "numeric(10,2)", "1", "2"),
    "timestamptz from date": retyped("timestamptz", "date", "2026-01-01", "2026-01-01 03:00"),
    "varchar(9)[] from varchar(4)[]": retyped("varchar(9)[]", "varchar(4)[]", "{a}", "{abcdef}"),
    "interval from text": retyped("interval", "text", "1 day"),
    "no key": Case(
        BOTH,
        KEYED,
        ("CREATE TABLE t (id int, day date)",),
    ),
    "a key that is deferrable": Case(
        "ALTER TABLE {} ADD UNIQUE ({})",
        KEYED,
        ("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, day date)",),
    ),
    "another key, and NULL allowed": Case(
        "ALTER TABLE {} ALTER COLUMN {} SET NOT NULL; ALTER TABLE {} ADD UNIQUE ({})",
        (*KEYED, "ALTER TABLE t ADD other int NOT NULL DEFAULT 1"),
        ("CREATE TABLE t (id int UNIQUE, other int PRIMARY KEY, day date)",),
    ),
    "partitions without a key": Case(
        BOTH,
        KEYED,
        (
            "CREATE TABLE t (id int, day date) PARTITION BY RANGE (day)",
            "CREATE TABLE t_1 PARTITION OF t DEFAULT",
        ),
        then={"key": ("id", "day")},
    ),
    "a column that is gone": Case(
        "DROP TABLE {}", KEYED, then_target=("ALTER TABLE t RENAME id TO other",)
    ),
    "NOT NULL of the target's own": Case(
        "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL",
        (TWO.format("int"), "INSERT INTO t VALUES (1, NULL)"),
        (TWO.format("int NOT NULL"),),
    ),
    "NOT NULL of partitions": Case(
        "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL",
        (TWO.format("int"), "INSERT INTO t VALUES (1, NULL)"),
        (
            f"{TWO.format('int NOT NULL')} PARTITION BY RANGE (id)",
            "CREATE TABLE t_1 PARTITION OF t DEFAULT",
        ),
    ),
    "a key that the target's rows break": Case(
        "DROP TABLE {}",
        ("CREATE TABLE t (a int PRIMARY KEY, b int)", "INSERT INTO t VALUES (1, 1), (2, 2)"),
        then_source=("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b)",),
        then_target=("UPDATE t SET b = 1",),
    ),
    "values that would lose something": Case(
        "ALTER TABLE {} ALTER COLUMN {} TYPE {}",
        (TWO.format("numeric(12,4)"), "INSERT INTO t VALUES (1, 1.2345), (2, 1)"),
        then_source=("DELETE FROM t WHERE id = 1", "ALTER TABLE t ALTER v TYPE numeric(10,2)"),
        exact=False,
    ),
    "the same by their text": Case(
        "ALTER TABLE {} ALTER COLUMN {} TYPE {} USING {}",
        (TWO.format("text"), "INSERT INTO t VALUES (1, '007'), (2, '1')"),
        then_source=("DELETE FROM t WHERE id = 1", "ALTER TABLE t ALTER v TYPE int USING 1"),
        exact=False,
    ),
    "values that do not convert": Case(
        "DROP TABLE {}",
        (TWO.format("text"), "INSERT INTO t VALUES (1, 'none'), (2, '1')"),
        then_source=("DELETE FROM t WHERE id = 1", "ALTER TABLE t ALTER v TYPE int USING 1"),
    ),
    "a part that a composite lost": Case(
        "ALTER TYPE {} DROP ATTRIBUTE {}",
        (
            "CREATE TYPE both_ AS (a int, b int)",
            TWO.format("both_"),
            "INSERT INTO t VALUES (1, '(1,2)')",
        ),
        then_source=("ALTER TYPE both_ DROP ATTRIBUTE b", "UPDATE t SET v = '(3)'"),
    ),
}


@both_ways
@pytest.mark.parametrize("trouble", MADE)
def test_what_is_printed_for_the_target_runs_and_mends_it(pair: Pair, trouble: str) -> None:
    case = MADE[trouble]
    pair.target(*case.statements(case.reach(pair)))
    pair.sync(**(dict(case.options) | dict(case.then)))
    assert not case.exact or pair.is_exact()


@pytest.mark.parametrize("versions", [("18", "18")], indirect=True)
def test_a_target_s_not_null_that_was_never_checked_is_checked(pair: Pair) -> None:
    unchecked = "ALTER TABLE t ADD CONSTRAINT c NOT NULL id NOT VALID"
    made = ("CREATE TABLE t (id int UNIQUE, day date)", unchecked)
    case = Case(BOTH, KEYED, made)
    pair.target(*case.statements(case.reach(pair)))
    pair.sync()
    assert pair.is_exact()


@both_ways
@pytest.mark.parametrize("of_target", ["PRIMARY KEY", "UNIQUE"])
def test_a_key_may_contain_one_that_the_source_enforces(pair: Pair, of_target: str) -> None:
    pair.source(
        "CREATE TABLE t (id int PRIMARY KEY, day date NOT NULL, v text, w text)",
        "INSERT INTO t SELECT i, date '2026-01-01' + i, 'v' FROM generate_series(1, 60) i",
    )
    pair.target(
        "CREATE TABLE t (id int NOT NULL, day date NOT NULL, v text, w text,"
        f" {of_target} (day, id)) PARTITION BY RANGE (day)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (MINVALUE) TO ('2026-02-01')",
        "CREATE TABLE t_2 PARTITION OF t DEFAULT",
    )
    with pytest.raises(SyncError, match=r"no unique index on its key \(id\)") as failed:
        pair.sync()
    assert failed.value.remedy == "Name the key that the target has: key: [day, id]."
    options: dict[str, Any] = {"key": ("day", "id"), "deletes": "hard"}
    assert pair.sync(**options).rows_inserted == 60
    pair.source(
        "UPDATE t SET day = '2026-01-01' WHERE id = 40", "UPDATE t SET v = 'w' WHERE id = 3"
    )
    receipt = pair.sync(**options)
    assert (receipt.full, receipt.rows_inserted, receipt.rows_deleted) == (False, 1, 1)
    assert receipt.rows_updated == 1
    assert pair.is_exact()
    assert pair.verify(key=options["key"]).equal
    # The clone that went another way is known by the key that the source enforces.
    pair.source("DELETE FROM t WHERE id < 55")
    assert not pair.sync(confirm_deletes=100, **options).full
    with pytest.raises(UnusableKey, match="exactly id, w"):
        pair.sync(key=("id", "w"))


@both_ways
def test_a_new_target_gets_the_wider_key_and_keeps_it(pair: Pair) -> None:
    pair.source(*KEYED, "INSERT INTO t VALUES (2, '2026-01-02')")
    pair.sync(key=("day", "id"))
    pair.source("INSERT INTO t VALUES (3, '2026-01-02')")
    assert pair.sync(key=("day", "id")).rows_inserted == 1
    columns = "SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't_pkey'::regclass"
    assert pair.target(columns) == [(["day", "id"],)]
    assert pair.is_exact()


def test_the_right_to_read_is_granted_as_printed(pair: Pair) -> None:
    pair.source(*KEYED, 'DROP ROLE IF EXISTS "sync reader"', 'CREATE ROLE "sync reader" LOGIN')
    reader = Pair(pair.source_url.replace("postgres@", "sync%20reader@"), pair.target_url)
    try:
        case = Case("GRANT SELECT ON {} TO {}")
        pair.source(*case.statements(case.reach(reader)))
        assert reader.sync().rows_inserted == 1
    finally:
        pair.source('DROP OWNED BY "sync reader"', 'DROP ROLE "sync reader"')


def test_an_identity_column_is_made_one_that_takes_values(pair: Pair) -> None:
    identity = "n int GENERATED ALWAYS AS IDENTITY"
    case = Case(
        "ALTER TABLE {} ALTER COLUMN {} SET GENERATED BY DEFAULT",
        ("CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t VALUES (1, 7)"),
        (f"CREATE TABLE t (id int PRIMARY KEY, {identity})", "INSERT INTO t VALUES (1)"),
    )
    pair.target(*case.statements(case.reach(pair)))
    pair.sync()
    assert pair.is_exact()


MENDED = "test_what_is_printed_for_the_target_runs_and_mends_it"
NEVER_NAMED = "test_what_can_never_be_known_is_refused_by_the_first_run_and_by_check"
SOURCE_RIGHTS = "test_missing_rights_on_the_source_come_with_their_grants"
TARGET_RIGHTS = "test_missing_rights_on_the_target_come_with_their_grants"
SUMMARIES = "test_a_source_without_summaries_is_told_what_a_dba_would_run"
TAKEN_OVER = "test_a_foreign_key_that_acts_on_deletes_is_not_set_off"
SOME_SERVERS = "test_what_only_some_servers_are_is_found_where_they_are"
PARTITIONED = "test_a_table_that_cannot_take_it_is_refused_before_a_row_is_read"
RUN_BY = {
    "Run on the target: GRANT SELECT ON {} TO {}.": (
        "test_roles_that_may_only_read_are_enough_and_are_told_what_they_lack"
    ),
    "Give it that value again; or take it out, to be joined anew: ALTER TABLE {} DETACH PARTITION {};"
    " ALTER TABLE {} DROP COLUMN {};": (
        "test_a_value_is_one_partitions_alone_and_stays_that_until_it_is_taken_out"
    ),
    "Name another column in partition_of; or drop it, to be added anew: ALTER TABLE {} DROP COLUMN"
    " {};": "test_a_column_that_does_not_say_the_value_is_not_taken_for_ours",
    "Wait for it; or where it was broken off, end it: ALTER TABLE {} DETACH PARTITION {} FINALIZE;": (
        "test_a_partition_that_is_half_out_waits_and_nobody_gains_a_column_meanwhile"
    ),
    "Take {} out of it: ALTER TABLE {} DETACH PARTITION {};": (
        "test_a_partition_whose_table_is_no_longer_named_follows_once_it_is_taken_out"
    ),
    "Take it out: ALTER TABLE {} DETACH PARTITION {}; or name another table in partition_of, to be"
    " created.": PARTITIONED,
    "Name another table in partition_of, to be created; or rename this one: ALTER TABLE {} RENAME TO"
    " {};": PARTITIONED,
    "Let it be NULL: ALTER TABLE {} ALTER COLUMN {} DROP IDENTITY IF EXISTS, ALTER COLUMN {} DROP NOT NULL;": (
        PARTITIONED
    ),
    "Let it be that: ALTER TABLE {} {}; or give ours another name: {}: …": (
        "test_a_column_that_cannot_be_ours_in_all_is_refused_until_it_can"
    ),
    "Let it hold them: ALTER TABLE {} {};": "test_types_that_have_nothing_in_common_meet_as_text",
    "ALTER EVENT TRIGGER {} DISABLE;": "test_an_event_trigger_that_sees_ddl_is_a_note",
    "ALTER ROLE {} IN DATABASE {} SET default_transaction_read_only = off;": (
        "test_a_target_that_only_reads_is_blocking"
    ),
    "REFRESH MATERIALIZED VIEW {};": ("test_a_materialized_view_that_was_never_filled_is_blocking"),
    "ALTER COLUMN {} DROP DEFAULT, {} USING {}::text::{}": MENDED,
    "ALTER COLUMN {} SET GENERATED BY DEFAULT": (
        "test_an_identity_column_is_made_one_that_takes_values"
    ),
    "ALTER COLUMN {} SET NOT NULL": MENDED,
    "ALTER COLUMN {} TYPE {}": MENDED,
    "ALTER EXTENSION {} SET SCHEMA {};": (
        "test_an_extension_that_the_role_may_not_create_is_blocking"
    ),
    "ALTER ROLE {} BYPASSRLS;": "test_row_level_security_is_blocking_until_bypassed",
    "ALTER ROLE {} CONNECTION LIMIT -1;": (
        "test_settings_of_the_role_are_seen_as_they_are_without_us"
    ),
    "ALTER ROLE {} IN DATABASE {} SET {} = 0;": (
        "test_settings_of_the_role_are_seen_as_they_are_without_us"
    ),
    "ALTER ROLE {} IN DATABASE {} SET": (
        "test_a_time_out_of_the_role_ends_a_run_too_and_the_mend_that_is_named_lifts_it"
    ),
    "ALTER FUNCTION {} SET search_path = {}": "test_a_trigger_on_the_target_names_schemas_itself",
    "{} belongs to the role {} there, whose code is not run; if it may be, run on the target:"
    " ALTER ROUTINE {} OWNER TO {}": (
        "test_a_neighbour_s_function_is_not_run_on_the_target_unless_it_is_made_ours"
    ),
    "ALTER TABLE {} DISABLE {} {};": "test_a_trigger_that_changes_what_is_written_is_named",
    "ALTER TABLE {} DROP CONSTRAINT {};": TAKEN_OVER,
    "DROP INDEX {};": "test_rows_that_the_target_does_not_allow_beside_each_other_are_told",
    "{} ALTER TABLE {} ADD CONSTRAINT {} {} DEFERRABLE;": TAKEN_OVER,
    "Leave it out (exclude: [{}]); or drop it, to be added as a plain column: ALTER TABLE {} DROP"
    " COLUMN {};": "test_a_column_that_the_target_computes_itself_is_refused",
    "That type is on the target with a check of its own. To lift it, run on the target: ALTER DOMAIN"
    " {} DROP CONSTRAINT {}.": ("test_a_check_that_the_operator_gave_a_type_on_the_target_is_kept"),
    "CREATE DATABASE {} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0;  -- on the target": (
        "test_a_source_of_unchecked_bytes_is_a_warning"
    ),
    "Mend the text on the source, leave its column out (exclude), or sync into a database of encoding"
    " {}, made on the target's server by: CREATE DATABASE {} ENCODING '{}' LOCALE 'C' TEMPLATE"
    " template0;": "test_a_character_that_the_target_lacks_is_named_with_the_way_out",
    "ALTER SYSTEM RESET old_snapshot_threshold;  -- then restart the server": SOME_SERVERS,
    "ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf();": (
        "test_a_standby_that_cancels_reads_is_a_warning"
    ),
    "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();": SUMMARIES,
    "ALTER SYSTEM SET wal_keep_size = '{}'; SELECT pg_reload_conf();": (
        "test_wal_is_kept_as_printed"
    ),
    "ALTER TABLE {} OWNER TO {};": TARGET_RIGHTS,
    "ALTER TABLE {} SET LOGGED": NEVER_NAMED,
    "GRANT SELECT ON {} TO {}": NEVER_NAMED,
    "ALTER TABLE {} {}; ": MENDED,
    "{}ALTER TABLE {} ADD {} ({})": MENDED,
    "CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0;": (
        "test_a_narrower_encoding_is_a_warning"
    ),
    "CREATE EXTENSION pg_walinspect;": SUMMARIES,
    "CREATE EXTENSION {} SCHEMA {};": "test_an_extension_that_the_role_may_not_create_is_blocking",
    "CREATE SCHEMA {} AUTHORIZATION {};": TARGET_RIGHTS,
    "Correct or delete the rows in the way on the target, and run again. Or drop it, to be loaded"
    " anew: DROP TABLE {}.": MENDED,
    "DROP ATTRIBUTE {}": MENDED,
    "DROP RULE {} ON {};": "test_objects_in_the_way_on_the_target_are_blocking",
    "GRANT EXECUTE ON FUNCTION {} TO {};": ("test_a_source_that_hides_its_identity_is_a_warning"),
    "GRANT EXECUTE ON FUNCTION {} TO {};{}": SUMMARIES,
    "GRANT SELECT ON {} TO {};": SOURCE_RIGHTS,
    "GRANT USAGE ON SCHEMA {} TO {};": SOURCE_RIGHTS,
    "GRANT USAGE, CREATE ON SCHEMA sync_assets TO {}; GRANT ALL ON ALL TABLES IN SCHEMA"
    " sync_assets TO {};": TARGET_RIGHTS,
    "GRANT pg_read_all_stats TO {};": (
        "test_a_role_that_is_not_shown_others_sessions_is_told_the_grant"
    ),
    "GRANT pg_read_all_stats TO {};  -- on the primary": SOME_SERVERS,
    "GRANT {} ON SCHEMA {} TO {};": TARGET_RIGHTS,
    "GRANT {} ON {} TO {};": TARGET_RIGHTS,
    "Drop the target, to be loaded anew: DROP TABLE {}; or set deletes: hard.": (
        "test_another_key_for_a_masked_key_leaves_no_row_twice"
    ),
    "Give the column its name back, or drop the target, to be loaded anew: DROP TABLE {}.": MENDED,
    "If somebody renamed the column on the target, give it its name back. Or run on the target:"
    " ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL.": MENDED,
    "run on the target: ALTER TABLE {} DROP CONSTRAINT {}.": (
        "test_a_foreign_key_that_the_source_breaks_is_named"
    ),
    "ROLLBACK PREPARED '{}';  -- in {}; or COMMIT PREPARED": (
        "test_what_holds_the_watermark_back_is_named"
    ),
    "Run on the source: GRANT SELECT ON {} TO {}.": (
        "test_the_right_to_read_is_granted_as_printed"
    ),
    "Run on the target: ALTER TABLE {} {}; or sync into another table.{}": MENDED,
    "To drop that data, run on the target: ALTER TYPE {} {}.": MENDED,
    "Let it keep them under another name, on the target: ALTER TABLE {} RENAME {} TO {}; the next run"
    " adds the column anew.": (
        "test_a_type_that_old_versions_cannot_have_is_refused_with_what_mends_it"
    ),
    "Run it as that role, which goes on with it, or give it up as that role, then run it again: "
    "DROP TABLE {};": "test_what_another_role_began_is_named_with_it_and_given_up_as_it",
    "VACUUM (FREEZE, INDEX_CLEANUP off);": "test_an_old_database_warns_and_then_blocks",
    "{} Or have such rows deleted: deletes: hard. Or drop the target, to be loaded anew:"
    " DROP TABLE {}.": MENDED,
}
"""How each text with a statement in it is written in the code, and the test that runs it."""


def test_every_text_that_holds_a_statement_is_run_by_a_test() -> None:
    engine = Path(sync_assets.__file__).parent / "engine"
    assert {text for file in engine.rglob("*.py") for text in _told(file)} == RUN_BY.keys()
    tests = Path(__file__).parents[2]
    there = "".join(file.read_text(encoding="utf-8") for file in tests.rglob("test_*.py"))
    assert [name for name in RUN_BY.values() if f"def {name}(" not in there] == []


def _told(file: Path) -> Iterator[str]:
    """The texts of a module that an operator is given to run: what we run ourselves is composed."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) for part in getattr(node, "values", ())}
    for node in ast.walk(tree):
        if id(node) in bare | parts:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(getattr(part, "value", "")) if isinstance(part, ast.Constant) else "{}"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and file.name.startswith("on_"):
            text = str(node.value)
        else:
            continue
        if re.search(rf"\b(?:{VERBS}|ROLLBACK) ", text):
            yield text
