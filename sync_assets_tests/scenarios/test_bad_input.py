"""Whatever is wrong ends with one line that names it, the right exit code, and nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sync_assets.demo.server import PostgresServer, free_port
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import running_server

PASSWORD = "s3cr3t-w0rd"
GOOD = "type: sync_assets.TableSync\nattributes:\n  tables:\n    - source: public.t\n"


@dataclass(frozen=True)
class Case:
    """A mistake: in the YAML, the URLs or the source; `{good}` is the right URL."""

    code: int
    said: str
    yaml: str = GOOD
    source_url: str = "{good}"
    target_url: str = "{good}"
    source: list[str] = field(default_factory=lambda: ["CREATE TABLE t (id int PRIMARY KEY)"])


CLOSED = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{free_port()}/db"
CASES = {
    "no source URL": Case(2, "SYNC_SOURCE_URL is not set", source_url=""),
    "unreadable URL": Case(
        2, "not one that libpq can read", source_url=f"postgresql://u:{PASSWORD}@x@h/d"
    ),
    "nobody listens": Case(1, "cannot connect to the source", source_url=CLOSED),
    "target down": Case(1, "cannot connect to the target", target_url=CLOSED),
    "no such host": Case(
        1, "no.such.host.invalid", source_url=f"postgresql://u:{PASSWORD}@no.such.host.invalid/d"
    ),
    "no such database": Case(1, 'database "nowhere" does not exist', source_url="{good}/nowhere"),
    "wrong password": Case(1, "password authentication failed", source_url="{wrong password}"),
    "no such table": Case(1, "the source has no table public.t", source=["SELECT 1"]),
    "other case": Case(1, "Did you mean public.t", yaml=GOOD.replace("public.t", "public.T")),
    "no key": Case(1, "neither a primary key", source=["CREATE TABLE t (id int)"]),
    "wrong key": Case(1, "'idd', which public.t does not have", yaml=GOOD + "      key: idd\n"),
    "a view": Case(1, "public.t is a view", source=["CREATE VIEW t AS SELECT 1 AS id"]),
    "no cursor": Case(
        2, "incremental_sync needs a cursor", yaml=GOOD + "      sync_mode: incremental_sync\n"
    ),
    "a wrong cursor": Case(
        1,
        "the cursor names 'nope'",
        yaml=GOOD + "      sync_mode: incremental_sync\n      cursor: nope\n",
    ),
    "a cursor without its mode": Case(
        2, "belong to incremental_sync", yaml=GOOD + "      lookback: 1 hour\n"
    ),
    "two filters": Case(2, "semicolon", yaml=GOOD + "      where: a; b\n"),
    "unknown mode": Case(
        2, ":5: attributes.tables[0].sync_mode", yaml=GOOD + "      sync_mode: xmin\n"
    ),
    "unknown deletes": Case(2, "ignore, hard", yaml=GOOD + "      deletes: softly\n"),
    "unknown key": Case(2, "did you mean target?", yaml=GOOD + "      targt: public.u\n"),
    "not YAML": Case(2, ":5:", yaml=GOOD + "   ] bad\n"),
    "an empty file": Case(2, "defs.yaml", yaml=""),
    "no tables": Case(2, "tables", yaml="type: sync_assets.TableSync\nattributes:\n  tables: []\n"),
    "not a name": Case(2, "public.a.b", yaml=GOOD.replace("public.t", "public.a.b")),
    "workers": Case(2, "min_workers", yaml=GOOD + "  workers: {min_workers: 5, max_workers: 2}\n"),
}


@pytest.fixture(scope="module")
def guarded() -> object:
    """A server that asks for a password on its TCP port."""
    with running_server("18", tcp=True) as server:
        yield server


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_one_clear_line(pair: Pair, guarded: PostgresServer, tmp_path: Path, case: Case) -> None:
    pair.source(*case.source)
    (tmp_path / "defs").mkdir()
    (tmp_path / "defs" / "defs.yaml").write_text(case.yaml)
    wrong = f"postgresql://postgres:{PASSWORD}@{guarded.tcp_url().rpartition('@')[2]}"

    def url(template: str, good: str) -> str:
        head, _, rest = good.partition("?")
        nowhere = f"{head.rpartition('/')[0]}/nowhere?{rest}"
        replaced = template.replace("{good}/nowhere", nowhere).replace("{wrong password}", wrong)
        return replaced.replace("{good}", good)

    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SYNC_DEFS": str(tmp_path / "defs"),
        "SYNC_BATCH_DIR": str(tmp_path / "batches"),
        "SYNC_SOURCE_URL": url(case.source_url, pair.source_url),
        "SYNC_TARGET_URL": url(case.target_url, pair.target_url),
    }
    done = subprocess.run(
        [sys.executable, "-m", "sync_assets.cli", "run"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert case.said in line
    assert done.returncode == case.code
    assert "Traceback" not in done.stderr + done.stdout
    assert PASSWORD not in done.stderr + done.stdout
    written = "SELECT relname FROM pg_class WHERE oid >= 16384 UNION ALL SELECT nspname FROM pg_namespace WHERE oid >= 16384"
    assert pair.target(written) == []
    assert not list((tmp_path / "batches").glob("*"))
    recorded = b"".join(path.read_bytes() for path in tmp_path.rglob("*.db"))
    assert PASSWORD.encode() not in recorded
