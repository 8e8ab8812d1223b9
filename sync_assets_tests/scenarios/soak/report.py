"""What a soak has seen, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sync_assets_tests.scenarios.soak.growth import ALLOWED, Sample, rates


@dataclass(frozen=True)
class Happened:
    """One event: how long it lasted, and then until every table was in step and all was quiet."""

    kind: str
    at: float
    lasted: float
    in_step_after: float
    quiet_after: float
    wrong: tuple[str, ...] = ()


@dataclass
class Report:
    """Everything so far."""

    seed: str
    commit: str
    minutes: float = 0.0
    commits: int = 0
    runs: int = 0
    expected: int = 0
    sent: int = 0
    events: list[Happened] = field(default_factory=list)
    impossible: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def write(self, place: Path) -> None:
        """Write both forms beside each other."""
        place.parent.mkdir(parents=True, exist_ok=True)
        place.with_suffix(".json").write_text(json.dumps(asdict(self), indent=1, default=str))
        place.with_suffix(".md").write_text(self.markdown() + "\n")

    def markdown(self) -> str:
        """The tables for the page of reliability."""
        return "\n\n".join("\n".join(part) for part in self._parts())

    def _parts(self) -> Sequence[Sequence[str]]:
        whole = {
            "seed": self.seed,
            "commit": self.commit,
            "minutes": f"{self.minutes:.0f}",
            "events": len(self.events),
            "kinds": len({each.kind for each in self.events}),
            "transactions of the writer": self.commits,
            "runs": self.runs,
            "alerts expected": self.expected,
            "alerts sent": self.sent,
            "alerts missed, repeated or unasked": len(
                [each for each in self.wrong if "told" in each]
            ),
            "other findings": len([each for each in self.wrong if "told" not in each]),
        }
        parts = [
            _table(("soak", ""), whole.items()),
            _table(
                (
                    "event",
                    "times",
                    "lasted, s",
                    "in step after, s, at most",
                    "quiet after, s, at most",
                ),
                self._by_kind(),
            ),
            _table(("of", "first", "last", "an hour", "allowed"), self._growth()),
        ]
        if self.impossible:
            parts.append(_table(("cannot happen here", "why"), self.impossible.items()))
        if self.wrong:
            parts.append([f"- {each}" for each in self.wrong])
        return parts

    def _by_kind(self) -> list[tuple[Any, ...]]:
        kinds: dict[str, list[Happened]] = {}
        for each in self.events:
            kinds.setdefault(each.kind, []).append(each)
        return [
            (
                kind,
                len(those),
                *(
                    f"{max(getattr(each, name) for each in those):.0f}"
                    for name in ("lasted", "in_step_after", "quiet_after")
                ),
            )
            for kind, those in sorted(kinds.items())
        ]

    def _growth(self) -> list[tuple[Any, ...]]:
        return [
            (
                name,
                f"{first:.1f}",
                f"{last:.1f}",
                "" if slope is None else f"{slope:+.1f}",
                ALLOWED[name],
            )
            for name, (first, last, slope) in sorted(rates(self.samples).items())
        ]


def _table(head: Sequence[str], rows: Any) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]
