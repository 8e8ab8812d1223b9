"""Every fault at every step: one clear error or none, then an exact run, and nothing left behind."""

from __future__ import annotations

import contextlib
import functools
import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sync_assets.engine import Phase, SyncError
from sync_assets_tests.fixtures.guarded import asked_for_a_password
from sync_assets_tests.fixtures.servers import Servers
from sync_assets_tests.fixtures.ways import BOTH_IN_ALL, WAYS, Way
from sync_assets_tests.scenarios.faults.faults import (
    FAULTS,
    MATRIX,
    OTHERS,
    OUR_KILL,
    STEPS,
    THROUGH_A_BASTION,
    Ends,
    at,
    is_of_the_right_kind,
    outcome,
    two_ends,
)

SOME_STEPS = ("export", "load", "commit")
CELLS: list[tuple[str, Phase]] = [(fault, step) for fault in MATRIX for step in STEPS]
CELLS += [(fault, step) for fault in OTHERS for step in STEPS if step in SOME_STEPS]

NUMBERS = itertools.count(1)
CREATE = (
    "CREATE TABLE {t} (id integer PRIMARY KEY, v text)",
    "INSERT INTO {t} SELECT i, repeat('x', 300) FROM generate_series(1, 3000) i",
)
CHANGE = (
    "UPDATE {t} SET v = repeat('y', 300) WHERE id % 3 = 0",
    "DELETE FROM {t} WHERE id % 7 = 1",
    "INSERT INTO {t} SELECT i, 'new' FROM generate_series(3001, 3500) i",
)
ROWS = "SELECT id, v FROM {t} ORDER BY id"


@pytest.fixture(scope="module")
def each_way(servers: Servers) -> Iterator[Callable[[Way], Ends]]:
    """The two ends of a way, once for all cells."""
    with contextlib.ExitStack() as cleanup:

        @functools.cache
        def made(way: Way) -> Ends:
            source, target = map(servers, way)
            return cleanup.enter_context(two_ends(source, target))

        yield made


@pytest.fixture
def ends(
    each_way: Callable[[Way], Ends], request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Ends]:
    """The two ends of the way that a cell takes, in good order before and after it."""
    found = each_way(request.param)
    found.mend()
    fault = request.getfixturevalue("fault")
    if fault in THROUGH_A_BASTION:
        found.bastion = request.getfixturevalue("bastion").name
    with contextlib.ExitStack() as cleanup:
        if "token" in fault:
            side = fault.partition(" ")[0]
            its = (getattr(found, f"{side}_server"), tmp_path, getattr(found.direct, f"{side}_url"))
            found.tokens[side] = cleanup.enter_context(asked_for_a_password(*its))
        yield found
        found.mend()
    found.bastion = None
    found.tokens.clear()


@pytest.fixture
def table(ends: Ends) -> Iterator[str]:
    """A table that was synced and has changed since."""
    name = f"t{next(NUMBERS)}"
    ends.direct.source(*(each.format(t=name) for each in CREATE))
    receipt = ends.sync(name, name, lambda _: None, deletes="hard")
    assert receipt.chunks > 1
    assert receipt.workers > 1
    ends.direct.source(*(each.format(t=name) for each in CHANGE))
    yield name
    # All that the small disk has to hold is one table.
    ends.mend()
    ends.direct.target(f"DROP TABLE {name}")


def _parameters() -> Iterator[Any]:
    for number, (fault, step) in enumerate(CELLS):
        for way in WAYS if BOTH_IN_ALL else (WAYS[number % len(WAYS)],):
            name = f"{fault}, {step}, {way[0]} to {way[1]}".replace(" ", "-")
            yield pytest.param(way, fault, step, id=name)


@pytest.mark.parametrize(("ends", "fault", "step"), list(_parameters()), indirect=["ends"])
def test_any_fault_at_any_step(ends: Ends, table: str, fault: str, step: Phase) -> None:
    for disk in (ends.batch_disk, ends.target_disk):
        if "full" in fault and disk.refusal:
            pytest.skip(f"no small file system can be mounted: {disk.refusal}")
    rows = ROWS.format(t=table)
    options = {"deletes": "hard"}
    if step == "carry":
        options["carry"] = "indexes"
        ends.direct.source(f"CREATE INDEX ON {table} (v)")
    before = ends.direct.target(rows)
    if fault == OUR_KILL:
        assert ends.sync_and_die(table, table, step, **options) == -signal.SIGKILL
        error = None
    else:
        error = struck(ends, table, fault, step, **options)
        assert error is None or is_of_the_right_kind(error, fault), repr(error)
        # What a run that has lost its tunnel says is that.
        assert error is None or ("SSH tunnel" in str(error)) == (fault in THROUGH_A_BASTION)
        expected = outcome(fault, step)
        assert expected == "either" or (error is not None) == (expected == "fails"), error
    ends.mend()
    after = ends.direct.target(rows)
    whole = ends.direct.source(rows)
    assert after == whole or (after == before and (error or fault == OUR_KILL))
    # The dead run's files are swept by the next one; all else goes by itself.
    assert fault == OUR_KILL or ends.nothing_is_left(), ends.left()
    ends.sync(table, table, lambda _: None, **options)
    assert ends.direct.is_exact(f"public.{table}")
    built = f"SELECT count(*) FROM pg_index WHERE indrelid = '{table}'::regclass AND indisvalid"
    assert ends.direct.target(built) == ends.direct.source(built if step == "carry" else "SELECT 1")
    assert ends.nothing_is_left(), ends.left()


def struck(ends: Ends, table: str, fault: str, step: str, **options: Any) -> SyncError | None:
    """One run under a fault; return the error that it ended with."""
    try:
        ends.sync(table, table, at(step, ends, fault), **options)
    except SyncError as error:
        return error
    return None


def test_the_matrix_is_whole() -> None:
    """Nine steps and more, each under six faults and more."""
    assert len(STEPS) >= 9
    assert {fault for fault, _ in CELLS} == {OUR_KILL, *FAULTS}
    assert len({cell for cell in CELLS if cell[0] in MATRIX}) == len(MATRIX) * len(STEPS)
