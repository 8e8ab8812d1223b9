"""What was measured, as tables, lines that we hold ourselves to, and pictures; from raw results."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picture import bars
from tools import EMPTY_RUN, STEPS, TOOLS
from work import WORKS

DOCS = Path(__file__).parent.parent / "docs"
PICTURES = DOCS / "pictures"
MB = 1e6
BIG = 10_000_000
Row = Mapping[str, Any]
TITLES = {
    "initial": "initial load",
    "changes": "1 % updated, 0.5 % inserted",
    "unchanged": "nothing changed",
}
COPYING = {tool.name for tool in TOOLS if tool.copies}
NO_CHANGES = {tool.name for tool in TOOLS if tool.again}


@dataclass(frozen=True)
class Results:
    """Rows as they were recorded, and where they were taken."""

    rows: Sequence[Row]
    surroundings: Row

    def of(self, **wanted: Any) -> list[Row]:
        """The rows that went well, of these."""
        return [
            row
            for row in self.rows
            if "error" not in row and all(row.get(name) == value for name, value in wanted.items())
        ]

    def median(self, what: str = "seconds", **wanted: Any) -> float | None:
        """The median of one figure, None where there is none."""
        values = [row[what] for row in self.of(**wanted) if row.get(what) is not None]
        return statistics.median(values) if values else None


@dataclass(frozen=True)
class Line:
    """A line that we hold ourselves to."""

    what: str
    bound: str
    measured: str
    held: bool | None


def read(path: Path) -> Results:
    """The results in a file of JSON lines; surroundings are those of the last call."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    known = [line for line in lines if "commit" in line]
    return Results([line for line in lines if "step" in line], known[-1] if known else {})


def finish(path: Path, *, publish: bool) -> None:
    """Print tables and lines; write the page and its pictures if asked."""
    results = read(path)
    text = page(results)
    print(f"\n{text}")
    if publish:
        _publish(text, results)


def page(results: Results) -> str:
    """Everything that was measured, as Markdown."""
    parts = [told(results.surroundings)]
    held = lines(results)
    if held:
        parts += ["### The lines we hold ourselves to\n", lines_table(held)]
    sizes = sorted({(row["work"], row["rows"]) for row in results.rows})
    for work, rows in sizes:
        title = f"### {work.upper()}, {WORKS[work].table}, {rows:,} rows\n"
        parts += [title, _table(results, work, rows)]
    return "\n".join(parts)


def told(known: Row) -> str:
    """When, where and with what it was measured."""
    if not known:
        return ""
    versions = "; ".join(
        which
        if which.startswith(name)
        else f"{name}: {which}"
        if " " in which
        else f"{name} {which}"
        for name, which in known["versions"].items()
    )
    changed = ", with changes" if known["changed"] else ""
    return (
        f"Measured {known['at'][:10]} at commit `{known['commit']}`{changed}, on {known['machine']}; "
        f"load average before: {known['load']}. {versions}.\n"
    )


def _table(results: Results, work: str, rows: int) -> str:
    heading = ["tool", *(f"{TITLES[step]}, s" for step in STEPS)]
    heading += ["CPU of the tool, s", "CPU of the servers, s", "peak memory, MB", "runs", "copy"]
    found = dict.fromkeys(
        row["tool"] for row in results.rows if (row["work"], row["rows"]) == (work, rows)
    )
    order = sorted(
        found,
        key=lambda tool: results.median(work=work, rows=rows, tool=tool, step=STEPS[0]) or 1e9,
    )
    lines = [f"| {' | '.join(heading)} |", f"|---|{'--:|' * 7}---|"]
    lines += [_tool_line(results, {"work": work, "rows": rows, "tool": tool}) for tool in order]
    return "\n".join(lines) + "\n"


def _tool_line(results: Results, which: dict[str, Any]) -> str:
    ran = results.of(**which)
    cells = [_escaped(which["tool"]), *(_time(results, which, step) for step in STEPS)]
    cells.append("/".join(_figure(results.median("cpu", **which, step=step)) for step in STEPS))
    servers = [[sum(row["server_cpu"]) for row in ran if row["step"] == step] for step in STEPS]
    cells.append("/".join(_figure(statistics.median(each) if each else None) for each in servers))
    cells.append(f"{max(row['memory'] for row in ran) / MB:.0f}" if ran else "")
    cells.append(str(max((row["round"] for row in ran), default=0)))
    cells.append(_copy(results, which, ran))
    return f"| {' | '.join(cells)} |"


