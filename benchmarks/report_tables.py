"""What many tables cost, as one table and the lines we hold ourselves to; from raw results."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from report import Line, Results, lines_table, read, told, write_between

EVERY = ("initial", "still", "unchanged", "changed", "named")
FEW = ("changed", "named")
"""The steps before which ten tables change."""

TITLES: Mapping[str, str] = {
    "initial": "first load",
    "still": "nothing ended",
    "unchanged": "nothing changed",
    "changed": "10 changed",
    "named": "those 10 alone",
}
ENGINE, RUN, DUMP, BARE = "sync-assets", "sync-assets run", "pg_dump | psql", "bare Dagster run"
KB = 1000


def finish_tables(path: Path, *, publish: bool) -> None:
    """Print what was measured; write it into the page if asked."""
    text = page(read(path))
    print(f"\n{text}")
    if publish:
        write_between("tables", text)


def page(results: Results) -> str:
    """A table for each number of tables, and the lines, as Markdown."""
    parts = [told(results.surroundings)]
    for count in sorted({row["rows"] for row in results.rows}):
        parts += [f"### {count:,} tables\n", _table(results, count)]
        held = list(_lines(results, count))
        parts += [lines_table(held)] if held else []
    return "\n".join(parts)


def _table(results: Results, count: int) -> str:
    heading = ["tool", *(f"{TITLES[step]}, s" for step in EVERY)]
    heading += [
        "connections",
        "statements for an idle table",
        "Dagster's home, kB for an idle table",
    ]
    rows = [f"| {' | '.join(heading)} |", f"|---|{'--:|' * (len(heading) - 1)}"]
    names = dict.fromkeys(row["tool"] for row in results.rows if row["rows"] == count)
    for name in names:
        which = {"rows": count, "tool": name}
        cells = [_time(results, which, step) for step in EVERY]
        cells.append(
            "/".join(_whole(results.median("sessions", **which, step=step)) for step in EVERY)
        )
        idle = {**which, "step": "unchanged"}
        cells.append(_part(results.median("statements", **idle), count))
        cells.append(_part(results.median("home", **idle), count * KB))
        rows.append(f"| {name.replace('|', chr(92) + '|')} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _time(results: Results, which: Mapping[str, Any], step: str) -> str:
    times = [row["seconds"] for row in results.of(**which, step=step)]
    if not times:
        failed = [row for row in results.rows if row.get("error") and which.items() <= row.items()]
        return failed[0]["error"] if failed and step == "initial" else ""
    spread = f" ({min(times):.1f}–{max(times):.1f})" if len(times) > 1 else ""
    return f"{statistics.median(times):.1f}{spread}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _part(value: float | None, of: int) -> str:
    return "" if value is None else f"{value / of:.2f}"


def _lines(results: Results, count: int) -> Iterator[Line]:
    def seconds(tool: str, step: str = "initial") -> float | None:
        return results.median(rows=count, tool=tool, step=step)

    dump, bare, idle = seconds(DUMP), seconds(BARE), seconds(RUN, "unchanged")
    bounds: list[tuple[str, str, float | None, float | None]] = [
        ("the engine, first load", "5 × pg_dump | psql", seconds(ENGINE), dump and 5 * dump),
        (
            "`sync-assets run`, first load",
            "bare Dagster run + 5 × pg_dump | psql",
            seconds(RUN),
            bare and dump and bare + 5 * dump,
        ),
        ("`sync-assets run`, nothing changed", "10 s", idle, 10),
        (
            "`sync-assets run`, 10 changed",
            "nothing changed + 2 s",
            seconds(RUN, "changed"),
            idle and idle + 2,
        ),
        ("`sync-assets run` of those 10", "5 s", seconds(RUN, "named"), 5),
        ("`sync-assets plan`", "10 s", seconds(RUN, "plan"), 10),
    ]
    for what, bound, mine, most in bounds:
        if mine is not None and most is not None:
            yield Line(what, bound, f"{mine:.1f} s of {most:.1f} s", mine <= most)
    sums = {
        "connections to the source, first load": ("sessions", "initial", 1, 12.0),
        "statements on the source for an idle table": ("statements", "unchanged", count, 1.0),
        "Dagster's home for an idle table, kB": ("home", "unchanged", count * KB, 2.0),
    }
    for what, (figure, step, of, most) in sums.items():
        value = results.median(figure, rows=count, tool=RUN, step=step)
        if value is not None:
            yield Line(what, f"{most:g}", f"{value / of:.2f}", value / of <= most)
