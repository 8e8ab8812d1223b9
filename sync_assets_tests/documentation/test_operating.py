"""The DBA's page lists every setting that a session of ours changes, and every kind that is told."""

from __future__ import annotations

import re

from sync_assets.hindrances.kinds import HOUR, KINDS, MINUTE
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


def test_every_kind_of_hindrance_is_in_the_page_as_the_code_has_it() -> None:
    page = PAGE.read_text(encoding="utf-8")
    section = page.split("## What is told by itself")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{each.name}` | {each.words} | {_after(each.after)} |" for each in KINDS]


def _after(seconds: float) -> str:
    if not seconds:
        return "at once"
    unit, name = (HOUR, "hours") if seconds >= HOUR else (MINUTE, "minutes")
    return f"{seconds / unit:g} {name}"
