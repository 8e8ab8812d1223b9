"""Tables on a terminal, plain lines in a pipe, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click


def print_json(value: Any) -> None:
    """Print one JSON value; dates as ISO 8601."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: str = "") -> None:
    """Print rows under their headings; `numbers` has an r for each right-aligned column."""
    aligns = numbers.ljust(len(columns), "l")
    if sys.stdout.isatty():
        _print_rich(columns, rows, aligns)
    else:
        click.echo("\n".join(plain_rows(columns, rows, aligns)))


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values: a grid on a terminal, `name: value` lines in a pipe."""
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


def plain_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], aligns: str) -> list[str]:
    """Return headings and rows as lines with aligned columns, whatever their length."""
    # Terminal cells, not characters: names may be Korean.
    from rich.cells import cell_len

    widths = [max(cell_len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    lines = []
    for row in (columns, *rows):
        pads = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [
            pad + cell if align == "r" else cell + pad
            for cell, pad, align in zip(row, pads, aligns, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]], aligns: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, align in zip(columns, aligns, strict=True):
        table.add_column(column, justify="right" if align == "r" else "left", overflow="fold")
    for row in rows:
        # Text, so that a name with brackets is not read as markup.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _plain(value: object) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
