"""Which pages were written, asked of real servers in every way that they offer."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import psycopg2
import pytest

from sync_assets.engine.postgres.session import (
    CATALOG_NAMES,
    READ_SNAPSHOT,
    Connection,
    Cursor,
    row,
    transaction,
)
from sync_assets.engine.snapshot import wal, wal_tools
from sync_assets.engine.snapshot.pages import Position
from sync_assets.engine.snapshot.wal_tools import ChangedPages, Storage, Tools, Window
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import execute, vacuum_cuts
from sync_assets_tests.fixtures.servers import NewDatabase, Servers
from sync_assets_tests.fixtures.ways import Way

ROWS = 20_000


@pytest.fixture
def source(way_by_page: Way, servers: Servers, new_database: NewDatabase) -> str:
    """A database with a table of many pages, with summaries where the version has them."""
    return prepared(new_database(servers(way_by_page[0], summaries=True)))


@pytest.fixture
def source18(summarizing: PostgresServer, new_database: NewDatabase) -> str:
    return prepared(new_database(summarizing))


def prepared(url: str) -> str:
    execute(
        url,
        "CREATE EXTENSION pg_walinspect",
        "CREATE TABLE t (id integer PRIMARY KEY, v text) WITH (autovacuum_enabled = off)",
        f"INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i",
        "VACUUM FREEZE t",
        "CHECKPOINT",
    )
    return url


@dataclass
class Asked:
    """A session that asks which pages of `t` were written since it began."""

    url: str
    session: Connection
    begun: Position
    tools: Tools

    def do(self, *statements: str) -> None:
        execute(self.url, *statements)

    def pages(
        self, wait: float = 0.0, begun: int | None = None, most: int = wal.TAIL, **tools: object
    ) -> ChangedPages:
        """Ask, with some of the tools taken away."""
        self.do("SELECT pg_logical_emit_message(true, 'test', '')")  # its COMMIT flushes
        with transaction(self.session, CATALOG_NAMES, begin=READ_SNAPSHOT) as cursor:
            end, database, timeline = row(
                cursor,
                "SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint, oid::bigint, "
                "timeline_id FROM pg_database, pg_control_checkpoint() "
                "WHERE datname = current_database()",
            )
            window = Window(timeline, database, begun or self.begun.lsn, end)
            chosen = dataclasses.replace(self.tools, **tools)  # type: ignore[arg-type]
            wanted = [self.storage(cursor)]
            return wal.changed_pages(cursor, window, wanted, chosen, wait=wait, most=most)

    def storage(self, cursor: Cursor) -> Storage:
        tablespace, filenode = row(
            cursor,
            "SELECT dattablespace::bigint, pg_relation_filenode('public.t')::bigint "
            "FROM pg_database WHERE datname = current_database()",
        )
        return Storage(tablespace, filenode)

    def pages_of(self, condition: str) -> set[int]:
        """The pages of the rows that meet a condition."""
        found = execute(
            self.url, f"SELECT DISTINCT (ctid::text::point)[0]::bigint FROM t WHERE {condition}"
        )
        return {page for (page,) in found}


@contextlib.contextmanager
def asking(url: str) -> Iterator[Asked]:
    with closing(psycopg2.connect(url)) as session:
        session.autocommit = True
        with transaction(session, CATALOG_NAMES) as cursor:
            tools, begun = wal_tools.read_tools(cursor), wal_tools.read_position(cursor)
        yield Asked(url, session, begun, tools)


@pytest.fixture
def asked(source: str) -> Iterator[Asked]:
    with asking(source) as found:
        yield found


@pytest.fixture
def asked18(source18: str) -> Iterator[Asked]:
    with asking(source18) as found:
        yield found


def covered(answer: ChangedPages) -> set[int]:
    assert answer.pages is not None, answer.how
    (runs,) = answer.pages.values()
    return {page for run in runs for page in range(run.first, run.end or 1000)}


def change(asked: Asked) -> set[int]:
    """Change some rows in every way, and return the pages that must be among the changed ones."""
    some = "id IN (5, 5000, 12345)"
    old = asked.pages_of(f"{some} OR id IN (700, 9000)")
    asked.do(
        f"UPDATE t SET v = 'x' WHERE {some}",
        "DELETE FROM t WHERE id = 700",
        "UPDATE t SET id = -9000 WHERE id = 9000",
        f"INSERT INTO t VALUES ({ROWS + 1}, 'new')",
    )
    return old | asked.pages_of(f"{some} OR id IN (-9000, {ROWS + 1})")


def test_the_pages_of_old_and_new_versions_are_found_and_few_others(asked: Asked) -> None:
    expected = change(asked)
    found = covered(asked.pages())
    assert found >= expected
    assert len(found) <= len(expected) + 5


def test_nothing_written_is_nothing_found(asked: Asked) -> None:
    asked.do("CREATE TABLE other AS SELECT generate_series(1, 1000)")
    answer = asked.pages()
    assert covered(answer) == set()
    assert covered(asked.pages(begun=2**62)) == set()


def test_without_a_tool_there_is_no_answer(asked: Asked) -> None:
    change(asked)
    answer = asked.pages(summaries=False, reader=None)
    assert answer.pages is None
    assert "neither" in answer.how


def test_a_summary_answers_alone_once_a_checkpoint_has_passed_the_snapshot(asked18: Asked) -> None:
    expected = change(asked18)
    answer = asked18.pages(reader=None, checkpoint=True)
    assert covered(answer) >= expected
    assert answer.how == "WAL summaries"


def test_a_summary_and_the_rest_of_the_wal_answer_together(asked18: Asked) -> None:
    expected = change(asked18)
    asked18.pages(reader=None, checkpoint=True)
    expected |= asked18.pages_of("id = 3000")
    asked18.do("UPDATE t SET v = 'y' WHERE id = 3000")
    answer = asked18.pages()
    assert covered(answer) >= expected
    assert answer.how.startswith("WAL summaries and ")


def test_a_window_that_summaries_do_not_cover_is_not_used(asked18: Asked) -> None:
    change(asked18)
    answer = asked18.pages(reader=None)
    assert answer.pages is None
    assert "no summary covers" in answer.how


def test_waiting_for_a_summary_is_worth_it_when_a_checkpoint_comes(asked18: Asked) -> None:
    expected = change(asked18)
    later = threading.Timer(0.5, asked18.do, ("CHECKPOINT",))
    later.start()
    assert covered(asked18.pages(reader=None, wait=20)) >= expected
    later.join()


def test_no_checkpoint_is_asked_for_where_it_would_bring_no_summary(asked: Asked) -> None:
    change(asked)
    last = "SELECT checkpoint_lsn FROM pg_control_checkpoint()"
    before = execute(asked.url, last)
    answer = asked.pages(most=0, summaries=False, checkpoint=True)
    assert answer.pages is None
    assert execute(asked.url, last) == before


def test_a_database_with_the_same_files_is_another_one(asked: Asked) -> None:
    server = psycopg2.extensions.make_dsn(asked.url, dbname="postgres")
    name = asked.session.info.dbname
    with closing(psycopg2.connect(asked.url)) as session, session.cursor() as cursor:
        storage = asked.storage(cursor)
    asked.session.close()
    execute(server, f"CREATE DATABASE {name}_twin TEMPLATE {name}")
    twin = psycopg2.extensions.make_dsn(asked.url, dbname=f"{name}_twin")
    try:
        with asking(asked.url) as again:
            execute(twin, "UPDATE t SET v = 'x' WHERE id = 5", "CHECKPOINT")
            with closing(psycopg2.connect(twin)) as session, session.cursor() as cursor:
                assert again.storage(cursor) == storage
            assert covered(again.pages()) == set()
    finally:
        execute(server, f"DROP DATABASE {name}_twin")


def test_pages_cut_off_by_vacuum_count_as_changed(asked18: Asked) -> None:
    last = max(asked18.pages_of("true"))
    asked18.do(f"DELETE FROM t WHERE (ctid::text::point)[0] > {last - 5}")
    assert vacuum_cuts(asked18.url, "t")
    assert max(asked18.pages_of("true")) == last - 5
    found = covered(asked18.pages(reader=None, checkpoint=True))
    assert found >= set(range(last - 4, last + 1))


def test_the_next_id_is_the_one_handed_out_next(source: str) -> None:
    with closing(psycopg2.connect(source)) as session, closing(psycopg2.connect(source)) as writer:
        session.autocommit = True
        with writer.cursor() as cursor:
            (open_xid,) = row(cursor, "SELECT pg_current_xact_id()::text::bigint")
        with transaction(session) as cursor:
            position = wal_tools.read_position(cursor)
        writer.rollback()
        assert position.next_xid == open_xid + 1
        with transaction(session) as cursor:
            assert wal_tools.read_position(cursor).next_xid == position.next_xid
        ((taken,),) = execute(source, "SELECT pg_current_xact_id()::text::bigint")
        assert taken == position.next_xid


def test_segments_that_were_recycled_are_found_in_summaries(asked18: Asked) -> None:
    expected = change(asked18)
    asked18.do("ALTER SYSTEM SET wal_keep_size = 0", "SELECT pg_reload_conf()")
    for _ in range(3):
        asked18.do("SELECT pg_switch_wal()", "CREATE TABLE IF NOT EXISTS filler ()", "CHECKPOINT")
        asked18.do("DROP TABLE filler")
    assert covered(asked18.pages()) >= expected
    answer = asked18.pages(summaries=False)
    asked18.do("ALTER SYSTEM RESET wal_keep_size", "SELECT pg_reload_conf()")
    assert answer.pages is None
    assert "cannot be read" in answer.how


def test_the_reader_needs_one_granted_function(source18: str) -> None:
    role = "CREATE ROLE reader LOGIN"
    execute(source18, role, "GRANT SELECT ON t TO reader")
    with closing(psycopg2.connect(source18, user="reader")) as session:
        session.autocommit = True
        with transaction(session, CATALOG_NAMES) as cursor:
            assert wal_tools.read_tools(cursor) == Tools(
                summaries=True, reader=None, checkpoint=False
            )
        execute(
            source18,
            "GRANT EXECUTE ON FUNCTION pg_get_wal_block_info(pg_lsn, pg_lsn, boolean) TO reader",
            "GRANT pg_checkpoint TO reader",
        )
        with transaction(session, CATALOG_NAMES) as cursor:
            found = wal_tools.read_tools(cursor)
    execute(source18, "DROP OWNED BY reader", "DROP ROLE reader")
    assert found == Tools(True, ("public", "pg_get_wal_block_info"), checkpoint=True)


def test_what_tidies_a_page_up_is_no_change_of_it(source: str) -> None:
    execute(
        source,
        f"INSERT INTO t SELECT i, 'new' FROM generate_series({ROWS + 2}, {ROWS + 9000}) i",
        "DELETE FROM t WHERE id < 3000",
    )
    with asking(source) as asked:
        asked.do("SELECT count(*) FROM t", "VACUUM (FREEZE) t", "SELECT count(*) FROM t")
        assert covered(asked.pages(summaries=False)) == set()
        expected = change(asked)
        assert covered(asked.pages(summaries=False)) >= expected