def _time(results: Results, which: dict[str, Any], step: str) -> str:
    times = [row["seconds"] for row in results.of(**which, step=step)]
    if not times:
        return ""
    spread = f" ({min(times):.2f}–{max(times):.2f})" if len(times) > 1 else ""
    again = ", all again" if which["tool"] in NO_CHANGES and step != "initial" else ""
    return f"{statistics.median(times):.2f}{spread}{again}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _copy(results: Results, which: dict[str, Any], ran: Sequence[Row]) -> str:
    failed = [row for row in results.rows if "error" in row and which.items() <= row.items()]
    said = list(dict.fromkeys(row["check"] for row in ran if row.get("check")))
    copied = [row["exact"] for row in ran if row["tool"] in COPYING]
    words = ["exact" if all(copied) else "NOT exact"] if copied else []
    words += said + [f"{row['step']} failed: {row['error']}" for row in failed[:1]]
    return _escaped("; ".join(words))


def _escaped(words: str) -> str:
    """Safe in a cell."""
    return words.replace("|", "\\|").replace("<", "&lt;")


def lines(results: Results) -> list[Line]:
    """The issue's lines, as far as there are figures for them."""
    found = [
        *_initial(results, "w1", 1.1),
        *_initial(results, "w2", 0.85),
        *(line for work in WORKS for line in _changes(results, work)),
        *_unchanged(results),
        *_dagster(results),
        *_memory(results),
        *_growth(results),
    ]
    return [line for line in found if line is not None]


def _normal(results: Results, work: str) -> dict[str, Any]:
    """One work at its usual size: the one that most runs have."""
    sizes = [row["rows"] for row in results.of(work=work) if row["rows"] != BIG]
    return {"work": work, "rows": statistics.mode(sizes) if sizes else 0}


def _ratio(
    results: Results, what: str, bound: float, ours: dict[str, Any], theirs: dict[str, Any]
) -> Iterable[Line]:
    mine, floor = results.median(**ours), results.median(**theirs)
    if mine is not None and floor is not None:
        ratio = mine / floor
        said = f"{ratio:.2f} × ({mine:.2f} s, {floor:.2f} s)"
        yield Line(what, f"{bound} × {theirs['tool']}", said, ratio <= bound)


def _initial(results: Results, work: str, bound: float) -> Iterable[Line]:
    place = _normal(results, work) | {"step": "initial"}
    ours, floor = place | {"tool": "sync-assets"}, place | {"tool": "pg_dump | psql"}
    yield from _ratio(results, f"initial load, {work.upper()}", bound, ours, floor)
    yield from _peers(results, f"initial load, {work.upper()}", ours, lambda _: True)


def _changes(results: Results, work: str) -> Iterable[Line]:
    place = _normal(results, work) | {"step": "changes"}
    ours, floor = place | {"tool": "sync-assets"}, place | {"tool": "COPY"}
    cursors = {tool.name for tool in TOOLS if tool.incremental_by_cursor(WORKS[work])}
    name = f"changes, {work.upper()}"
    yield from _ratio(results, name, 1.3, ours, floor)
    yield from _peers(results, f"{name}, by transaction id", ours, lambda tool: tool not in cursors)
    by_cursor = place | {"tool": "sync-assets by cursor"}
    yield from _peers(results, f"{name}, by cursor", by_cursor, lambda tool: tool in cursors)


def _peers(
    results: Results, what: str, ours: dict[str, Any], counts: Callable[[str], bool]
) -> Iterable[Line]:
    names = {row["tool"] for row in results.of(kind="peer") if counts(row["tool"])}
    times = {
        name: time
        for name in names
        if (time := results.median(**{**ours, "tool": name})) is not None
    }
    mine = results.median(**ours)
    if mine is not None and times:
        fastest = min(times, key=lambda name: times[name])
        said = f"{mine:.2f} s; the fastest, {fastest}: {times[fastest]:.2f} s"
        yield Line(what, "faster than every peer", said, mine < times[fastest])


