"""`sync-assets init`: a file that loads and runs as it is, and says what it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

from sync_assets.cli import main
from sync_assets.cli.selection import configured_tables
from sync_assets_tests.fixtures.documents import printed
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import both_ways

SOURCE = (
    "CREATE TABLE orders (id int PRIMARY KEY, note text)",
    "INSERT INTO orders VALUES (1, 'a')",
    'CREATE SCHEMA "Sales, ""new"""',
    '''CREATE TABLE "Sales, ""new"""."주문.#1: x" (a int, b int, PRIMARY KEY (a, b))''',
    'CREATE TABLE "1" ("5" int PRIMARY KEY, source_xmin int, sync_xmin int)',
    "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    "CREATE TABLE parts_1 PARTITION OF parts DEFAULT",
    "CREATE TABLE keyless (id int)",
    "CREATE VIEW recent AS SELECT * FROM orders",
    "CREATE TABLE base (id int PRIMARY KEY)",
    "CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (base)",
)


@pytest.fixture(autouse=True)
def _project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source with relations of every kind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    pair.source(*SOURCE)


@both_ways
def test_a_file_of_patterns_takes_what_a_file_of_tables_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    for number, options in enumerate(([], ["--patterns"])):
        output = tmp_path / str(number) / "defs.yaml"
        done = CliRunner().invoke(main, ["init", *options, "--output", str(output)])
        assert done.exit_code == 0, done.output
        monkeypatch.setenv("SYNC_DEFS", str(output.parent))
        _, tables = configured_tables()
        taken.append({(each.table.source, each.table.xmin_column) for each in tables})
    assert taken[0] == taken[1]
    assert output.read_text().count("- source: ") < len(taken[0])


def test_the_file_runs_as_it_is(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "defs" / "shop" / "defs.yaml"
    assert _init("--output", str(file)).exit_code == 0
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path / "defs"))
    monkeypatch.setenv("HOME", str(tmp_path))
    tables = printed("run")["tables"]
    targets = [table["target"] for table in tables]
    assert targets == [
        '"Sales, ""new"""."주문.#1: x"',
        "public.1",
        "public.heir",
        "public.orders",
        "public.parts",
    ]
    assert pair.is_exact("public.orders", "public.parts")


@pytest.mark.parametrize(
    ("known", "file", "place"),
    [
        (None, "defs.yaml", ""),
        (None, "shop/defs.yaml", "shop"),
        (None, "defs/shop/defs.yaml", "defs"),
        ("elsewhere", "defs/shop/defs.yaml", "defs"),
        ("defs", "defs/shop/defs.yaml", None),
    ],
)
def test_it_says_where_its_file_is_found_unless_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str | None, file: str, place: str | None
) -> None:
    if known:
        monkeypatch.setenv("SYNC_DEFS", str(tmp_path / known))
    said = _init("public", "--output", file).stderr.splitlines()
    exported = [] if place is None else [f"  export SYNC_DEFS={tmp_path / place}"]
    assert said == [
        f"Wrote {file}. Next:",
        *exported,
        "  sync-assets check",
        "  sync-assets run",
    ]


def test_what_is_left_out_says_why_and_what_to_do() -> None:
    text = _init("public").stdout
    assert "DELETED ROWS STAY BEHIND" in text
    assert "# public.keyless has neither a primary key" in text
    for name in ("recent", "keyless", "base"):
        at = text.index(f"    # - source: public.{name}\n")
        assert text[at:].splitlines()[1] == "    #   sync_mode: full_sync"
    assert "parts_1" not in text
    assert "Sales" not in text
    # One below the other, beside the entries; what is left out comes last.
    assert "    - source: public.parts    # partitioned, never analyzed, 0 B, key id\n" in text
    assert "    - source: public.orders   # never analyzed, " in text
    assert text.rindex("\n    - source: ") < text.index("\n    # - source: ")


def test_names_are_written_as_people_read_them(pair: Pair) -> None:
    pair.source("CREATE SCHEMA 상점", "CREATE TABLE 상점.주문 (번호 int PRIMARY KEY)")
    pair.source('CREATE TABLE 상점."주문 \u202e내역" (번호 int PRIMARY KEY)')
    text = _init("상점").stdout
    assert "\n    - source: 상점.주문 " in text
    # But for what would turn the line around.
    assert '- source: "상점.주문 \\u202e내역"' in text
    assert '\n    - source: "상점.*"\n' in _init("상점", "--patterns").stdout


def test_a_schema_of_which_all_can_be_synced_has_no_others(pair: Pair) -> None:
    pair.source("CREATE SCHEMA shop", "CREATE TABLE shop.orders (id int PRIMARY KEY)")
    text = _init("shop", "public", "--patterns").stdout
    assert "    # 1 of 1 relations sync by row versions\n" in text
    assert "relations sync by row versions; the others: sync-assets refresh\n" in text


@pytest.mark.parametrize("options", [[], ["--patterns"]], ids=["tables", "patterns"])
def test_what_is_printed_fits_80_columns(options: list[str]) -> None:
    assert max(map(cell_len, _init("public", *options).stdout.splitlines())) <= 80


def test_what_is_commented_out_also_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _init("public").stdout.splitlines()
    opened = [
        line.replace("    # - ", "    - ").replace("    #   sync", "      sync") for line in lines
    ]
    (tmp_path / "defs.yaml").write_text("\n".join(opened))
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    _, tables = configured_tables()
    assert len(tables) == 7


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text("mine")
    result = _init("--output", "defs.yaml")
    assert result.exit_code == 2
    assert "init overwrites nothing" in result.stderr
    assert (tmp_path / "defs.yaml").read_text() == "mine"


def test_json_lists_everything() -> None:
    tables = {table["name"]: table for table in printed("init", "public")["tables"]}
    assert tables["public.orders"]["key"] == ["id"]
    assert tables["public.1"]["xmin_column"] == "sync_xmin1"
    assert (tables["public.recent"]["syncs"], tables["public.recent"]["whole"]) == (False, True)


def test_what_cannot_be_read_is_named(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    result = _init("nowhere")
    assert result.exit_code == 1
    assert "the source has no schema nowhere" in result.stderr
    pair.source("CREATE SCHEMA bare")
    assert "none of the 0 relations" in _init("bare").stderr
    monkeypatch.delenv("SYNC_SOURCE_URL")
    assert _init().exit_code == 2


def _init(*words: str) -> Result:
    return CliRunner().invoke(main, ["init", *words])
