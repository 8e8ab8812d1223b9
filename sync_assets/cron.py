"""Cron expressions, judged without loading Dagster: what passes here passes there."""

from __future__ import annotations

import re

ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, DAYS),
)
ITEM = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?", re.ASCII)
FEBRUARY, ITS_DAYS = 2, 29


def problem_of(expression: str) -> str | None:
    """What is wrong with a cron expression; None for a right one."""
    if expression in ALIASES:
        return None
    fields = expression.split()
    if len(fields) != len(FIELDS):
        return 'write five fields: minute, hour, day, month, day of the week, as in "*/15 * * * *"'
    for text, (name, low, high, words) in zip(fields, FIELDS, strict=True):
        if not all(_is_item(item, low, high, words) for item in text.lower().split(",")):
            return f"{text!r} is no {name}, which goes from {low} to {high}"
    return None if _has_a_day(fields) else "February never has that day"


def _is_item(item: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    match = ITEM.fullmatch(item)
    if match is None or (match["step"] is not None and not 0 < int(match["step"]) <= high):
        return False
    if match["first"] == "*":
        return match["last"] is None
    # A step counts from a range or from *; cron programs disagree about "5/15".
    if match["step"] is not None and match["last"] is None:
        return False
    first = _number(match["first"], low, words)
    last = first if match["last"] is None else _number(match["last"], low, words)
    return first is not None and last is not None and low <= first <= last <= high


def _number(text: str, low: int, words: tuple[str, ...]) -> int | None:
    if text in words:
        return words.index(text) + low
    return int(text) if text.isdecimal() else None


def _has_a_day(fields: list[str]) -> bool:
    month, days = _number(fields[3].lower(), 1, MONTHS), fields[2]
    return month != FEBRUARY or not days.isdecimal() or int(days) <= ITS_DAYS
