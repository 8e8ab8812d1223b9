"""Tables on a terminal, plain lines in a pipe, JSON for machines; what is alike, once."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

import click

from sync_assets.engine.names import listed
from sync_assets.plain_text import json_shown, lines_shown, shown

GAP = 2
"""Blanks between two columns."""

EDGES = 2
"""Blanks left and right of a table on a terminal."""

LEAST_NAME = 20
"""Cells that the first column keeps, however narrow the terminal."""

SHOWN = 40
"""Lines about tables that a person reads at once; `--all` prints every one."""

NAMED_AT_MOST = 10
"""Tables that one line names."""

KILO = 1024

JSON_VERSION = 1
"""Raised when a key of any `--json` output is removed or changes its meaning; keys may be added."""


Item = TypeVar("Item")


def say(text: str, *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print one line, which may hold names, comments and keys of a database: as text.

    All that a command prints goes through here or the functions below; `style` is click's.
    """
    click.echo(styled(shown(text), **style), err=err, nl=nl)


def say_sentence(text: str, *, margin: int = 0, err: bool = False, **style: Any) -> None:
    """Print a line that is read, not pasted: on a terminal no row of it ends within a word.

    It stays one line, filled up with blanks at the terminal's edge, and is copied as one. `margin` is
    how many cells of its first row are taken, and left free in the others.
    """
    stream = sys.stderr if err else sys.stdout
    text = shown(text)
    if stream.isatty():
        from rich.console import Console

        text = filled(text, Console(file=stream).width, margin)
    click.echo(styled(text, **style), err=err)


def filled(text: str, width: int, margin: int = 0) -> str:
    """The text with blanks in it, so that rows of this width, in cells, end between words."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text

    room = width - margin
    if room < LEAST_NAME:
        return text
    lines = Text(text).wrap(Console(width=room), room, justify="left", overflow="fold")
    rows = [line.plain.rstrip() for line in lines]
    return "".join([*(row + " " * (width - cell_len(row)) for row in rows[:-1]), *rows[-1:]])


def styled(text: str, **style: Any) -> str:
    """Text in click's style, without its colours where NO_COLOR is set: https://no-color.org."""
    if os.environ.get("NO_COLOR"):
        style = {name: value for name, value in style.items() if name not in ("fg", "bg")}
    return click.style(text, **style) if style else text


def say_lines(text: str, *, err: bool = False) -> None:
    """Print lines that end as they do."""
    click.echo(lines_shown(text), err=err, nl=False)


def print_json(document: object) -> None:
    """Print one JSON object: one of `sync_assets.cli.documents`."""
    click.echo(as_json_text(document))


def as_json_text(document: object) -> str:
    """One JSON object as text, its version first; dates as ISO 8601."""
    versioned = {"version": JSON_VERSION, **_plain(document)}
    return json_shown(json.dumps(versioned, indent=2, ensure_ascii=False, default=_plain))


def print_rows(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: str = "",
    *,
    spare: Sequence[str] = (),
) -> None:
    """Print rows under their headings; `numbers` has an r for each right-aligned column.

    A terminal that is too narrow does without columns in which nothing stands, then without the
    `spare` ones, the first ones first.
    """
    aligns = numbers.ljust(len(columns), "l")
    rows = [tuple(map(shown, row)) for row in rows]
    if sys.stdout.isatty():
        _print_rich(columns, rows, aligns, spare)
    else:
        click.echo("\n".join(plain_rows(columns, rows, aligns)))


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values: a grid on a terminal, `name: value` lines in a pipe."""
    facts = [(shown(name), shown(value)) for name, value in facts]
    if not sys.stdout.isatty():
        click.echo("\n".join(f"{name}: {value}" for name, value in facts))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        grid.add_row(Text(name, style="dim"), Text(value))
    Console().print(grid)


def number(value: float | None, form: str = "") -> str:
    """A number in the form that a format string names; nothing where there is none."""
    return "" if value is None else format(value, form)


def clock(at: datetime) -> str:
    """A moment, as this machine's clock shows it."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def alike(found: Iterable[Item], said: Callable[[Item], Hashable]) -> list[list[Item]]:
    """The items in groups of which the same is said, in their order."""
    groups: dict[Hashable, list[Item]] = {}
    for each in found:
        groups.setdefault(said(each), []).append(each)
    return list(groups.values())


def named(names: Sequence[str], *, everything: bool = False) -> str:
    """The first of the names, and how many there are besides."""
    return listed(names, len(names) if everything else NAMED_AT_MOST)


def tables(count: int) -> str:
    """A number of tables in words."""
    return f"{count:,} {'table' if count == 1 else 'tables'}"


def plain_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], aligns: str) -> list[str]:
    """Return headings and rows as lines with aligned columns, whatever their length."""
    from rich.cells import cell_len

    widths = _widths(columns, rows)
    lines = []
    for row in (columns, *rows):
        pads = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [
            pad + cell if align == "r" else cell + pad
            for cell, pad, align in zip(row, pads, aligns, strict=True)
        ]
        lines.append((" " * GAP).join(cells).rstrip())
    return lines


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    # Terminal cells, not characters: names may be Korean.
    from rich.cells import cell_len

    return [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]


def shown_columns(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], room: int
) -> list[int]:
    """Return the positions of the columns to show in so much room; blank ones go before spare ones."""
    widths, shown = _widths(columns, rows), list(range(len(columns)))
    blank = [name for name, *cells in zip(columns, *rows, strict=True) if rows and not any(cells)]
    left = [*blank, *(name for name in spare if name not in blank)]
    while left and sum(widths[i] + GAP for i in shown) - GAP > room:
        shown.remove(columns.index(left.pop(0)))
    return shown


def _print_rich(
    columns: Sequence[str], rows: Sequence[Sequence[str]], aligns: str, spare: Sequence[str]
) -> None:
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console()
    shown = shown_columns(columns, rows, spare, console.width - EDGES)
    widths = _widths(columns, rows)
    room = console.width - EDGES - sum(widths[i] + GAP for i in shown[1:])
    name_width = min(widths[shown[0]], max(room, LEAST_NAME))

    def grid(*, headed: bool) -> Table:
        made = Table(box=box.SIMPLE_HEAD, show_header=headed, show_edge=False, pad_edge=False)
        made.padding = (0, GAP - 1, 0, 0)
        for i in shown:
            right, width = aligns[i] == "r", widths[i] if room >= name_width else None
            # Text is folded, numbers never.
            justify: Literal["left", "right"] = "right" if right else "left"
            width = name_width if i == shown[0] else width
            made.add_column(
                columns[i], justify=justify, overflow="fold", no_wrap=right, width=width
            )
        return made

    table = grid(headed=True)
    for row in rows:
        # Text, so that a name with brackets is not read as markup.
        name, *others = (Text(row[i]) for i in shown)
        if name.cell_len > name_width:
            # No name is broken: it has the line above what is said of it.
            console.print(Padding(table, (0, 0, 0, 1), expand=False))
            console.print(Text(" ").append(name), soft_wrap=True)
            name, table = Text(), grid(headed=False)
        table.add_row(name, *others)
    console.print(Padding(table, (0, 0, 0, 1), expand=False))


def size(count: int) -> str:
    """Return a number of bytes as people read it: `12.3 MB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < KILO:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= KILO
    return f"{value:.1f} TB"


def _plain(value: Any) -> Any:
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if dataclasses.is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
