"""What `check` says: one finding, with its mend."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(str, enum.Enum):
    """Whether a run would fail, may suffer, or only should be known to."""

    BLOCKING = "blocking"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that will hurt, as `where` has it: the source, the target, one of their tables.

    `mend` is ready to paste, SQL, YAML or shell; `check` names what found it.
    """

    severity: Severity
    where: str
    what: str
    mend: str
    check: str = ""


def blocks(where: str, what: str, mend: str) -> Finding:
    """A finding that makes a run fail."""
    return Finding(Severity.BLOCKING, where, what, mend)


def warning(where: str, what: str, mend: str) -> Finding:
    """A finding that may hurt a run, or what comes after it."""
    return Finding(Severity.WARNING, where, what, mend)


def note(where: str, what: str, mend: str) -> Finding:
    """A finding that explains what a run does differently."""
    return Finding(Severity.NOTE, where, what, mend)
