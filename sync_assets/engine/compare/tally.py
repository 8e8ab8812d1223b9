"""Differences counted, by kind and by what they mean (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from sync_assets.engine.compare.checksum import MOST_DIGITS
from sync_assets.engine.compare.difference import HASH_DIGITS, Difference, Kind
from sync_assets.engine.verification import VERDICTS, Example, Verdict

MOST_HASHES = 10_000
"""Kept in full; of more wrong rows only how their hashes begin is kept."""

Judge = Callable[[Difference], Verdict]


class Tally:
    """Differences counted by kind and by verdict; names the first few, the wrong ones first."""

    def __init__(self, judge: Judge, key: Sequence[str], most: int) -> None:
        self.kinds: Counter[Kind] = Counter()
        self.verdicts: Counter[Verdict] = Counter()
        self._judge, self._key, self._most = judge, key, most
        self._wrong: list[Example] = []
        self._other: list[Example] = []
        self._hashes: set[str] = set()
        self._digits = HASH_DIGITS

    def add(self, found: Difference) -> None:
        """Count one difference."""
        verdict = self._judge(found)
        self.kinds[found.kind] += found.count
        self.verdicts[verdict] += found.count
        named = self._wrong if verdict == "wrong" else self._other
        if len(named) < self._most:
            key = dict(zip(self._key, found.key, strict=True)) or {"md5": found.hash}
            named.append(Example(found.kind.value, verdict, key))
        if verdict == "wrong":
            self._keep(found.hash)

    def _keep(self, key_hash: str) -> None:
        self._hashes.add(key_hash[: self._digits])
        if len(self._hashes) > MOST_HASHES and self._digits > MOST_DIGITS:
            self._digits = MOST_DIGITS
            self._hashes = {known[:MOST_DIGITS] for known in self._hashes}

    def counts(self) -> dict[str, int]:
        """The numbers, by their names in a Verification."""
        by_kind = {f"rows_{kind.value}": self.kinds[kind] for kind in Kind}
        return by_kind | {f"rows_{verdict}": self.verdicts[verdict] for verdict in VERDICTS}

    @property
    def examples(self) -> tuple[Example, ...]:
        """The rows to name."""
        return tuple((self._wrong + self._other)[: self._most])

    @property
    def wrong_hashes(self) -> list[str]:
        """How the hashes of the keys of wrong rows begin; in full, unless they are very many."""
        return sorted(self._hashes)
