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
from collections.abc import Mapping

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text
from take_pictures import PICTURES, execute, project

COLUMNS, LINES = 100, 20
DRAWN = " s; Ctrl-C ends"
"""What the first line of a live page holds once all have answered: then it is ended."""

# Its fonts would be fetched from somebody's server.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
FRAME, LEFT = "\x1b[H", "\x1b[?1049l"
"""How a live page begins to be drawn, and how the screen is left."""
BARS = re.compile(r"\x1b\[\?25l.*?\x1b\[\?25h(\r?\n|\x1b\[\d*[AK])*", re.DOTALL)
"""A bar of progress, from its first to its last drawing; where it was, a terminal shows nothing."""

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
        _keep("terminal-watch", "watch", environment, until=DRAWN)


def _keep(name: str, words: str, environment: Mapping[str, str], until: str | None = None) -> None:
    said = _in_a_terminal(words, environment, until)
    if until is None:
        said = BARS.sub("", said)
    else:
        # What stood there last, before it was ended.
        frames = said.partition(LEFT)[0].split(FRAME)[1:]
        said = max(frames, key=lambda frame: len(frame.split()))
    page = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
    page.print(Text.assemble(("$ ", "bold green"), f"sync-assets {words}"))
    # One line more, or the last one is cut off.
    page.print(Text.from_ansi(said.replace("\r\n", "\n").rstrip() + "\n"))
    drawn = page.export_svg(
        title=f"sync-assets {words}", theme=MONOKAI, code_format=FORMAT, unique_id=name
    )
    (PICTURES / f"{name}.svg").write_text(drawn + "\n")


def _in_a_terminal(words: str, environment: Mapping[str, str], until: str | None) -> str:
    ours, its = pty.openpty()
    process = subprocess.Popen(
        _command(*words.split()), stdin=its, stdout=its, stderr=its, env=dict(environment)
    )
    os.close(its)
    said = b""
    for piece in iter(lambda: _read(ours), b""):
        said += piece
        if until and until.encode() in said:
            process.send_signal(signal.SIGINT)
            until = None
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
