"""Names, comments and keys of a database are text on the terminal and in Markdown, whatever they hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

import sync_assets.cli
from sync_assets.cli import main
from sync_assets.cli.output import print_facts, print_rows
from sync_assets.cli.run_display import LiveDisplay
from sync_assets.cli.selection import names_of
from sync_assets.config.model import TableSyncConfig
from sync_assets.engine import RelationName
from sync_assets.engine.errors import ConnectionLost
from sync_assets.plain_text import as_markdown, in_markdown, lines_shown, shown
from sync_assets_tests.fixtures.pair import Pair

LIVE = (
    "![x](http://evil.example/a.png) [y](javascript:alert(1))",
    "<img src=x onerror=alert(1)><https://evil.example>",
    "see www.evil.example or https://evil.example or a@evil.example",
    "# a\n* b\n\n1. c\n| d |\n|---|\n```\ne\n~~~\n    f\n---",
    "` `` ``` ![x](y)",
    "&copy; ~~a~~ _b_ __c__ \\* [^1]: x",
    "  leading, and two  blanks",
    "-", "+ a", "1) a", "a_b_c", "=", "Amount, in cents (net)",
)  # fmt: skip

parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def words(tokens: list[Token] | None) -> str:
    """What a reader sees; fails on anything but text and code."""
    seen = ""
    for token in tokens or ():
        if token.type == "inline":
            seen += words(token.children)
        elif token.type in ("text", "code_inline", "fence"):
            seen += token.content
        else:
            assert token.type in ("paragraph_open", "paragraph_close"), token.type
    return seen


text = st.text(st.sampled_from("ab1 ._*`[]()<>!#&\\~|:/@w-+=\n\t\r\x1b\u202e^$한"), max_size=30)


@given(text)
@example("\n")
def test_any_text_is_shown_as_it_is_in_markdown(value: str) -> None:
    assert words(parser.parse(as_markdown(value))).strip() == lines_shown(value).strip()
    line = in_markdown(value)
    assert (
        words(parser.parse(f"x{line}x" if line == value else f"x {line} x")).split()
        == (f"x{line}x" if line == value else f"x {shown(value)} x").split()
    )


@pytest.mark.parametrize("value", LIVE)
def test_what_would_be_alive_in_markdown_is_words(value: str) -> None:
    assert words(parser.parse(as_markdown(value))).strip() == value.strip()
    if "www" in value:
        # Only GitHub's Markdown makes links of these, and not in code.
        assert as_markdown(value) == f"` {value} `"


NAME = "evil\x1b[31m\x9b2J\x07\r\u202e\nError: all is well"
RELATION = RelationName("public", NAME)
DEFS = f"""
type: sync_assets.TableSync
attributes:
  tables:
    - source: {json.dumps(str(RELATION))}
      deletes: hard
    - source: {json.dumps(str(RELATION) + "gone")}
"""


@pytest.fixture
def hostile(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "defs.yaml").write_text(DEFS, encoding="utf-8")
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    quoted = NAME.replace("'", "''")
    pair.source(
        f'CREATE TABLE {RELATION.as_sql} ("{NAME}" text PRIMARY KEY)',
        f"INSERT INTO {RELATION.as_sql} VALUES ('{quoted}')",
        f"COMMENT ON TABLE {RELATION.as_sql} IS '{quoted}'",
        f"COMMENT ON COLUMN {RELATION.as_sql}.\"{NAME}\" IS '{quoted}'",
        f'CREATE VIEW "view {NAME}" AS SELECT 1 AS one',
    )
    return pair


def said(*words: str) -> str:
    """What a command prints: nothing that a terminal would obey, and no line of the name's own."""
    result = CliRunner().invoke(main, list(words))
    printed = result.stdout + result.stderr
    assert printed
    assert [c for c in printed if c != "\n" and not c.isprintable()] == []
    assert not [line for line in printed.splitlines() if line.startswith("Error: all is well")]
    return printed


def test_no_command_lets_a_terminal_be_given_orders(hostile: Pair) -> None:
    target = str(RELATION)
    for name in ("init", "check", "plan", "run", "status"):
        # In YAML a name is written as JSON writes it.
        assert "evil\\x1b[31m" in said(name).replace("\\u001b", "\\x1b"), name
    hostile.target(f"DELETE FROM {RELATION.as_sql}")
    assert "evil\\x1b[31m" in said("verify", "--no-sync")
    for words in (
        ("why", target, NAME),
        ("why", target, NAME, NAME),
        ("state", "export", "-"),
        ("forget", target),
        ("forget", target, "--yes"),
    ):
        assert "evil" in said(*words)
    assert str(RELATION) in strings(json.loads(said("plan", "--json")))


def strings(document: Any) -> list[str]:
    """Every text in a JSON document."""
    if isinstance(document, (dict, list)):
        inner = document.values() if isinstance(document, dict) else document
        return [found for each in inner for found in strings(each)]
    return [document] if isinstance(document, str) else []


def test_a_terminal_s_tables_and_bars_hold_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    name = f"[red]{NAME}"
    print_rows(("table", "rows"), [(name, "1")])
    print_facts([(name, name)])
    entry = {"source": f'public."{name}"'}
    [table] = TableSyncConfig.model_validate({"tables": [entry]}).synced_tables("shop")
    with LiveDisplay(names_of([table.address])) as display:
        display.started(table)
        display.failed(table, ConnectionLost(name))
        display.started(table)
    printed = "".join(capsys.readouterr())
    assert "[red]evil\\x1b[31m\\x9b2J\\x07\\r\\u202e\\nError" in printed
    for order in ("evil\x1b", "\x9b", "\x07", "\u202e", "\nError"):
        assert order not in printed


def test_all_that_commands_print_goes_through_one_place() -> None:
    folder = Path(sync_assets.cli.__file__).parent
    by_hand = {file.stem for file in folder.rglob("*.py") if "click.echo(" in file.read_text()}
    # These print no word of a database.
    assert by_hand == {"output", "__init__", "demo", "ui"}
