"""How time and memory grow, as tables and a picture; from raw results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from picture import bars
from report import PICTURES, Results, lines, lines_table, read, told, write_between

OURS = "sync-assets"
STEPS = {"initial": "COPY", "changes": "COPY", "unchanged": "scan"}
"""A step, and the floor that it is measured beside."""

SIZES_SAY = """\
Seconds; with ours the floor beside it: `COPY`, and for nothing changed one filtered scan.
"""
SHARES_SAY = """\
Seconds of the engine alone, so many of a million rows updated before each run.
"""
WORKERS_SAY = """\
Seconds of an initial load of a million rows; without a number the engine chooses, by cores, memory and
the size of the table.
"""
WIDE = 10_000_000
"""Characters of a wide value."""

WIDE_SAYS = """\
A value of ten megabytes in each row; the bound is 64 MB and four rows for each worker.
"""


def finish_growth(path: Path, *, publish: bool) -> None:
    """Print what was measured; write it into the page if asked."""
    results = read(path)
    text = page(results)
    print(f"\n{text}")
    if publish:
        (PICTURES / "benchmarks-growth.svg").write_text(bars(list(_panels(results))))
        picture = "![Time by rows](pictures/benchmarks-growth.svg)\n"
        write_between("growth", f"{picture}\n{text}")


def page(results: Results) -> str:
    """All parts, as far as there are figures for them, as Markdown."""
    parts = [told(results.surroundings)]
    held = [line for line in lines(results) if "initial load" not in line.what]
    if held:
        parts.append(lines_table(held))
    parts += [part for part in map("\n".join, _tables(results)) if part]
    return "\n".join(parts)


def _tables(results: Results) -> Iterator[Sequence[str]]:
    yield _table("Rows: W1", SIZES_SAY, ("rows", *STEPS), _sizes(results))
    yield _table("Changes", SHARES_SAY, ("changed", "W1", "W2"), _shares(results))
    yield _table("Workers", WORKERS_SAY, ("workers", "W1", "W2"), _workers(results))
    yield _table(
        "Wide rows", WIDE_SAYS, ("rows", "workers", "peak memory", "at most"), _wide(results)
    )
    yield _table("Start", "", ("command", "seconds", "times", ""), _start(results))
    yield _table("A source far away", "", ("run", "near", "50 ms away"), _latency(results))


def _table(
    title: str, says: str, heading: Sequence[str], rows: Iterator[Sequence[str]]
) -> Sequence[str]:
    cells = list(rows)
    if not cells:
        return ()
    shape = f"|---|{'--:|' * (len(heading) - 1)}"
    body = [f"| {' | '.join(each)} |" for each in (heading, *cells)]
    return (f"### {title}\n", *([says] if says else []), body[0], shape, *body[1:], "")


def _sizes(results: Results) -> Iterator[Sequence[str]]:
    for rows in _values(results.of(work="w1", tool="COPY"), "rows"):
        cells = []
        for step, floor in STEPS.items():
            place = {"work": "w1", "rows": rows, "step": step}
            ours = results.median(**place, tool=OURS)
            beside = results.median(**place, tool=floor)
            cells.append(f"{_seconds(ours)} ({_seconds(beside)})")
        yield (f"{rows:,}", *cells)


def _shares(results: Results) -> Iterator[Sequence[str]]:
    for share in _values(results.of(kind="share"), "step"):
        times = [results.median(kind="share", step=share, work=work) for work in ("w1", "w2")]
        yield (str(share), *map(_seconds, times))


def _workers(results: Results) -> Iterator[Sequence[str]]:
    place = {"rows": 1_000_000, "step": "initial"}
    for tool in _values(results.of(work="w2", **place), "tool"):
        times = [results.median(**place, tool=tool, work=work) for work in ("w1", "w2")]
        number = str(tool).removeprefix(OURS).strip(" ,").removesuffix(" workers")
        yield (number or "chosen", *map(_seconds, times))


def _wide(results: Results) -> Iterator[Sequence[str]]:
    for row in results.of(kind="wide")[-1:]:
        peak = max(each["vm_hwm"] for each in results.of(kind="wide"))
        most = 64 * 2**20 + 4 * WIDE * row["workers"]
        yield (
            str(row["rows"]),
            str(row["workers"]),
            *(f"{n / 2**20:.0f} MB" for n in (peak, most)),
        )


def _start(results: Results) -> Iterator[Sequence[str]]:
    for tool in _values(results.of(kind="start"), "tool"):
        seconds = results.median(kind="start", tool=tool) or 0.0
        floor = results.median(kind="start", tool="import click, rich") or seconds
        loads = next(row["check"] for row in results.of(kind="start", tool=tool))
        yield (f"`{tool}`", _seconds(seconds), f"{seconds / floor:.1f}", loads)


def _latency(results: Results) -> Iterator[Sequence[str]]:
    for step in _values(results.of(kind="latency"), "step"):
        places = _values(results.of(kind="latency", step=step), "tool")
        times = [results.median(kind="latency", step=step, tool=place) for place in places]
        yield (str(step), *map(_seconds, times))


def _values(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return list(dict.fromkeys(row[name] for row in rows))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _panels(results: Results) -> Iterator[tuple[str, str, dict[str, float]]]:
    for step, floor in STEPS.items():
        times = {}
        for rows in _values(results.of(work="w1", tool="COPY"), "rows"):
            for tool in (OURS, floor):
                value = results.median(work="w1", rows=rows, step=step, tool=tool)
                if value is not None:
                    times[f"{tool}, {rows:,}"] = value
        if times:
            yield f"W1, {step}, by rows", "s", times
