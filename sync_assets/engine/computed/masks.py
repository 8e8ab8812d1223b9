"""Masks: how a column's values are replaced before they leave the source, and the key of `hmac` (pure)."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sync_assets.engine.errors import ConfigurationError

KEY_VARIABLE = "SYNC_MASK_KEY"
WORDS = ("hmac", "redact")
"""The masks that are written as a word alone."""

KEPT = "keep_last"
"""The mask that is written with how many characters it keeps."""

FORMS = "hmac, redact or {keep_last: 4}"
"""How a mask is written."""

SHORTEST_KEY = 16

_TO_MAKE_A_KEY = f"Set {KEY_VARIABLE}, the same wherever masked values are to be equal; openssl rand -hex 32 makes one."
_BLOCK = 64
"""Bytes of a block of SHA-256, to which HMAC pads its key (RFC 2104)."""


@dataclass(frozen=True, slots=True)
class Mask:
    """How a column is masked: `keep` is how many characters `keep_last` leaves at a value's end."""

    kind: str
    keep: int = 0

    @classmethod
    def parse(cls, said: object) -> Mask:
        """Read `hmac`, `redact` or `{keep_last: 4}`; raises ConfigurationError."""
        if isinstance(said, Mask):
            return said
        if isinstance(said, str) and said in WORDS:
            return cls(said)
        keep = said.get(KEPT) if isinstance(said, Mapping) and len(said) == 1 else None
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ConfigurationError(f"{said!r} is no mask", remedy=f"Write {FORMS}.")
        return cls(KEPT, keep)

    @property
    def needs_key(self) -> bool:
        """Whether a masked value depends on the key."""
        return self.kind == "hmac"

    @property
    def keeps_apart(self) -> bool:
        """Whether different values stay different, so that masked ones still identify a row."""
        return self.kind == "hmac"

    def __str__(self) -> str:
        return f"keep_last {self.keep}" if self.keep else self.kind


def parsed_masks(said: Mapping[str, object] | Iterable[tuple[str, object]]) -> tuple[Any, ...]:
    """Masks by column, as scripts write them; raises ConfigurationError."""
    return tuple((name, Mask.parse(mask)) for name, mask in dict(said).items())


class MaskKey:
    """The key of `hmac`. Its `name` is a digest that tells two keys apart and says nothing of them."""

    def __init__(self, text: str) -> None:
        if len(text) < SHORTEST_KEY:
            raise ConfigurationError(
                f"the key for masks has {len(text)} characters, at least {SHORTEST_KEY} are needed",
                remedy=_TO_MAKE_A_KEY,
            )
        self._key = text.encode()
        self.name = hmac.new(self._key, b"sync_assets.mask", "sha256").hexdigest()[:16]

    @property
    def handing_over(self) -> str:
        """The statement that gives a transaction of the source the key, as the two pads of HMAC."""
        key = hashlib.sha256(self._key).digest() if len(self._key) > _BLOCK else self._key
        pads = [bytes(byte ^ pad for byte in key.ljust(_BLOCK, b"\0")) for pad in (0x36, 0x5C)]
        array = ",".join(f'"\\\\x{pad.hex()}"' for pad in pads)
        return f"SELECT pg_catalog.set_config('{self._setting}', '{{{array}}}', true)"

    @property
    def inner(self) -> str:
        """The SQL of the inner pad."""
        return self._pad(1)

    @property
    def outer(self) -> str:
        """The SQL of the outer pad."""
        return self._pad(2)

    def _pad(self, place: int) -> str:
        # A setting that a transaction has left is the empty text, which is no array: where the key was
        # not handed over, reading fails. As a sub-select it is computed once, not for each row.
        setting = f"pg_catalog.current_setting('{self._setting}')"
        return f"(SELECT ({setting}::pg_catalog.bytea[])[{place}])"

    @property
    def _setting(self) -> str:
        return f"sync_assets.mask_{self.name}"


def key_of(column: str, table: object, text: str | None) -> MaskKey:
    """The key to mask a column with, from the environment where `text` is None; ConfigurationError."""
    text = os.environ.get(KEY_VARIABLE, "").strip() if text is None else text
    if not text:
        raise ConfigurationError(
            f"the mask hmac of the column {column!r} of {table} needs a key, and {KEY_VARIABLE} is not set",
            remedy=_TO_MAKE_A_KEY,
        )
    return MaskKey(text)
