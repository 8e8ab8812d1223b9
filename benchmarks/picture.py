"""Bars as SVG, the shortest first; ours stand out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, NAMES, BAR, GAP, TITLE = 760, 190, 16, 6, 30
OURS, OTHERS, INK = "#4051b5", "#b0b4c8", "#333333"


def bars(panels: Sequence[tuple[str, str, Mapping[str, float]]]) -> str:
    """One picture with a panel for each (title, unit, values)."""
    parts: list[str] = []
    top = GAP
    for title, unit, values in panels:
        parts.append(_text(GAP, top + 18, f"{title} ({unit})", weight="bold"))
        top += TITLE
        longest = max(values.values()) or 1
        for name in sorted(values, key=lambda each: values[each]):
            length = max(1.0, values[name] / longest * (WIDTH - NAMES - 90))
            color = OURS if name.startswith("sync-assets") else OTHERS
            parts.append(_text(NAMES - 8, top + 13, name, anchor="end"))
            parts.append(
                f'<rect x="{NAMES}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{color}"/>'
            )
            parts.append(_text(NAMES + length + 6, top + 13, f"{values[name]:.3g}"))
            top += BAR + GAP
        top += GAP
    style = f'font-family="sans-serif" font-size="13" fill="{INK}"'
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    body = "\n".join(parts)
    ground = f'<rect width="{WIDTH}" height="{top}" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{ground}\n{body}\n</svg>\n'


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )
