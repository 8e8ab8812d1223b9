"""`sync-assets run`, killed at random moments: the next run is exact and nothing is left.

SYNC_TEST_KILLS says how often (once each by default: `test_kill.py` kills at every step); a failure
names its seed.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from sync_assets.demo import data
from sync_assets.private_server.instance import dagster_url
from sync_assets.private_server.server import PostgresServer
from sync_assets_tests.fixtures.pair import Pair, eventually
from sync_assets_tests.fixtures.servers import NewDatabase

KILLS = int(os.environ.get("SYNC_TEST_KILLS", "1"))
ROWS = 1_000_000 if KILLS > 1 else 200_000
PROJECT = Path(__file__).parents[3]
DEMO_TABLES = tuple(f"{data.SCHEMA}.{table}" for table in data.TABLES)
ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


@dataclass(frozen=True)
class Project:
    """A user's project: his databases, his tables, his Dagster."""

    pair: Pair
    tables: tuple[str, ...]
    environment: dict[str, str]
    home: Path

    def started(self) -> subprocess.Popen[bytes]:
        """`sync-assets run`, in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", "sync_assets.cli", "run"],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def run(self) -> float:
        """`sync-assets run` to its end; return the seconds it took."""
        began = time.monotonic()
        with self.started() as process:
            _, said = process.communicate()
        assert process.returncode == 0, said.decode()
        return time.monotonic() - began

    def residue(self) -> list[str]:
        """Whatever a run should not leave: on the servers, on disk, in Dagster."""
        found = self.pair.leftovers()
        found += [str(path) for path in (self.home / "batches").glob("*")]
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            found += [run.run_id for run in instance.get_runs() if run.status not in ENDED]
            slots = instance.event_log_storage.get_concurrency_info("sync_source")
            found += [f"slot of {step.run_id}" for step in slots.claimed_slots]
            found += [f"pending step of {step.run_id}" for step in slots.pending_steps]
        return found


@pytest.fixture
def project(
    pair: Pair,
    server18: PostgresServer,
    new_database: NewDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[tuple[str, ...]], Project]:
    def made(tables: tuple[str, ...]) -> Project:
        (tmp_path / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
        defs = tmp_path / "defs" / "listings"
        defs.mkdir(parents=True)
        listed = "".join(f"    - source: {table}\n" for table in tables)
        text = f"type: sync_assets.TableSync\nattributes:\n  tables:\n{listed}"
        (defs / "defs.yaml").write_text(text)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "DAGSTER_HOME": str(tmp_path),
            "DAGSTER_PG_URL": dagster_url(new_database(server18)),
            "SYNC_SOURCE_URL": pair.source_url,
            "SYNC_TARGET_URL": pair.target_url,
            "SYNC_DEFS": str(tmp_path / "defs"),
            "SYNC_BATCH_DIR": str(tmp_path / "batches"),
        }
        monkeypatch.setenv("DAGSTER_PG_URL", environment["DAGSTER_PG_URL"])
        return Project(pair, tables, environment, tmp_path)

    return made


def kill_again_and_again(project: Project, change: Callable[[random.Random], None]) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    whole = project.run()
    for kill in range(KILLS):
        change(chance)
        with project.started() as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.3, 1.05) * whole)
            process.kill()
        project.run()
        where = f"seed {seed}, kill {kill}"
        assert project.pair.is_exact(*project.tables), where
        assert eventually(lambda: project.residue() == []), (where, project.residue())


@pytest.mark.timeout(60 + 60 * KILLS)
def test_over_the_demo_s_tables(project: Callable[[tuple[str, ...]], Project]) -> None:
    demo = project(DEMO_TABLES)
    data.load(demo.pair.source_url)

    def change(chance: random.Random) -> None:
        modulus = chance.randrange(2, 20)
        demo.pair.source(
            f"UPDATE sym_v1.sym_company SET updated_at = now() WHERE hashtext(name) % {modulus} = 0",
            "UPDATE sym_v1.sym_ticker_exchange SET ticker_exchange = ticker_exchange || '.' "
            f"WHERE hashtext(fsym_id) % {modulus} = 1",
            f"INSERT INTO sym_v1.sym_index VALUES ('index {chance.random()}', NULL)",
        )
        if chance.random() < 0.3:
            # Now and then a first load is what is killed.
            demo.pair.target("DROP TABLE IF EXISTS sym_v1.sym_index_member")

    kill_again_and_again(demo, change)


@pytest.mark.skipif(KILLS == 1, reason="large tables are killed in test_load_kills.py")
@pytest.mark.timeout(120 + 120 * KILLS)
def test_over_a_large_table(project: Callable[[tuple[str, ...]], Project]) -> None:
    large = project(("public.large",))
    large.pair.source(
        "CREATE TABLE large (id varchar(20) PRIMARY KEY, v text)",
        f"INSERT INTO large SELECT md5(i::text)::varchar(20), i FROM generate_series(1, {ROWS}) i",
    )

    def change(chance: random.Random) -> None:
        large.pair.source(
            f"UPDATE large SET v = v || 'x' WHERE hashtext(id) % {chance.randrange(2, 200)} = 0",
            f"INSERT INTO large SELECT 'n' || i || '-{chance.randrange(10**9)}' "
            "FROM generate_series(1, 1000) i",
        )
        if chance.random() < 0.5:
            large.pair.target("DROP TABLE IF EXISTS large")

    kill_again_and_again(large, change)
