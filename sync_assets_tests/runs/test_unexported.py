"""A Dagster that has moved what it never exported is told by its version, and by those that fit."""

import sys

import dagster as dg
import pytest

from sync_assets.automation.switches import tell_lost_switches
from sync_assets.engine.errors import ConfigurationError
from sync_assets.launch.run import _name_origin

SAID = rf"does not work with Dagster {dg.__version__}: .*Install dagster.*>=1\.13"


def test_a_run_of_the_command_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setitem(sys.modules, "dagster._core.remote_origin", None)
        with pytest.raises(ConfigurationError, match=SAID):
            _name_origin(instance, "job")


def test_a_load_does_without_its_warning_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hidden = "dagster._core.definitions.definitions_load_context"
    monkeypatch.setitem(sys.modules, hidden, None)
    tell_lost_switches(dg.Definitions())
    (said,) = [record.getMessage() for record in caplog.records]
    assert "does not work with Dagster" in said
