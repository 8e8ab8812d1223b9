"""How many receipts the target keeps of each table."""

from __future__ import annotations

import os

from sync_assets.engine.errors import ConfigurationError

VARIABLE = "SYNC_RECEIPTS_KEPT"
DEFAULT = 1000


def receipts_kept() -> int:
    """What SYNC_RECEIPTS_KEPT says; raises ConfigurationError.

    At least one: a run whose reply to COMMIT was lost finds its own receipt again.
    """
    text = os.environ.get(VARIABLE, "").strip() or str(DEFAULT)
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ConfigurationError(
            f"{VARIABLE} is {text!r}", remedy="It must be a whole number from 1 up."
        )
    return int(text)
