"""Tables of a few MB are loaded by pieces here, as large ones are elsewhere."""

from __future__ import annotations

import pytest

from sync_assets.engine.run.first_load import by_pieces


@pytest.fixture(autouse=True)
def _by_pieces_even_if_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_pieces, "LEAST", 2)
