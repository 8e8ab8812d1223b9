"""What WAL summaries cost the source: pgbench with `summarize_wal` off and on.

`python benchmarks/wal_summaries.py [--pgbench PATH] [--scale 20] [--seconds 30] [--pairs 3]` starts a
server of its own. Off and on take turns, each from a checkpoint to a checkpoint, so that whatever else
the machine does hits both. CPU is that of the whole server, the summarizer's own as part of it.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
from psycopg2.extensions import parse_dsn
from servers import execute

from sync_assets.private_server.server import PostgresServer, embedded_binaries

SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "1h"}
CLIENTS = 4


@dataclass(frozen=True)
class Measured:
    """One run of pgbench: transactions in a second, and CPU milliseconds for each thousand."""

    tps: float
    cpu: float
    summarizer: float


def spent(postmaster: psutil.Process) -> tuple[float, float]:
    """CPU seconds of the server with all it ever started, and of its summarizer."""
    own = postmaster.cpu_times()
    total, summarizer = own.user + own.system + own.children_user + own.children_system, 0.0
    for child in postmaster.children():
        # One that has just ended counts among the postmaster's.
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
            if "summarizer" in " ".join(child.cmdline()):
                summarizer += times.user + times.system
    return total, summarizer


def bench(program: str, url: str, postmaster: psutil.Process, seconds: int) -> Measured:
    """One run, from a checkpoint to a checkpoint."""
    execute(url, "CHECKPOINT")
    before = spent(postmaster)
    where = parse_dsn(url)
    command = [program, "-h", where["host"], "-p", where["port"], "-U", where["user"]]
    options = ["-n", "-c", str(CLIENTS), "-T", str(seconds), where["dbname"]]
    said = subprocess.run([*command, *options], check=True, capture_output=True, text=True).stdout
    execute(url, "CHECKPOINT")
    after = spent(postmaster)
    done = int(re.search(r"actually processed: (\d+)", said)[1])  # type: ignore[index]
    tps = float(re.search(r"tps = ([\d.]+)", said)[1])  # type: ignore[index]
    cpu, summarizer = (1e6 * (now - then) / done for then, now in zip(before, after, strict=True))
    return Measured(tps, cpu, summarizer)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pgbench", default="pgbench")
    for option, value in (("--scale", 20), ("--seconds", 30), ("--pairs", 3)):
        parser.add_argument(option, type=int, default=value)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o711)
        server = stack.enter_context(PostgresServer(folder / "s", embedded_binaries(), SETTINGS))
        url = server.url()
        where = parse_dsn(url)
        fill = ["-i", "-q", "-s", str(chosen.scale), where["dbname"]]
        place = ["-h", where["host"], "-p", where["port"], "-U", where["user"]]
        subprocess.run([chosen.pgbench, *place, *fill], check=True, capture_output=True)
        postmaster = psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))
        found: dict[str, list[Measured]] = {"off": [], "on": []}
        for pair in range(chosen.pairs):
            # Who comes first may profit or suffer from it.
            for setting in ("off", "on") if pair % 2 == 0 else ("on", "off"):
                change = f"ALTER SYSTEM SET summarize_wal = {setting}"
                execute(url, change, "SELECT pg_reload_conf()", "SELECT pg_sleep(1)")
                found[setting].append(bench(chosen.pgbench, url, postmaster, chosen.seconds))
                print(f"summarize_wal = {setting}: {found[setting][-1]}", flush=True)
    print("| summarize_wal | tps | CPU ms for 1,000 transactions | of it the summarizer |")
    print("|---|---|---|---|")
    for setting, runs in found.items():
        tps, cpu, own = (
            statistics.median(getattr(each, name) for each in runs)
            for name in ("tps", "cpu", "summarizer")
        )
        print(f"| {setting} | {tps:,.0f} | {cpu:,.0f} | {own:.1f} |")


if __name__ == "__main__":
    main()
