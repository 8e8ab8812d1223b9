"""Take pictures of commands in a terminal for the documentation: `python scripts/take_terminal_pictures.py`.

Each runs in a pseudo-terminal of 100 columns, on a server of its own, and is drawn by rich as SVG.
"""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text
from take_pictures import PICTURES, execute, project

COLUMNS, LINES = 100, 20
WATCHED = 12.0
"""Seconds until a live page is ended, by when it has been drawn twice."""

# Its fonts would be fetched from somebody's server.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
FRAME, LEFT = "\x1b[H", "\x1b[?1049l"
"""How a live page begins to be drawn, and how the screen is left."""

DEFS = """\
type: sync_assets.TableSync
attributes:
  defaults: {freshness: 1 hour}
  tables:
    - source: "sales.*"
"""
NAMES = "carriers customers invoices order_lines orders payments prices products refunds shipments"
SOURCE = [
    "CREATE SCHEMA sales",
    *(
        statement.format(name)
        for name in NAMES.split()
        for statement in (
            "CREATE TABLE sales.{} (id bigint PRIMARY KEY, note text, amount numeric(12,2))",
            "INSERT INTO sales.{} SELECT i, 'note ' || i, i FROM generate_series(1, 4000) i",
        )
    ),
]
CHANGED = ["INSERT INTO sales.refunds VALUES (5000, 'much', 1000000)"]
CHANGED_ON_TARGET = [
    "UPDATE sales.orders SET amount = 0 WHERE id IN (17, 400)",
    "DELETE FROM sales.orders WHERE id = 1200",
    "ALTER TABLE sales.refunds ADD CONSTRAINT refunds_small CHECK (amount < 10000)",
]


def main() -> None:
    """Take all of them."""
    with project(DEFS, lambda source_url: execute(source_url, *SOURCE)) as environment:
        environment |= {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        subprocess.run(
            [*_command("run"), "--json"], env=environment, check=True, capture_output=True
        )
        execute(environment["SYNC_SOURCE_URL"], *CHANGED)
        execute(environment["SYNC_TARGET_URL"], *CHANGED_ON_TARGET)
        subprocess.run(_command("run"), env=environment, check=False, capture_output=True)
        _keep("terminal-verify", "verify sales.orders sales.prices", environment)
        _keep("terminal-watch", "watch", environment, ended_after=WATCHED)


def _keep(
    name: str, words: str, environment: Mapping[str, str], ended_after: float | None = None
) -> None:
    said = _in_a_terminal(words, environment, ended_after)
    if ended_after is None:
        # Where a bar of progress was, a terminal shows nothing.
        said = re.sub(r"(\r?\n[^\S\n]*){3,}", "\n\n", said)
    else:
        # What stood there last, before it was ended.
        frames = said.partition(LEFT)[0].split(FRAME)[1:]
        said = max(frames, key=lambda frame: len(frame.split()))
    page = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
    page.print(Text.assemble(("$ ", "bold green"), f"sync-assets {words}"))
    page.print(Text.from_ansi(said.replace("\r\n", "\n").rstrip()))
    drawn = page.export_svg(
        title=f"sync-assets {words}", theme=MONOKAI, code_format=FORMAT, unique_id=name
    )
    (PICTURES / f"{name}.svg").write_text(drawn + "\n")


def _in_a_terminal(words: str, environment: Mapping[str, str], ended_after: float | None) -> str:
    ours, its = pty.openpty()
    process = subprocess.Popen(
        _command(*words.split()), stdin=its, stdout=its, stderr=its, env=dict(environment)
    )
    os.close(its)
    if ended_after is not None:
        time.sleep(ended_after)
        process.send_signal(signal.SIGINT)
    said = b"".join(iter(lambda: _read(ours), b""))
    process.wait()
    os.close(ours)
    return said.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux' word for a terminal that nobody has open any more
        return b""


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "sync_assets.cli", *words]


if __name__ == "__main__":
    main()
