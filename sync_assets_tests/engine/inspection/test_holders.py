"""The transaction that holds a watermark back is named, as far as the role may see it."""

from __future__ import annotations

from contextlib import closing

import psycopg2

from sync_assets.engine.inspection.holders import watermark_age
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import Connect


def test_a_session_is_named_by_process_user_application_and_age(
    pair: Pair, connect: Connect
) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)")
    session = connect(f"{pair.source_url}&application_name=nightly")
    session.autocommit = False
    session.cursor().execute("INSERT INTO t VALUES (1)")
    pair.source(*["SELECT pg_current_xact_id()"] * 3)
    age = watermark_age(pair.source_url, pair.sync().watermark)
    assert age.xids >= 4
    assert age.holder is not None
    assert age.holder.pid == session.info.backend_pid
    assert (age.holder.user, age.holder.application) == ("postgres", "nightly")
    assert age.holder.age_seconds is not None
    assert 0 < age.holder.age_seconds < 60
    assert f"process {session.info.backend_pid}, user postgres, application nightly" in str(
        age.holder
    )
    session.rollback()
    assert watermark_age(pair.source_url, pair.sync().watermark).holder is None


def test_a_prepared_transaction_is_named_by_its_gid(pair: Pair) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)")
    with closing(psycopg2.connect(pair.source_url)) as session:
        session.autocommit = True
        session.cursor().execute("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'left over'")
    age = watermark_age(pair.source_url, pair.sync().watermark)
    pair.source("ROLLBACK PREPARED 'left over'")
    assert age.holder is not None
    assert (age.holder.pid, age.holder.gid) == (None, "left over")
    assert "prepared transaction 'left over', user postgres" in str(age.holder)


def test_a_role_without_rights_still_learns_who_it_is(pair: Pair, connect: Connect) -> None:
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "CREATE ROLE onlooker LOGIN")
    session = connect(pair.source_url)
    session.autocommit = False
    session.cursor().execute("INSERT INTO t VALUES (1)")
    watermark = pair.sync().watermark
    age = watermark_age(pair.source_url.replace("postgres@", "onlooker@"), watermark)
    session.rollback()
    pair.source("DROP ROLE onlooker")
    assert age.holder is not None
    assert (age.holder.pid, age.holder.age_seconds) == (session.info.backend_pid, None)
