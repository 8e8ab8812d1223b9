"""`sync-assets watch`: the page of any size, and the command on a terminal."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from sync_assets.cli import main
from sync_assets.cli.monitoring.live_page import Page
from sync_assets.cli.monitoring.overview import Overview, PartNow, TableNow
from sync_assets.cli.selection import configured_tables
from sync_assets.config.entries import TableEntry
from sync_assets.config.model import TableSyncConfig
from sync_assets.engine.errors import ConnectionFailed
from sync_assets.engine.inspection.health import SourceHealth, TargetHealth
from sync_assets.engine.inspection.holders import Holder
from sync_assets.engine.inspection.status import TableStatus
from sync_assets.engine.receipt import Receipt
from sync_assets.engine.state.last_receipts import LastReceipt
from sync_assets.hindrances.telling import Known
from sync_assets_tests.fixtures.pair import Pair, eventually

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
RECEIPT = Receipt(
    *("public.t", "public.t", "xmin_incremental", "", 1, 1, 1),
    *(12, 10, 2, 0, 0, 100, 1, 1),
    seconds={"total": 0.4},
)


def synced_tables(count: int) -> list[TableNow]:
    """So many tables in order, each a minute older than the one before."""
    entries = [TableEntry(source=f"sales.table_{n:03}") for n in range(count)]
    found = []
    for n, synced in enumerate(TableSyncConfig(tables=entries).synced_tables("")):
        status = TableStatus(
            str(synced.table.source),
            str(synced.table.target),
            synced_at=NOON,
            rows_in_target=1000,
            age_seconds=60.0 * n,
            lag_bytes=2048,
        )
        found.append(TableNow(synced, status, LastReceipt(RECEIPT, NOON, 3)))
    return found


def hindered(now: TableNow, kind: str) -> TableNow:
    place = (now.status.target, kind, "")
    return replace(now, hindrances={place: Known("it is [gone]\x1b[2J", "Mend it.", 0.0)})


def lines(tables: list[TableNow], width: int, height: int, **ends: object) -> list[str]:
    known = {"source": SourceHealth(), "target": TargetHealth(), **ends}
    part = PartNow("source", "target", tables=tables, **known)  # type: ignore[arg-type]
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(Page([part], NOON, 5))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 10)])
def test_300_tables_fit_any_terminal_and_the_hindered_are_on_top(width: int, height: int) -> None:
    tables = synced_tables(300)
    tables[7] = hindered(tables[7], "failed")
    tables[8] = hindered(tables[8], "mark_held")
    tables[9] = replace(tables[9], status=TableStatus("sales.table_009", "sales.table_009"))
    shown = lines(tables, width, height)
    assert len(shown) <= height
    assert max(map(len, shown)) <= width
    names = [found[0] for line in shown if (found := re.findall(r"table_\d+|^sales\.\S+…", line))]
    assert len(names) == height - 4
    assert shown[-2] == f"… and {300 - len(names)} tables more"
    if width >= 80:
        # Then the oldest: a mark that is held back concerns all tables alike.
        assert names[:4] == ["table_007", "table_009", "table_299", "table_298"]
        assert shown[2].split()[:7] == ["sales.table_007", "failed", "7", "min", "2.0", "kB", "12"]
        assert shown[-1].startswith(
            "300 tables, 1 hindered, 1 never synced, 298 synced, 3,600 rows"
        )
    assert ("it is [gone]\\x1b[2J" in shown[2]) == (width == 200)


def test_hindered_tables_that_do_not_fit_are_counted() -> None:
    tables = [hindered(each, "table_gone") for each in synced_tables(30)]
    assert lines(tables, 80, 24)[-2] == "… and 10 tables more, 10 of them hindered"
    assert not any("more" in line for line in lines(tables, 80, 40))


def test_what_holds_marks_back_and_an_end_that_is_down_have_lines_of_their_own() -> None:
    holder = Holder(4711, None, "app", "batch", "shop", 312.0)
    shown = lines(synced_tables(1), 120, 24, source=SourceHealth(behind=4100, holder=holder))
    assert shown[-2] == (
        "source: marks held back for 5 min 12 s, by 4,100 transactions: process 4711, user app, "
        "application batch, database shop"
    )
    shown = lines(synced_tables(1), 80, 24, target=ConnectionFailed("no route to host"))
    assert shown[1].startswith("target does not answer: ConnectionFailed: no route to host")


def test_a_long_name_has_the_room_that_states_leave() -> None:
    name = "sales.customer_discount_adjustments"
    (now,) = synced_tables(1)
    (synced,) = TableSyncConfig(tables=[TableEntry(source=name)]).synced_tables("")
    row = lines([replace(now, synced=synced)], 80, 24)[2]
    assert row.split()[:2] == [name, "synced"]


def test_before_anybody_has_answered_the_tables_are_named(project: Path) -> None:
    _, chosen = configured_tables()
    with Overview(project, chosen, of_dagster=False) as overview:
        page = Page(overview.unasked(), NOON, 5, "asking the databases")
    console = Console(file=io.StringIO(), width=80, height=24, color_system=None)
    console.print(page)
    assert isinstance(console.file, io.StringIO)
    head, _, *tables, total = console.file.getvalue().splitlines()
    assert head == "sync-assets: 2026-01-01 12:00:00, asking the databases…; Ctrl-C ends"
    assert [each.split() for each in tables] == [
        ["public.never", "looking"],
        ["public.orders", "looking"],
    ]
    assert total == "2 tables, 2 looking, 0 rows moved"


def test_where_there_is_no_terminal_it_says_what_to_use(project: Path) -> None:
    result = CliRunner().invoke(main, ["watch"])
    assert result.exit_code == 2
    assert "Ask once: sync-assets status" in result.stderr


@pytest.fixture
def project(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tables, of which one was synced."""
    names = "{source: public.orders}, {source: public.never}"
    (tmp_path / "defs.yaml").write_text(
        f"type: sync_assets.TableSync\nattributes: {{tables: [{names}]}}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_DEFS", str(tmp_path))
    monkeypatch.setenv("SYNC_SOURCE_URL", pair.source_url)
    monkeypatch.setenv("SYNC_TARGET_URL", pair.target_url)
    pair.source(
        "CREATE TABLE orders (id int PRIMARY KEY)", "CREATE TABLE never (id int PRIMARY KEY)"
    )
    pair.sync("public.orders")
    return tmp_path


