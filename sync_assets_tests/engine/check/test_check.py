"""`check`: each finding on a real server, with a mend that mends it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

from sync_assets.engine import DataCopyEngine, Hours, Limits, PauseWhile
from sync_assets.engine.check import on_changed_pages, on_servers, on_sessions, on_target
from sync_assets.engine.check.check import CHECKS, Checked, check
from sync_assets.engine.check.facts import Facts, Room, WalFacts
from sync_assets.engine.check.finding import Finding, Severity
from sync_assets.engine.check.on_servers import old_xids
from sync_assets.engine.check.table_facts import SourceTable, TablePair, TargetTable
from sync_assets.engine.check.type_facts import MissingExtension, MissingTypes
from sync_assets.engine.computed.masks import Mask
from sync_assets.engine.errors import SyncError, UnsupportedVersion
from sync_assets.engine.names import PartitionOf, RelationName
from sync_assets.engine.postgres.catalog import read_relation
from sync_assets.engine.snapshot.wal_tools import Tools
from sync_assets.engine.table import Carry, ChangedBlocks, Deletes, SyncMode, Table
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, eventually, execute
from sync_assets_tests.fixtures.pooler import pooler
from sync_assets_tests.fixtures.servers import (
    BINARIES,
    NewDatabase,
    both_ways,
    running_server,
)

ROLE = "check_role"
MINIMUM = {"source": 14, "target": 15}
TOO_OLD = [version for version in ("13", "14") if version in BINARIES]
ROOM = Room(connections=1, runs=1, folder=Path("/"), batch_bytes=0, free_bytes=0)
T = Table(RelationName("public", "t"), RelationName("public", "t"), deletes=Deletes.HARD)


@dataclasses.dataclass
class Checking:
    """A pair whose ends are looked at by a role of few rights."""

    pair: Pair
    source_url: str
    target_url: str

    def __call__(self, *tables: Table, workers: int = 4, runs: int = 1) -> Checked:
        return check(
            self.source_url, self.target_url, tables or (T,), max_workers=workers, runs=runs
        )

    def finds(self, name: str, *tables: Table) -> list[Finding]:
        return [each for each in self(*tables).findings if each.check == name]

    def mended(self, name: str, *tables: Table) -> str:
        """Paste every mend of one finding; it must be gone. Returns what was found, in words."""
        found = self.finds(name, *tables)
        assert found, f"{name} found nothing"
        for each in found:
            on = self.pair.source if each.where.startswith("source") else self.pair.target
            on(each.mend)
        assert not self.finds(name, *tables)
        return "; ".join(f"{each.where}: {each.what}" for each in found)


@pytest.fixture
def checking(
    pair: Pair, source_server: PostgresServer, target_server: PostgresServer
) -> Iterator[Checking]:
    """A pair with one good table, and a role on both ends that may read and write it."""
    pair.source("CREATE TABLE t (id int PRIMARY KEY, note text)")
    for server in {source_server, target_server}:
        execute(server.url(), f"CREATE ROLE {ROLE} LOGIN")
    pair.source(f"GRANT SELECT ON t TO {ROLE}")
    pair.target(f"CREATE SCHEMA sync_assets AUTHORIZATION {ROLE}")
    pair.target(f"GRANT CREATE ON SCHEMA public TO {ROLE}")
    yield Checking(pair, make_dsn(pair.source_url, user=ROLE), make_dsn(pair.target_url, user=ROLE))
    for url in (pair.source_url, pair.target_url):
        execute(url, f"DROP OWNED BY {ROLE} CASCADE")
    for server in {source_server, target_server}:
        execute(server.url(), f"DROP ROLE {ROLE}")


@both_ways
def test_nothing_is_found_where_all_is_well(checking: Checking) -> None:
    found = checking()
    assert found.findings == ()
    assert checking.pair.leftovers() == []
    assert found.source
    assert found.target
    assert (found.source.role, found.target.role) == (ROLE, ROLE)
    assert found.source.version_text.startswith(str(found.source.version // 10000))


@both_ways
def test_missing_rights_on_the_source_come_with_their_grants(checking: Checking) -> None:
    checking.pair.source(f"REVOKE SELECT ON t FROM {ROLE}", f"GRANT SELECT (id) ON t TO {ROLE}")
    said = checking.mended("unreadable_tables")
    assert "1 of its columns are granted singly, which gives no xmin" in said
    checking.pair.source("REVOKE USAGE ON SCHEMA public FROM public")
    assert "no USAGE on the schema public" in checking.mended("closed_schemas")
    assert checking().findings == ()


def test_partitions_that_only_the_parent_shows_are_named(checking: Checking) -> None:
    checking.pair.source(
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p DEFAULT",
        f"GRANT SELECT ON p TO {ROLE}",
    )
    parent = dataclasses.replace(T, source=RelationName("public", "p"))
    assert "1 of its 1 partitions" in checking.mended("unreadable_leaves", parent)


@both_ways
def test_row_level_security_is_blocking_until_bypassed(checking: Checking) -> None:
    checking.pair.source("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    assert "hides rows of public.t" in checking.mended("row_level_security")


@pytest.mark.parametrize(
    ("statement", "options", "said"),
    [
        ("DROP TABLE t", {}, "the source has no table public.t"),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey", {}, "neither a primary key"),
        ("DROP TABLE t; CREATE VIEW t AS SELECT 1 AS id", {}, "public.t is a view"),
        ("SELECT 1", {"key": ("idd",)}, "the key names 'idd'"),
        ("ALTER TABLE t ADD source_xmin int", {}, "a column 'source_xmin' of its own"),
        ("SELECT 1", {"where": "id <"}, "refuses its filter"),
    ],
)
def test_what_a_run_would_refuse_is_blocking(
    checking: Checking, statement: str, options: dict[str, object], said: str
) -> None:
    checking.pair.source(statement, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ROLE}")
    (found,) = checking.finds("unfit_tables", dataclasses.replace(T, **options))  # type: ignore[arg-type]
    assert said in found.what
    assert found.severity is Severity.BLOCKING
    assert found.mend


def test_a_view_synced_whole_is_no_finding(checking: Checking) -> None:
    checking.pair.source("CREATE VIEW v AS SELECT 1 AS id", f"GRANT SELECT ON v TO {ROLE}")
    view = dataclasses.replace(T, source=RelationName("public", "v"), mode=SyncMode.FULL_SYNC)
    assert checking(view).findings == ()


@both_ways
def test_missing_rights_on_the_target_come_with_their_grants(checking: Checking) -> None:
    elsewhere = dataclasses.replace(T, target=RelationName("Replica", "t"))
    assert "the schema Replica is missing" in checking.mended("missing_schemas", elsewhere)
    checking.pair.target("DROP SCHEMA sync_assets")
    assert "the schema sync_assets is missing" in checking.mended("missing_schemas")
    checking.pair.target("ALTER SCHEMA sync_assets OWNER TO CURRENT_USER")
    assert "may not use the schema sync_assets" in checking.mended("closed_state")
    checking.pair.target(f"REVOKE CREATE ON SCHEMA public FROM {ROLE}")
    assert "no CREATE on the schema public" in checking.mended("closed_target_schemas")
    checking.pair.target("CREATE TABLE t (id int PRIMARY KEY, note text)")
    assert "no SELECT, INSERT, UPDATE, DELETE" in checking.mended("target_rights")
    assert "must change its columns" in checking.mended("columns_to_change")
    assert checking().findings == ()
    checking.pair.target("CREATE TABLE t_history (id int)")
    kept = dataclasses.replace(T, history=True)
    assert "no SELECT, INSERT, UPDATE on its history" in checking.mended("history_rights", kept)
    whole = RelationName("wholes", "t")
    part = dataclasses.replace(T, partition_of=PartitionOf(whole, "source", "eu"))
    assert "the schema wholes is missing" in checking.mended("missing_schemas", part)
    checking.pair.target("CREATE TABLE wholes.t (source text) PARTITION BY LIST (source)")
    assert "does not own that" in checking.mended("tables_of_many_sources", part)


@both_ways
def test_what_a_run_follows_by_itself_is_no_finding(checking: Checking) -> None:
    pair = checking.pair
    pair.source("ALTER TABLE t ADD COLUMN n integer")
    DataCopyEngine(checking.source_url, checking.target_url).sync(T)
    assert checking().findings == ()
    pair.source("ALTER TABLE t ALTER n TYPE text", "ALTER TABLE t RENAME id TO number")
    assert checking().findings == ()


def test_an_extension_that_the_role_may_not_create_is_blocking(checking: Checking) -> None:
    checking.pair.source(
        "CREATE SCHEMA ext",
        f"GRANT USAGE ON SCHEMA ext TO {ROLE}",
        "CREATE EXTENSION citext SCHEMA ext",
        "ALTER TABLE t ADD name ext.citext",
    )
    checking.pair.target(f"CREATE SCHEMA ext AUTHORIZATION {ROLE}")
    assert "may not create it" in checking.mended("missing_extensions")
    checking.pair.target("DROP EXTENSION citext", "CREATE EXTENSION citext SCHEMA public")
    assert "in the schema ext; it is in public" in checking.mended("missing_extensions")
    gone = MissingExtension("nope", "ext", None, available=False, trusted=False, creatable=True)
    (found,) = on_target.missing_extensions(Facts(None, None, (), ROOM, MissingTypes((gone,))))
    assert "not on the target's server" in found.what


def test_domains_that_a_run_creates_without_their_checks_are_noted(checking: Checking) -> None:
    checking.pair.source(
        "CREATE DOMAIN small AS int CHECK (VALUE < 9)",
        'CREATE DOMAIN "Two" AS varchar(3)',
        'ALTER TABLE t ADD s small, ADD w "Two"',
    )
    assert "creates public.small, public.Two as plain" in checking.mended("unchecked_domains")


def test_objects_in_the_way_on_the_target_are_blocking(checking: Checking) -> None:
    checking.pair.target("CREATE TYPE t AS ENUM ('a')")
    assert "t is a type of that name" in checking.finds("obstacles")[0].what
    checking.pair.target("DROP TYPE t", "CREATE VIEW t AS SELECT 1 AS id")
    assert "is not a table" in checking.finds("unfit_tables")[0].what
    checking.pair.target(
        "DROP VIEW t",
        "CREATE TABLE t (id int PRIMARY KEY, note text, source_xmin bigint)",
        f"ALTER TABLE t OWNER TO {ROLE}",
        "CREATE RULE nothing AS ON DELETE TO t DO INSTEAD NOTHING",
    )
    assert "it has the rule nothing" in checking.mended("target_rules")
    checking.pair.target(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER touch BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch()",
    )
    assert "the trigger touch on public.t acts" in checking.mended("target_triggers")


@both_ways
def test_constraints_of_the_target_that_may_stop_a_run_are_named(checking: Checking) -> None:
    taken = "CREATE TABLE u (id int PRIMARY KEY, a text NOT NULL, b int4range)"
    unique = "CREATE UNIQUE INDEX u_a ON u (lower(a)) WHERE a <> ''"
    checking.pair.source(taken, unique, f"GRANT SELECT ON u TO {ROLE}")
    checking.pair.target(
        taken,
        unique,
        "ALTER TABLE u ADD UNIQUE (id, b), ADD EXCLUDE USING gist (b WITH &&)",
        f"ALTER TABLE u OWNER TO {ROLE}",
    )
    table = dataclasses.replace(
        T, source=RelationName("public", "u"), target=RelationName("public", "u")
    )
    assert "u_b_excl allows no two rows" in checking.mended("stricter_targets", table)
    assert not checking.finds("values_taken_over", table)
    checking.pair.target("CREATE TABLE child (u int REFERENCES u ON DELETE CASCADE)")
    said = checking.mended("values_taken_over", table)
    assert "under u_a: they cannot be" in said
    assert "child_u_fkey on public.child acts" in said


@pytest.mark.from_15
def test_a_table_copied_onto_itself_is_blocking(checking: Checking) -> None:
    found = check(checking.source_url, checking.source_url, [T], max_workers=1)
    assert "one_table" in {each.check for each in found.findings}


@both_ways
def test_what_holds_the_watermark_back_is_named(
    checking: Checking, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = checking.pair
    pair.source("BEGIN", "INSERT INTO t VALUES (1)", "PREPARE TRANSACTION 'left''s'")
    with closing(psycopg2.connect(pair.source_url, application_name="sleeper")) as session:
        session.cursor().execute("INSERT INTO t VALUES (2)")
        names = ("long_transactions", "prepared_transactions")
        assert not [each for name in names for each in checking.finds(name)]
        # Nobody waits five minutes for a test; a role of few rights sees no beginning at all.
        monkeypatch.setattr(on_servers, "LONG_TRANSACTION", timedelta(0))
        monkeypatch.setattr(on_servers, "MANY_XIDS", 1)
        assert "(postgres, sleeper) has a transaction open for" in checking.mended(names[0])
        with pytest.raises(psycopg2.OperationalError):
            session.cursor().execute("SELECT 1")
    (found,) = checking.finds(names[1])
    assert """prepared as "left's" by postgres""" in found.what
    pair.source(found.mend.partition("--")[0])
    assert not checking.finds(names[1])


def test_a_source_that_hides_its_identity_is_a_warning(
    checking: Checking, source_server: PostgresServer
) -> None:
    checking.pair.source("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public")
    assert "every run reads all rows" in checking.mended("hidden_identity")


def test_a_pause_that_the_role_may_not_ask_for_comes_with_its_grant(checking: Checking) -> None:
    def unseen(pause: PauseWhile) -> list[Finding]:
        ends, limits = (checking.source_url, checking.target_url), {Limits(pause_while=pause)}
        found = check(*ends, [T], max_workers=1, limits=limits).findings
        return [each for each in found if each.check == "unseen_sessions"]

    assert unseen(PauseWhile(between=Hours.parse("08:00-18:00 UTC"))) == []
    (found,) = unseen(PauseWhile(replication_lag=30))
    assert found.severity is Severity.BLOCKING
    checking.pair.source(found.mend)
    assert unseen(PauseWhile(replication_lag=30)) == []


@pytest.mark.parametrize("versions", [("18", "18")], indirect=True)
def test_settings_of_the_role_are_seen_as_they_are_without_us(checking: Checking) -> None:
    checking.pair.source(f"ALTER ROLE {ROLE} SET statement_timeout = '30s'")
    assert "statement_timeout is 30,000 ms" in checking.mended("time_outs")
    checking.pair.source(f"ALTER ROLE {ROLE} CONNECTION LIMIT 6")
    found = checking(workers=8, runs=1).findings
    assert [each.check for each in found] == ["connection_room"]
    assert found[0].mend == "workers: {max_workers: 3, min_workers: 1}"
    # The check itself holds two: both ends are on one server here.
    assert checking(workers=3).findings == ()
    checking.pair.source(f"ALTER ROLE {ROLE} CONNECTION LIMIT 3")
    assert "2 are free" in checking.mended("connection_room")


def test_deletes_that_stay_are_said(checking: Checking) -> None:
    ignoring = dataclasses.replace(T, deletes=Deletes.IGNORE)
    (found,) = checking(ignoring).findings
    assert (found.check, found.mend) == ("deletes_left_behind", "deletes: hard")


def test_an_end_that_does_not_answer_is_a_finding(checking: Checking, tmp_path: Path) -> None:
    found = check(f"host={tmp_path} dbname=x", checking.target_url, [T], max_workers=1)
    assert found.source is None
    assert found.target
    assert found.findings[0].check == "connections"
    assert found.findings[0].severity is Severity.BLOCKING


def test_too_little_disk_for_batch_files_is_a_warning() -> None:
    for free, names in ((5_000_000, []), (4_999_999, ["here"])):
        facts = Facts(None, None, (), Room(1, 1, Path("/batches"), 5_000_000, free))
        assert [each.where for each in on_sessions.batch_room(facts)] == names


def test_an_old_database_warns_and_then_blocks(checking: Checking) -> None:
    source = checking().source
    assert source
    for age, severities in (
        (source.xid_age, []),
        (1_200_000_000, [Severity.WARNING]),
        (2_140_000_000, [Severity.BLOCKING]),
    ):
        aged = dataclasses.replace(source, xid_age=age)
        facts = Facts(aged, None, (), ROOM)
        found = list(old_xids(facts))
        assert [each.severity for each in found] == severities
        for each in found:
            checking.pair.source(each.mend)


def test_clocks_apart_are_a_warning(checking: Checking) -> None:
    found = checking()
    assert found.source
    assert abs(found.source.ahead) < 5
    late = dataclasses.replace(found.source, ahead=-60.0)
    facts = Facts(late, found.target, (), ROOM)
    (said,) = on_sessions.clocks(facts)
    assert said.where == "target"


@pytest.mark.parametrize("versions", [("15", "18")], indirect=True)
def test_what_only_some_servers_are_is_found_where_they_are(checking: Checking) -> None:
    real = checking().source
    assert real
    standby = dataclasses.replace(real, standby=True)
    settings = dict(real.settings) | {"old_snapshot_threshold": "60"}
    for look, server in {
        on_servers.untested_versions: dataclasses.replace(real, version=990001),
        on_servers.hidden_timeline: standby,
        on_servers.mark_held_back_on_standby: dataclasses.replace(standby, mark_distance=2_000_000),
        on_sessions.expiring_snapshots: dataclasses.replace(real, settings=settings),
    }.items():
        assert not list(look(Facts(real, None, (), ROOM))), look.__name__
        (found,) = look(Facts(server, None, (), ROOM))
        assert found.mend, look.__name__
        if look is not on_servers.untested_versions:
            checking.pair.source(found.mend)


def test_the_versions_that_are_tested_are_told_by_end(checking: Checking) -> None:
    found = checking()
    assert found.source
    assert found.target
    source, target = (
        dataclasses.replace(end, version=140023, version_text="14.23")
        for end in (found.source, found.target)
    )
    assert not list(on_servers.untested_versions(Facts(source, None, (), ROOM)))
    (said,) = on_servers.untested_versions(Facts(None, target, (), ROOM))
    assert "14.23 should work, but is not tested as target: 15 to 19 are" in said.what


@pytest.mark.skipif(not TOO_OLD, reason="SYNC_TEST_SERVERS has none that is too old")
@pytest.mark.parametrize("old", TOO_OLD)
def test_a_server_that_is_too_old_is_refused_in_words(old: str, pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)")
    with running_server(old) as server:
        url = server.create_database("old")
        for side, source, target in (
            ("source", url, pair.target_url),
            ("target", pair.source_url, url),
        ):
            if int(old) >= MINIMUM[side]:
                continue
            found = check(source, target, [T], max_workers=1).findings
            said = f"the {side} is PostgreSQL {old}, at least {MINIMUM[side]} is needed"
            assert said in [each.what for each in found if each.severity is Severity.BLOCKING]
            with pytest.raises(UnsupportedVersion, match=said):
                Pair(source, target).sync()


def test_a_narrower_encoding_is_a_warning(
    checking: Checking, target_server: PostgresServer, new_database: NewDatabase
) -> None:
    latin = new_database(target_server)
    name = latin.rpartition("/")[2].partition("?")[0]
    execute(
        target_server.url(),
        f"DROP DATABASE {name}",
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )
    found = check(checking.source_url, latin, [T], max_workers=1).findings
    assert [each.check for each in found] == ["narrower_encoding"]
    execute(latin, found[0].mend)
    wider = latin.replace(f"/{name}", f"/{name}_utf8")
    assert check(checking.source_url, wider, [T], max_workers=1).findings == ()
    execute(target_server.url(), f"DROP DATABASE {name}_utf8")


def test_a_source_of_unchecked_bytes_is_a_warning(
    checking: Checking, source_server: PostgresServer, new_database: NewDatabase
) -> None:
    name = new_database(source_server).rpartition("/")[2].partition("?")[0]
    execute(
        source_server.url(),
        f"DROP DATABASE {name}",
        f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0",
    )
    source = make_dsn(checking.pair.source_url, dbname=name)
    execute(source, "CREATE TABLE t (id int PRIMARY KEY, note text)")
    (found,) = check(source, checking.target_url, [T], max_workers=1).findings
    assert found.check == "unchecked_encoding"
    execute(checking.pair.target_url, found.mend)
    made = found.mend.split('"')[1]
    alike = make_dsn(checking.pair.target_url, dbname=made)
    left = [each.check for each in check(source, alike, [T], max_workers=1).findings]
    execute(checking.pair.target_url, f'DROP DATABASE "{made}"')
    assert "unchecked_encoding" not in left


def test_a_folder_for_batch_files_that_cannot_be_made_is_blocking(
    checking: Checking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SYNC_BATCH_DIR", str(tmp_path / "file"))
    (found,) = checking.finds("batch_room")
    assert (found.severity, found.where) == (Severity.BLOCKING, "here")


def test_policies_of_the_target_and_below_a_view_are_blocking(checking: Checking) -> None:
    pair = checking.pair
    pair.source(
        "CREATE ROLE owner_of_v",
        "GRANT SELECT ON t TO owner_of_v",
        "CREATE VIEW w AS SELECT * FROM t",
        "CREATE VIEW v AS SELECT * FROM w",
        "ALTER VIEW w OWNER TO owner_of_v",
        f"GRANT SELECT ON v TO {ROLE}",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
    )
    try:
        view = dataclasses.replace(T, source=RelationName("public", "v"), mode=SyncMode.FULL_SYNC)
        assert runs(checking, view).startswith("Let the role that its policies hold for")
        said = checking.mended("row_level_security", view)
        assert "hides rows of public.t from the role owner_of_v" in said
        pair.target("CREATE TABLE t (id int PRIMARY KEY, note text, source_xmin bigint)")
        pair.target(f"GRANT ALL ON t TO {ROLE}", "ALTER TABLE t ENABLE ROW LEVEL SECURITY")
        assert runs(checking, view).startswith("Let the role that its policies hold for")
        assert f"applies to the role {ROLE}" in checking.mended("filtered_targets", view)
        assert runs(checking, view) == ""
    finally:
        pair.source("DROP OWNED BY owner_of_v CASCADE", "DROP ROLE owner_of_v")


def runs(checking: Checking, table: Table = T) -> str:
    """Sync as the role of few rights; the remedy, if it fails."""
    try:
        DataCopyEngine(checking.source_url, checking.target_url).sync(table)
    except SyncError as error:
        return error.remedy
    return ""


@both_ways
def test_a_materialized_view_that_was_never_filled_is_blocking(checking: Checking) -> None:
    checking.pair.source(
        'CREATE MATERIALIZED VIEW "m m" AS SELECT * FROM t WITH NO DATA',
        'CREATE VIEW v AS SELECT * FROM "m m"',
        f'GRANT SELECT ON v, "m m" TO {ROLE}',
    )
    view = dataclasses.replace(T, source=RelationName("public", "v"), mode=SyncMode.FULL_SYNC)
    assert "Fill the materialized view once" in runs(checking, view)
    assert "public.m m was never filled" in checking.mended("unfilled_views", view)
    assert runs(checking, view) == ""


def test_columns_that_name_objects_are_a_warning(checking: Checking) -> None:
    checking.pair.source(
        "ALTER TABLE t ADD c regclass, ADD r regrole[], ADD big oid",
        "CREATE TABLE only_here ()",
        f"INSERT INTO t VALUES (1, 'a', 'only_here', '{{{ROLE}}}', lo_create(0))",
    )
    (found,) = checking.finds("names_of_objects")
    assert (found.severity, found.mend) == (Severity.WARNING, "exclude: [c, r]")
    assert "make it on the target or leave the column out" in runs(checking)
    (contents,) = checking.finds("large_objects")
    assert (contents.severity, contents.mend) == (Severity.NOTE, "exclude: [big]")
    without = dataclasses.replace(T, exclude=("c", "r", "big"))
    assert checking(without).findings == ()
    assert runs(checking, without) == ""


def test_columns_that_look_personal_are_a_warning_until_they_are_masked(checking: Checking) -> None:
    checking.pair.source(
        'ALTER TABLE t ADD email text, ADD "homePhone" text, ADD customer_first_name text,'
        ' ADD 고객_이메일 text, ADD mailbox_id int, ADD name text, ADD "IP" inet'
    )
    (found,) = checking.finds("personal_data")
    names = "email, homePhone, customer_first_name, 고객_이메일, IP"
    assert found.severity is Severity.WARNING
    assert found.what.startswith(f"{names}: by the name")
    assert found.mend == f"mask: {{{names.replace(',', ': hmac,')}: hmac}}"
    masks = tuple((name, Mask.parse("redact")) for name in names.split(", ")[:3])
    other = dataclasses.replace(
        T, mask=masks, exclude=("고객_이메일",), expressions=(("IP", "md5(t::text)"),)
    )
    assert checking.finds("personal_data", other) == []


def test_what_cannot_be_carried_is_a_note_with_its_reason(checking: Checking) -> None:
    checking.pair.source("ALTER TABLE t ADD n int CHECK (n > 0), ADD at date DEFAULT now()")
    asked = dataclasses.replace(T, carry=(Carry.CHECKS, Carry.DEFAULTS))
    assert checking.finds("not_carried", asked) == []
    (found,) = checking.finds("not_carried", dataclasses.replace(asked, exclude=("n",)))
    assert found.severity is Severity.NOTE
    assert found.what.endswith("checks: t_n_check: the column n does not travel")
    assert found.mend.startswith("carry: [defaults]")


def test_foreign_keys_and_views_are_judged_by_what_is_synced_together(checking: Checking) -> None:
    checking.pair.source(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int PRIMARY KEY, its int REFERENCES parent)",
        "CREATE VIEW joined AS SELECT c.id FROM child c JOIN parent p ON p.id = c.its",
        "GRANT SELECT ON parent, child TO check_role",
    )
    carry = (Carry.FOREIGN_KEYS, Carry.VIEWS)
    child, parent = (
        Table(name, name, deletes=Deletes.HARD, carry=carry)
        for name in (RelationName("public", "child"), RelationName("public", "parent"))
    )
    (alone,) = checking.finds("not_carried", child, parent)
    assert "public.parent is not synced in one snapshot_group with public.child" in alone.what
    groups = {child.target: "g", parent.target: "g"}
    ends = checking.source_url, checking.target_url
    together = check(*ends, [child, parent], max_workers=1, groups=groups)
    assert not [each for each in together.findings if each.check == "not_carried"]
    view, _ = checking.finds("not_carried", child)
    assert view.what.endswith("views: public.joined: it reads public.parent, which is not synced")


def test_a_missing_key_of_masks_is_blocking(
    checking: Checking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SYNC_MASK_KEY", raising=False)
    (found,) = checking.finds(
        "unfit_tables", dataclasses.replace(T, mask=(("note", Mask.parse("hmac")),))
    )
    assert "SYNC_MASK_KEY is not set" in found.what
    assert "openssl rand -hex 32" in found.mend


def test_a_type_that_no_run_can_make_is_blocking(checking: Checking) -> None:
    functions = [
        f"CREATE FUNCTION number_{name}({takes}) RETURNS {gives} LANGUAGE internal IMMUTABLE STRICT"
        f" AS 'int4{name}'"
        for name, takes, gives in (("in", "cstring", "number"), ("out", "number", "cstring"))
    ]
    made = (
        "CREATE TYPE number",
        *functions,
        "CREATE TYPE number (input = number_in, output = number_out, like = int4)",
    )
    checking.pair.source(*made, "ALTER TABLE t ADD n number")
    (found,) = checking.finds("missing_types")
    assert "public.number is made of C functions" in found.what
    assert found.mend == runs(checking)
    checking.pair.target(*made)
    assert checking().findings == ()
    assert runs(checking) == ""


@both_ways
def test_a_target_that_only_reads_is_blocking(checking: Checking) -> None:
    checking.pair.target(f"ALTER ROLE {ROLE} SET default_transaction_read_only = on")
    assert "The target takes no writes" in runs(checking)
    said = checking.mended("read_only_target")
    assert f"transactions of the role {ROLE} only read" in said
    assert runs(checking) == ""


def test_an_event_trigger_that_sees_ddl_is_a_note(checking: Checking) -> None:
    checking.pair.target(
        "CREATE FUNCTION frozen() RETURNS event_trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE 'no DDL on Fridays'; END $$",
        'CREATE EVENT TRIGGER "Fridays" ON ddl_command_start EXECUTE FUNCTION frozen()',
    )
    assert "event trigger on DDL, which sync-assets check names" in runs(checking)
    assert "the event trigger Fridays sees, and may refuse" in checking.mended("ddl_triggers")
    assert runs(checking) == ""


def test_every_check_has_a_sentence_and_a_test() -> None:
    assert all(look.__doc__ for look in CHECKS)
    assert len({look.__name__ for look in CHECKS}) == len(CHECKS)
    tests = Path(__file__).parent.glob("test_*.py")
    tested = "".join(each.read_text(encoding="utf-8") for each in tests)
    assert [look.__name__ for look in CHECKS if look.__name__ not in tested] == []


def test_a_pooler_in_between_is_noticed(
    server15: PostgresServer, new_database: NewDatabase
) -> None:
    url = new_database(server15)
    with pooler(server15) as port:
        through = make_dsn(url, host="127.0.0.1", port=port, sslmode="disable")
        found = check(through, url, [], max_workers=1)
    assert [(each.check, each.where) for each in found.findings] == [("poolers", "source")]


BIG = (
    "INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 20000) i",
    "ALTER TABLE t SET (autovacuum_enabled = off)",
)
PAGES = dataclasses.replace(T, changed_blocks=ChangedBlocks.AUTO)


@pytest.mark.parametrize("versions", [("18", "18")], indirect=True)
def test_a_source_without_summaries_is_told_what_a_dba_would_run(
    checking: Checking, server18: PostgresServer
) -> None:
    checking.pair.source(*BIG)
    (found,) = checking.finds("unknown_changes", PAGES)
    assert found.severity is Severity.NOTE
    assert found.mend == (
        "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf(); CREATE EXTENSION"
        " pg_walinspect; GRANT EXECUTE ON FUNCTION pg_get_wal_block_info(pg_lsn, pg_lsn, boolean)"
        f' TO "{ROLE}";'
    )
    assert checking(PAGES).changed_pages is None
    required = dataclasses.replace(T, changed_blocks=ChangedBlocks.REQUIRE)
    assert checking.finds("unknown_changes", required)[0].severity is Severity.BLOCKING
    off = dataclasses.replace(T, changed_blocks=ChangedBlocks.OFF)
    assert not checking.finds("unknown_changes", off)
    try:
        pasted(checking.pair.source_url, found.mend)
        assert eventually(lambda: not checking.finds("unknown_changes", PAGES))
        assert checking(PAGES).changed_pages == "WAL summaries and pg_walinspect"
    finally:
        execute(server18.url(), "ALTER SYSTEM RESET summarize_wal", "SELECT pg_reload_conf()")


def test_14_that_names_no_page_is_told_where_it_is_required(checking: Checking) -> None:
    found = checking()
    assert found.source
    old = dataclasses.replace(found.source, version=140023)
    wal = WalFacts(NOTHING, None, opened=False, installable=False, keeps_wal=True)
    facts = Facts(old, None, (requiring(checking.pair),), ROOM, wal=wal)
    (said,) = on_changed_pages.unknown_changes(facts)
    assert "PostgreSQL 14 has nothing that names them" in said.what
    assert (said.severity, said.mend) == (Severity.BLOCKING, "changed_blocks: auto")


@pytest.mark.parametrize("versions", [("15", "18")], indirect=True)
def test_wal_is_kept_as_printed(checking: Checking) -> None:
    pair = checking.pair
    wal = WalFacts(NOTHING, None, opened=False, installable=False, keeps_wal=False)
    facts = Facts(checking().source, None, (requiring(pair),), ROOM, wal=wal)
    (said,) = on_changed_pages.unknown_changes(facts)
    try:
        pasted(pair.source_url, said.mend)
    finally:
        pair.source("ALTER SYSTEM RESET wal_keep_size", "SELECT pg_reload_conf()")


NOTHING = Tools(summaries=False, reader=None, checkpoint=False)


def requiring(pair: Pair) -> TablePair:
    """The good table, to be read by changed pages alone."""
    with closing(psycopg2.connect(pair.source_url)) as session:
        source = SourceTable(read_relation(session.cursor(), T.source), None)
    table = dataclasses.replace(T, changed_blocks=ChangedBlocks.REQUIRE)
    place = TargetTable(None, None, schema_exists=True, schema_usable=True, schema_writable=True)
    return TablePair(table, source, place, None, alters_target=False)


@pytest.mark.parametrize("versions", [("15", "18")], indirect=True)
def test_15_is_told_of_its_own_function_and_where_it_is_installed(checking: Checking) -> None:
    checking.pair.source(
        *BIG, "CREATE SCHEMA inspect", "CREATE EXTENSION pg_walinspect SCHEMA inspect"
    )
    (found,) = checking.finds("unknown_changes", PAGES)
    function = '"inspect".pg_get_wal_records_info(pg_lsn, pg_lsn)'
    assert found.mend == (
        f'GRANT USAGE ON SCHEMA "inspect" TO "{ROLE}"; GRANT EXECUTE ON FUNCTION {function} TO "{ROLE}";'
    )
    assert "the pages of public.t that changed" in checking.mended("unknown_changes", PAGES)
    assert checking(PAGES).changed_pages == "pg_walinspect"


@pytest.mark.parametrize("needed", ["pg_checkpoint", "blocks_wait"])
def test_summaries_need_no_extension_where_a_checkpoint_follows(
    summarizing: PostgresServer, server18: PostgresServer, new_database: NewDatabase, needed: str
) -> None:
    pair = Pair(new_database(summarizing), new_database(server18))
    pair.source("CREATE TABLE t (id int PRIMARY KEY, note text)", *BIG)
    execute(summarizing.url(), f"CREATE ROLE {ROLE} LOGIN")
    pair.source(f"GRANT SELECT ON t TO {ROLE}")
    url = make_dsn(pair.source_url, user=ROLE)

    def found(table: Table) -> list[str]:
        findings = check(url, pair.target_url, [table], max_workers=1).findings
        return [each.what for each in findings if each.check == "unknown_changes"]

    try:
        assert "that changed after a checkpoint" in found(PAGES)[0]
        table = PAGES
        if needed == "pg_checkpoint":
            pair.source(f"GRANT pg_checkpoint TO {ROLE}")
        else:
            table = dataclasses.replace(PAGES, blocks_wait=60.0)
        assert found(table) == []
    finally:
        pair.source(f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")


def pasted(url: str, statements: str) -> None:
    """Run what a DBA would, one statement after the other."""
    execute(url, *(each for each in statements.split("; ")))


def test_a_standby_that_cancels_reads_is_a_warning(
    server18: PostgresServer, new_database: NewDatabase
) -> None:
    target_url = new_database(server18)
    with running_server("15") as server:
        execute(server.url(), "CREATE TABLE t (id int PRIMARY KEY)")
        server.stop()
        signal = server.data / "standby.signal"
        signal.touch()
        owner = server.data.stat()
        shutil.chown(signal, owner.st_uid, owner.st_gid)
        server.start()
        found = check(server.url(), target_url, [T], max_workers=1)
        assert found.source
        assert found.source.standby
        said, shared = found.findings
        assert (said.check, shared.check) == ("cancelling_standby", "snapshots_not_shared")
        assert execute(server.url(), shared.mend) == [(0, None)]
        assert "for 30 s" in said.what
        *statements, _ = said.mend.split(";")
        execute(server.url(), *statements)
        server.restart()
        assert check(server.url(), target_url, [T], max_workers=1).findings == (shared,)
