"""Which types keep every value of another one (pure)."""

from __future__ import annotations

import re

_INTEGERS = ("smallint", "integer", "bigint")
_MODIFIED = re.compile(
    r"(?P<name>[a-z ]+?)(\((?P<length>\d+)(,(?P<scale>-?\d+))?\))?"
    r"(?P<rest> with time zone| without time zone)?(?P<array>(\[\])*)"
)
_LONGER = ("character varying", "bit varying", "timestamp", "time", "numeric")
"""What a longer one, or one without a limit, keeps the text of."""


def holds(source: str, target: str) -> bool:
    """Whether every value of type `source` keeps its text in a column of type `target`."""
    if source == target:
        return True
    if source in _INTEGERS:
        return target in _INTEGERS[_INTEGERS.index(source) :] or target == "numeric"
    given, wanted = _MODIFIED.fullmatch(source), _MODIFIED.fullmatch(target)
    if given is None or wanted is None or given["array"] != wanted["array"]:
        return False
    texts = ("character varying", "text")
    if given["name"] in texts and wanted["name"] in texts:
        return wanted["length"] is None or _is_longer(given, wanted)
    same = (given["name"], given["rest"]) == (wanted["name"], wanted["rest"])
    return same and given["name"] in _LONGER and _is_longer(given, wanted)


def _is_longer(given: re.Match[str], wanted: re.Match[str]) -> bool:
    if given["length"] is None or wanted["length"] is None:
        return wanted["length"] is None
    same_scale = (given["scale"] or "0") == (wanted["scale"] or "0")
    return same_scale and int(wanted["length"]) >= int(given["length"])