@contextmanager
def on_a_terminal(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """The command on a terminal of 80 columns, and what it has written there."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    written: list[bytes] = []

    def read() -> str:
        os.set_blocking(ours, False)
        with suppress(BlockingIOError, OSError):
            while chunk := os.read(ours, 65536):
                written.append(chunk)
        return b"".join(written).decode(errors="replace")

    command = [sys.executable, "-m", "sync_assets.cli", *words]
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("COLUMNS", None)
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        try:
            yield process, read
        finally:
            process.kill()
            os.close(ours)


def test_the_page_follows_what_happens_until_ctrl_c(project: Path, pair: Pair) -> None:
    with on_a_terminal("watch", "--every", "1") as (process, read):
        assert eventually(lambda: "2 tables, 1 never synced, 1 synced, 0 rows moved" in read()), (
            read()
        )
        # One connection to each end, from look to look.
        ours = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'sync_assets' AND datname = current_database()"
        )
        assert pair.source(ours) == pair.target(ours) == [(1,)]
        pair.source("INSERT INTO orders SELECT generate_series(1, 42)")
        pair.sync("public.orders")
        assert eventually(lambda: "42 rows moved" in read()), read()
        pair.source("DROP TABLE never")
        assert eventually(lambda: "1 hindered" in read()), read()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert read().rstrip().splitlines()[-1].endswith("Interrupted.")
