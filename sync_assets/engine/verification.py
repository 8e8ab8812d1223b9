"""What a comparison of both ends found: the numbers users see, under the names they bear everywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sync_assets.engine.receipt import Receipt

Verdict = Literal["wrong", "pending", "kept"]
"""What a difference means: a fault; a change that the next run brings; or a row that the source
does not have, on a target that keeps those (`deletes: ignore`)."""

EXAMPLES = 20
"""So many rows that differ are named where nobody asks for more."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, slots=True)
class Example:
    """One row that differs, named by its key; a row without one by the MD5 it was compared by."""

    kind: str
    verdict: Verdict
    key: Mapping[str, str]


# What `verify --json` prints: each field is a name in its schema.
@dataclass(frozen=True, slots=True)
class Verification:
    """An exact comparison of one table's ends.

    `equal` says that they are the same, or have become so by a repair; `faultless`, that nothing
    is wrong, or nothing any more: what differs waits for the next run, or is kept on purpose.
    `rows_differing`, `rows_only_in_source` and `rows_only_in_target` are all the differences;
    `rows_pending`, `rows_kept` and `rows_wrong` say what they mean, each row once.
    `examples` names some, the wrong ones first. Rows that are marked as deleted on the target are
    not looked at. `receipt` is that of the sync that went before, `repaired` that of a repair, after which
    `rows_left` rows were still wrong.
    """

    source: str
    target: str
    equal: bool
    faultless: bool
    synced: bool
    rows_source: int
    rows_target: int
    rows_differing: int
    rows_only_in_source: int
    rows_only_in_target: int
    rows_pending: int
    rows_kept: int
    rows_wrong: int
    examples: tuple[Example, ...]
    snapshot_at: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    receipt: Receipt | None = None
    repaired: Receipt | None = None
    rows_left: int | None = None

    @property
    def tells(self) -> bool:
        """Whether any row was found the same, or neither end has one: else all was put off."""
        same = self.rows_source - self.rows_differing - self.rows_only_in_source
        return same > 0 or not (self.rows_source or self.rows_target)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["examples"] = [dataclasses.asdict(example) for example in self.examples]
        values["seconds"] = dict(self.seconds)
        for name in ("receipt", "repaired"):
            values[name] = values[name].as_dict() if values[name] else None
        return values
