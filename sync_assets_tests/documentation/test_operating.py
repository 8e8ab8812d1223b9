"""The DBA's page lists every setting that a session of ours changes, and no other."""

from __future__ import annotations

import re

from sync_assets_tests.fixtures.snippets import ROOT

PAGE = ROOT / "docs" / "operating.md"
ENGINE = ROOT / "sync_assets" / "engine"
SET = re.compile(
    r"""(?:["'(]\s?|;\s|^)SET\ (?:LOCAL\ )?(\w+)(?:\ =|\ TO\b)  # a statement of its own
    |at_most\(\s*["'](\w+)["']                              # a time-out, or the role's
    |^\s+(application_name|client_encoding)=                # what the connection begins with
    """,
    re.VERBOSE | re.MULTILINE,
)


def test_every_setting_that_we_change_is_in_the_page_and_no_other() -> None:
    code = [file.read_text(encoding="utf-8") for file in ENGINE.rglob("*.py")]
    changed = {next(filter(None, found)) for text in code for found in SET.findall(text)}
    page = PAGE.read_text(encoding="utf-8")
    table = page.split("### Settings of our sessions")[1].split("\n### ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == changed
