"""A first load that was ended is shown, gone on with, and dropped where nobody wants it any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sync_assets.cli import main
from sync_assets.engine import DataCopyEngine, Progress, Table
from sync_assets.engine.errors import OutOfSpace
from sync_assets.engine.limits import Limits
from sync_assets.engine.names import RelationName, staging_name
from sync_assets.engine.run.first_load import by_pieces
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.pair import Pair

DEFS = """\
type: sync_assets.TableSync
attributes:
  limits: {piece_mb: 1}
  tables:
    - source: t
"""
HIDDEN = staging_name(RelationName("public", "t"), temporary=False)
THERE = f"SELECT to_regclass('{HIDDEN}') IS NOT NULL"


def filling(pair: Pair) -> DataCopyEngine:
    """What finds no room for a load's second piece."""

    def fill_up(progress: Progress) -> None:
        if progress.phase == "load" and progress.chunks_done:
            raise OutOfSpace("no room on the target")

    return pair.engine(limits=Limits(piece_mb=1), workers=1, on_progress=fill_up)


def begin(pair: Pair) -> None:
    """Begin a first load that is ended after its first piece."""
    with pytest.raises(OutOfSpace, match=r"\d+% of it is loaded: the next run goes on") as failed:
        filling(pair).copy_table_data_with_xmin("t", "t")
    assert failed.value.table == "public.t"


@pytest.fixture(autouse=True)
def _project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table whose first load has begun."""
    (tmp_path / "defs.yaml").write_text(DEFS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    pair.source(
        "CREATE TABLE t (id integer PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 40000) i",
    )
    begin(pair)


def called(*arguments: str) -> str:
    """What a command prints."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def printed_error(*arguments: str) -> str:
    """What a command that fails says."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    return result.stderr


def test_status_says_how_far_it_is(pair: Pair) -> None:
    (table,) = printed("status")["tables"]
    assert 0 < table["loaded"] < 1
    assert f"loading, {table['loaded']:.0%}" in called("status")
    pair.engine().copy_table_data_with_xmin("t", "t")
    assert printed("status")["tables"][0]["loaded"] is None


def test_doctor_takes_it_for_no_leftover_while_its_table_is_configured(
    pair: Pair, tmp_path: Path
) -> None:
    assert printed("doctor", "--fix")["left_behind"] == []
    assert pair.target(THERE) == [(True,)]
    (tmp_path / "defs.yaml").write_text(DEFS.replace("source: t", "source: other"))
    (left,) = printed("doctor", "--fix", code=1)["left_behind"]
    assert left["command"] == "sync-assets forget public.t --connection target"
    assert pair.target(THERE) == [(True,)]


def test_forget_drops_what_it_has_loaded(pair: Pair) -> None:
    forgotten = printed("forget", "t", "--yes")["forgotten"]
    assert 0 < forgotten["loaded"] < 1
    assert pair.target(THERE) == [(False,)]
    assert pair.target("SELECT count(*) FROM sync_assets.load_piece") == [(0,)]
    assert pair.leftovers() == []


def test_doctor_tells_of_a_full_pass_that_later_runs_pass_by_and_it_alone_is_dropped(
    pair: Pair,
) -> None:
    pair.sync("t")
    with pytest.raises(OutOfSpace):
        filling(pair).copy_table_data_with_xmin("t", "t", full_refresh=True)
    assert printed("doctor")["left_behind"] == []
    pair.sync("t")
    (left,) = printed("doctor", "--fix")["left_behind"]
    assert left["command"] == "sync-assets forget public.t --connection target --load"
    result = CliRunner().invoke(main, left["command"].split()[1:], input="n\n")
    assert "drop the" in result.stderr
    assert pair.target(THERE) == [(True,)]
    assert "what was loaded is dropped" in called(*left["command"].split()[1:], "--yes")
    assert pair.target(THERE) == [(False,)]
    assert printed("doctor")["left_behind"] == []
    assert not pair.sync("t").full
    assert "no load of public.t that is not done" in printed_error("forget", "t", "--load", "--yes")


@pytest.mark.parametrize("how", ["verify", "group", "step by step", "a table that is small now"])
def test_whatever_else_makes_the_target_leaves_nothing_of_it(
    pair: Pair, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "verify":
        assert pair.verify("t", sync=True).equal
    elif how == "group":
        pair.source("CREATE TABLE u (id integer PRIMARY KEY)")
        engine = pair.engine(limits=Limits(piece_mb=1))
        tables = [RelationName.parse(name) for name in ("t", "u")]
        engine.sync_group([Table(name, name) for name in tables])
    elif how == "step by step":
        engine = pair.engine()
        exported = engine.export_to_csv_with_xmin("t", "t")
        staged = engine.import_csv_to_temp_table(exported)
        engine.execute_merge_with_xmin(staged)
        engine.cleanup_temp_table(staged)
        engine.cleanup_temp_files(exported)
    else:
        monkeypatch.setattr(by_pieces, "LEAST", 1000)
        pair.sync("t")
    assert pair.is_exact()
    assert pair.leftovers() == []
    assert pair.target("SELECT count(*) FROM sync_assets.load") == [(0,)]


def test_a_dry_run_leaves_it_as_it_is(pair: Pair) -> None:
    before = pair.target("SELECT count(*), count(loaded_at) FROM sync_assets.load_piece")
    receipt = pair.engine().copy_table_data_with_xmin("t", "t", dry_run=True)
    assert receipt.rows_exported == 40000
    after = pair.target("SELECT count(*), count(loaded_at) FROM sync_assets.load_piece")
    assert (after, pair.target(THERE)) == (before, [(True,)])