def _unchanged(results: Results) -> Iterable[Line]:
    place = {"work": "w1", "rows": BIG, "step": "unchanged"}
    mine, scan = (results.median(**place, tool=tool) for tool in ("sync-assets", "scan"))
    if mine is not None and scan is not None:
        said = f"{mine:.2f} s; the scan {scan:.2f} s"
        bound = 1.2 * scan + 0.1
        yield Line(
            "nothing changed, W1 at 10M", f"1.2 × scan + 0.1 s = {bound:.2f} s", said, mine <= bound
        )


def _dagster(results: Results) -> Iterable[Line]:
    place = _normal(results, "w1") | {"step": "unchanged"}
    ours, empty = place | {"tool": "sync-assets run"}, place | {"tool": EMPTY_RUN}
    yield from _ratio(results, "`sync-assets run`, nothing changed, W1", 1.5, ours, empty)


def _memory(results: Results) -> Iterable[Line]:
    for rows in sorted({row["rows"] for row in results.rows}):
        peaks = [row.get("vm_hwm") for row in results.of(rows=rows, tool="sync-assets")]
        peaks = [peak for peak in peaks if peak]
        if peaks:
            said = f"{max(peaks) / 2**20:.0f} MB"
            yield Line(f"peak memory, {rows:,} rows", "64 MB", said, max(peaks) <= 64 * 2**20)


def _growth(results: Results) -> Iterable[Line]:
    def times(tool: str) -> list[float | None]:
        return [
            results.median(work="w1", rows=rows, step="initial", tool=tool)
            for rows in (1_000_000, BIG)
        ]

    small, large = times("sync-assets")
    if small and large:
        few, many = times("COPY")
        beside = f"; COPY's own {many / few:.1f}" if few and many else ""
        said = f"{large / small:.1f}{beside}"
        yield Line("growth, W1 from 1M to 10M rows", "11.5", said, large / small <= 11.5)


def lines_table(held: Sequence[Line]) -> str:
    """The lines, and whether they are held, as Markdown."""
    rows = [
        f"| {line.what} | {_escaped(line.bound)} | {line.measured} | {'held' if line.held else '**not held**'} |"
        for line in held
    ]
    return "\n".join(["| what | at most | measured | |", "|---|---|---|---|", *rows, ""])


def _publish(text: str, results: Results) -> None:
    """Put the text between the page's markers, and its picture for each work beside it."""
    pictures = []
    for work in WORKS:
        panels = _panels(results, _normal(results, work))
        if panels:
            (PICTURES / f"benchmarks-{work}.svg").write_text(bars(panels))
            pictures.append(
                f"![{work.upper()}: time, CPU and memory](pictures/benchmarks-{work}.svg)\n"
            )
    write_between("results", "\n".join([*pictures, text]))


def write_between(marker: str, text: str) -> None:
    """Put the text between two markers of the page."""
    place = DOCS / "benchmarks.md"
    before, _, rest = place.read_text().partition(f"<!-- {marker} -->\n")
    _, _, after = rest.partition(f"<!-- /{marker} -->\n")
    place.write_text(f"{before}<!-- {marker} -->\n{text}\n<!-- /{marker} -->\n{after}")


def _panels(results: Results, place: dict[str, Any]) -> list[tuple[str, str, dict[str, float]]]:
    """Titles, units and values of the bars: time of each step, CPU and memory."""
    tools = dict.fromkeys(row["tool"] for row in results.of(**place) if row["tool"] != "scan")
    wanted = [(f"{TITLES[step]}", "s", "seconds", step) for step in STEPS]
    wanted += [("CPU of the tool, initial load", "s", "cpu", "initial")]
    wanted += [("peak memory, initial load", "MB", "memory", "initial")]
    panels = []
    for title, unit, what, step in wanted:
        values = {
            tool: value / (MB if what == "memory" else 1)
            for tool in tools
            if (value := results.median(what, **place, tool=tool, step=step)) is not None
        }
        if values:
            panels.append((title, unit, values))
    return panels


def main() -> None:
    """Print, or publish, what is in a file of raw results."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md")
    asked = parser.parse_args()
    finish(asked.results, publish=asked.publish)


if __name__ == "__main__":
    main()
