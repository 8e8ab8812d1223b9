"""Our versions beside those of dlt's scd2: from the same changes come the same intervals.

dlt is none of our dependencies: where it is not installed, this is skipped; `make beside` installs it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.servers import running_server

dlt = pytest.importorskip("dlt")

ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, name text, amount int)",
    "INSERT INTO t SELECT i, 'n' || i, i FROM generate_series(1, 10) i",
)
ROUNDS: tuple[list[str], ...] = (
    ["UPDATE t SET name = 'new' WHERE id < 4", "INSERT INTO t VALUES (11, 'n11', 11)"],
    # Twice between two looks, to and fro, and to what it was.
    [
        "UPDATE t SET amount = 0 WHERE id = 5",
        "UPDATE t SET amount = 50 WHERE id = 5",
        "UPDATE t SET amount = 0 WHERE id = 6",
        "UPDATE t SET amount = 6 WHERE id = 6",
        "INSERT INTO t VALUES (12, 'came and went', 0)",
        "DELETE FROM t WHERE id = 12",
    ],
    ["DELETE FROM t WHERE id IN (1, 7)", "UPDATE t SET id = 88 WHERE id = 8"],
    [],
    [
        "INSERT INTO t VALUES (7, 'n7', 7), (1, 'other', NULL)",
        "UPDATE t SET name = NULL WHERE id = 2",
    ],
)


@pytest.fixture
def tcp_url() -> Iterator[str]:
    """A database that is reached as dlt wants to reach it."""
    with running_server("18", tcp=True) as server:
        server.create_database("beside")
        yield server.tcp_url("beside")


def test_the_same_changes_give_the_versions_that_dlt_gives(
    pair: Pair, tcp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    pipeline = dlt.pipeline(
        "beside",
        pipelines_dir=str(tmp_path),
        destination=dlt.destinations.postgres(tcp_url),
        dataset_name="its",
    )
    looks: list[datetime] = []
    for statements in ([*ROWS], *ROUNDS):
        if statements:
            pair.source(*statements)
        receipt = pair.sync(history=True, deletes="hard", max_delete_ratio=1.0)
        looks.append(datetime.fromisoformat(str(receipt.snapshot_at)))
        rows = [dict(row) for (row,) in pair.source("SELECT to_jsonb(t) FROM t")]
        resource = dlt.resource(
            rows,
            name="t",
            columns={"amount": {"data_type": "bigint"}},
            write_disposition={
                "disposition": "merge",
                "strategy": "scd2",
                "boundary_timestamp": looks[-1].isoformat(),
            },
        )
        pipeline.run(resource)
    ours = pair.target("SELECT id, name, amount, valid_from, valid_to FROM t_history")
    with pipeline.sql_client() as client:
        theirs = client.execute_sql(
            "SELECT id, name, amount, _dlt_valid_from, _dlt_valid_to FROM t"
        )
    assert versions(ours, looks) == versions(theirs, looks)
    assert len(ours) > len(rows) + 5


def versions(found: Any, looks: list[datetime]) -> list[tuple[Any, ...]]:
    """Each version with the looks that found it to begin and to be over, of which ours may say more exactly when."""

    def look(at: datetime | None) -> int | None:
        return None if at is None else bisect_left(looks, at)

    return sorted(
        ((*values, look(begun), look(ended)) for *values, begun, ended in found), key=repr
    )
