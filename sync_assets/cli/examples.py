"""Examples at the end of a command's `--help`."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """The lines as click prints them unwrapped, for `epilog`."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))
