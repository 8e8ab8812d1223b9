"""Whatever is wrong ends with one line that names it, the right exit code, and nothing written.

The mistakes are in bad_inputs.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from psycopg2.extensions import make_dsn

from sync_assets.cli import main
from sync_assets.engine.state.export_import import export_state
from sync_assets.private_server.server import PostgresServer, free_port
from sync_assets_tests.fixtures.pair import Pair, execute

PASSWORD = "s3cr3t-w0rd"
ROLE = "bad_input_role"
GOOD = "type: sync_assets.TableSync\nattributes:\n  tables:\n    - source: public.t\n"
TABLE = Path(__file__).parent / "bad_inputs.yaml"
WRITTEN = """
SELECT relname::text FROM pg_class
WHERE oid >= 16384 AND relnamespace NOT IN (SELECT oid FROM pg_namespace
  WHERE nspname = 'sync_assets' OR nspname ~ '^pg_')
UNION ALL SELECT nspname::text FROM pg_namespace
WHERE oid >= 16384 AND nspname <> 'sync_assets'
"""
"""What is on the target besides our own tables, which a run may make before it fails."""


@dataclass(frozen=True)
class Case:
    """One mistake, with the fields that bad_inputs.yaml explains."""

    name: str
    says: str
    code: int
    command: tuple[str, ...] = ("run",)
    defs: str | None = None
    entry: str = ""
    attributes: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    source: tuple[str, ...] = ("CREATE TABLE t (id int PRIMARY KEY)",)

    def yaml(self) -> str:
        """The whole defs.yaml."""
        if self.defs is not None:
            return self.defs
        entry = f"      {self.entry}\n" if self.entry else ""
        return GOOD + entry + (f"  {self.attributes}\n" if self.attributes else "")


def cases(section: str, code: int) -> list[Any]:
    """The cases of a section as parameters."""
    found = [
        Case(**{"code": code, **values})
        for values in yaml.safe_load(TABLE.read_text(encoding="utf-8"))[section]
    ]
    return [pytest.param(case, id=case.name) for case in found]


@pytest.fixture
def role(pair: Pair, source_server: PostgresServer, target_server: PostgresServer) -> Iterator[str]:
    """A role without rights, on the servers of both databases."""
    servers = {source_server, target_server}
    for server in servers:
        execute(server.url(), f"CREATE ROLE {ROLE} LOGIN")
    yield ROLE
    for url in (pair.source_url, pair.target_url):
        execute(url, f"DROP OWNED BY {ROLE}")
    for server in servers:
        execute(server.url(), f"DROP ROLE {ROLE}")


def test_there_are_many() -> None:
    assert len(cases("nothing_contacted", 2)) + len(cases("contacted", 1)) >= 60


@pytest.mark.parametrize("case", cases("nothing_contacted", 2))
def test_told_before_anything_is_contacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    # Contacting it would be exit code 1.
    closed = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{free_port()}/db"
    words = {"{closed}": closed, "{password}": PASSWORD}
    told(tmp_path, monkeypatch, case, words, {"SYNC_SOURCE_URL": closed, "SYNC_TARGET_URL": closed})


@pytest.mark.parametrize("case", cases("contacted", 1))
def test_told_and_nothing_written(
    pair: Pair,
    guarded: PostgresServer,
    role: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
) -> None:
    pair.source(*(statement.replace("{role}", role) for statement in case.source))
    words = {
        "{closed}": f"postgresql://postgres:{PASSWORD}@127.0.0.1:{free_port()}/db",
        "{password}": PASSWORD,
        "{good}": pair.source_url,
        "{nowhere}": make_dsn(pair.source_url, dbname="nowhere"),
        "{wrong}": f"postgresql://postgres:{PASSWORD}@{guarded.tcp_url().rpartition('@')[2]}",
        "{as role}": make_dsn(pair.source_url, user=role),
        "{as target role}": make_dsn(pair.target_url, user=role),
    }
    urls = {"SYNC_SOURCE_URL": pair.source_url, "SYNC_TARGET_URL": pair.target_url}
    told(tmp_path, monkeypatch, case, words, urls)
    assert pair.target(WRITTEN) == []
    assert export_state(pair.target_url)["tables"] == []


def told(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
    words: Mapping[str, str],
    environment: Mapping[str, str],
) -> None:
    """Make the mistake in `folder`; check what is said of it, and what is left."""

    def filled(text: str) -> str:
        for word, value in words.items():
            text = text.replace(word, value)
        return text

    (folder / "defs").mkdir()
    (folder / "defs" / "defs.yaml").write_text(filled(case.yaml()))
    for name, text in case.files.items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    places = {"HOME": folder, "SYNC_DEFS": folder / "defs", "SYNC_BATCH_DIR": folder / "batches"}
    for name, value in {**places, **environment, **case.environment}.items():
        monkeypatch.setenv(name, filled(str(value)))
    result = CliRunner().invoke(main, list(case.command))
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert case.says in line
    assert result.exit_code == case.code
    assert "Traceback" not in result.output
    assert PASSWORD not in result.output
    assert not list((folder / "batches").glob("*"))
    recorded = b"".join(path.read_bytes() for path in folder.rglob("*.db"))
    assert PASSWORD.encode() not in recorded
