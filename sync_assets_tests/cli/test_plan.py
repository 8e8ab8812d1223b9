"""`sync-assets plan`: the run's own plan, printed; nothing is changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from sync_assets.cli import main
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.pair import Pair

TABLES = """
type: sync_assets.TableSync
attributes:
  tables:
    - source: public.t
      deletes: hard
    - {source: public.v, sync_mode: full_sync}
    - source: public.missing
"""


@pytest.fixture
def configured(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    (tmp_path / "defs.yaml").write_text(TABLES)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 5000) i",
        "CREATE VIEW v AS SELECT * FROM t",
        "ANALYZE",
    )
    return pair


def test_each_table_with_mode_reason_size_and_ddl(configured: Pair) -> None:
    table, view, missing = printed("plan")["tables"]
    assert table["reason"] == "first load: the target does not exist"
    assert table["rows_at_most"] == 5000
    assert (
        table["pages"]
        == configured.source("SELECT relpages FROM pg_class WHERE relname = 't'")[0][0]
    )
    columns = '"id" integer CONSTRAINT "t_id_not_null" NOT NULL, "v" text, "source_xmin" bigint'
    assert table["ddl"] == [
        'CREATE SCHEMA "sync_assets"',
        f'CREATE TABLE "public"."t" ({columns}) WITH (fillfactor = 95)',
        'ALTER TABLE "public"."t" ADD CONSTRAINT "t_pkey" PRIMARY KEY ("id")',
    ]
    assert len(view["ddl"]) == 1, "the schema is created once"
    assert view["leaves"] == [
        {
            "leaf": "public.v",
            "how": "full",
            "reason": "first load: the target does not exist",
            "pages": 0,
            "rows": None,
            "bytes": 0,
        }
    ]
    assert missing["error"]["kind"] == "NoSuchRelation"
    assert configured.target("SELECT count(*) FROM pg_class WHERE relname IN ('t', 'state')") == [
        (0,)
    ]
    assert configured.leftovers() == []


def test_after_a_run_it_says_what_is_read_and_how_long_that_took(configured: Pair) -> None:
    configured.sync(deletes="hard")
    receipt = configured.sync(deletes="hard")
    configured.source("ALTER TABLE t ADD COLUMN w integer")
    (table,) = printed("plan", "t")["tables"]
    assert table["watermark_before"] == receipt.watermark
    assert table["transactions_since"] >= 1
    assert table["deletes"] == "rows that are gone from the source are deleted"
    assert table["seconds_expected"] > 0
    assert table["ddl"] == ['ALTER TABLE "public"."t" ADD COLUMN "w" integer']
    assert configured.target("SELECT count(*) FROM sync_assets.receipt") == [(2,)]


def test_a_part_is_planned_as_it_would_be_read(configured: Pair) -> None:
    configured.sync(deletes="hard")
    (table,) = printed("plan", "t", "--rows", "id > 7")["tables"]
    assert (table["mode"], table["reason"]) == ("rows", "rows again: id > 7")
    assert table["compares_keys"]
    (view,) = printed("plan", "v", "--rows", "id > 7")["tables"]
    assert "never synced" in view["error"]["message"]
    for words, said in {
        ("--rows", "id > 7"): "one table or one snapshot group, and 3 tables are chosen",
        ("t", "--rows", "id >> ("): "not one SQL expression",
        ("t", "--rows", "id > 7", "--full-refresh"): "contradict each other",
    }.items():
        result = CliRunner().invoke(main, ["plan", *words])
        assert (result.exit_code, said in result.stderr) == (2, True)


def test_deletes_are_confirmed_of_one_table(configured: Pair) -> None:
    result = CliRunner().invoke(main, ["run", "--confirm-deletes", "3"])
    assert result.exit_code == 2
    assert "--confirm-deletes is for one table or one snapshot group" in result.stderr
    assert configured.target("SELECT to_regclass('sync_assets.receipt')") == [(None,)]


def test_people_read_a_table_and_a_line_for_each(configured: Pair) -> None:
    result = CliRunner().invoke(main, ["plan"])
    assert result.exit_code == 0
    assert "public.t: first load: the target does not exist" in result.stdout
    assert "  CREATE TABLE" in result.stdout
    assert "public.missing: a run would fail: " in result.stdout


def test_tables_of_which_the_same_is_said_stand_together(
    configured: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync_assets.cli.reading.plan.SHOWN", 1)
    entries = "".join(f"    - source: public.{name}\n" for name in "abc")
    (tmp_path / "defs.yaml").write_text(TABLES + entries)
    configured.source(*(f"CREATE TABLE {name} (id integer PRIMARY KEY)" for name in "abc"))
    lines = CliRunner().invoke(main, ["plan"]).stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["public.t", "public.v", "3 tables"]
    assert "public.a, public.b, public.c: first load: the target does not exist; " in "\n".join(
        lines
    )
    assert "  6 statements that define them; see: sync-assets plan public.a" in lines
    total = r"6 tables, 1 would fail, 5 read whole, at most \d+\.\d kB\."
    assert re.fullmatch(total, lines[-1]), "nobody knows how many rows"
    assert CliRunner().invoke(main, ["plan", "--all"]).stdout.count("\npublic.b: ") == 1


def test_deletes_that_wait_for_their_schedule_are_not_planned_before(
    configured: Pair, tmp_path: Path
) -> None:
    waits = TABLES.replace("deletes: hard", "deletes: hard\n      delete_schedule: '@daily'")
    (tmp_path / "defs.yaml").write_text(waits)
    configured.sync()
    planned, *_ = printed("plan")["tables"]
    assert not planned["compares_keys"]
    assert (
        planned["deletes"]
        == "rows that are gone from the source stay until delete_schedule: @daily"
    )
    planned, *_ = printed("plan", "--full-refresh")["tables"]
    assert planned["deletes"] == "rows that are gone from the source are deleted"
