"""Every decision of a run, from values alone."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone

import pytest

from sync_assets.engine import Deletes, RelationName, SyncMode, Table
from sync_assets.engine.errors import SourceBehind, SourceIdentityChanged
from sync_assets.engine.layout.layout import fit
from sync_assets.engine.plan.chunks import (
    LARGE_CHUNK,
    chunks,
    noted_chunks,
    useful_loaders,
    useful_workers,
)
from sync_assets.engine.plan.plan import Chunk, How, KeysByPage, KeySearch, LeafRead, Plan, Removal
from sync_assets.engine.plan.reads import Basis, configuration, known_leaf, plan_changes
from sync_assets.engine.postgres.relation import Column, Key, Leaf, Relation
from sync_assets.engine.postgres.xid import RING
from sync_assets.engine.snapshot.pages import PageRange
from sync_assets.engine.snapshot.snapshot import Snapshot, SourceIdentity, SourceRelation
from sync_assets.engine.state.state import State

NAME = RelationName("public", "orders")
STARTED = datetime(2026, 1, 1, tzinfo=timezone.utc)
COLUMN = Column(1, "id", "integer", 23, True, None, False, False)
KEY = Key(("id",), ("OPERATOR(pg_catalog.=)",), primary=True)
LEAF = Leaf(
    10,
    NAME,
    "r",
    "heap",
    100,
    0,
    False,
    True,
    "a",
    pages=1000,
    estimated_rows=50_000,
    bytes=8_192_000,
)
SOURCE = Relation(10, NAME, "r", False, True, (COLUMN,), (KEY,), (LEAF,), "columns")
TARGET = dataclasses.replace(SOURCE, oid=77)
IDENTITY = SourceIdentity("7000", 5, 1)
SNAPSHOT = Snapshot(1000, 1010, STARTED, 5000, STARTED, IDENTITY, 5000)
VIEW = SourceRelation(SOURCE, (COLUMN,), (), (), SNAPSHOT)
TABLE = Table(NAME, NAME)
KNOWN = State(
    version=3,
    watermark=900,
    snapshot_xmax=905,
    lsn=4000,
    source_max_xmin=899,
    system_identifier="7000",
    database=5,
    timeline=1,
    postmaster_start=STARTED,
    configuration=configuration(TABLE, VIEW, fit(TABLE, SOURCE, TARGET)),
    target_storage=TARGET.storage,
    rows_in_target=50_000,
    snapshot_at=STARTED,
    cursor_column=None,
    cursor_mark=None,
    samples=(),
    leaves=(known_leaf(LEAF),),
)


def planned(
    known: State | None = KNOWN,
    table: Table = TABLE,
    snapshot: Snapshot = SNAPSHOT,
    leaves: tuple[Leaf, ...] = (LEAF,),
    target: Relation | None = TARGET,
) -> Plan:
    relation = dataclasses.replace(SOURCE, leaves=leaves)
    view = SourceRelation(relation, (COLUMN,), (), (), snapshot)
    return plan_changes(Basis(table, view, fit(table, relation, target), known, target))


def identified(**changes: object) -> Snapshot:
    identity = dataclasses.replace(IDENTITY, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(SNAPSHOT, identity=identity)


def test_a_later_run_reads_from_the_stored_mark_to_the_snapshot_s_xmax() -> None:
    plan = planned()
    assert not plan.full
    assert (plan.window.start, plan.window.end) == (900, 1010)
    assert plan.reason == "changes since transaction 900"


def test_the_first_load_has_no_xid_predicate() -> None:
    plan = planned(known=None, target=None)
    assert plan.full
    assert plan.layout.creates
    assert all(read.how is How.WHOLE for read in plan.reads)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (None, "first run over a target that was there"),
        (dataclasses.replace(KNOWN, timeline=2), "timeline"),
        (dataclasses.replace(KNOWN, configuration="other"), "configuration"),
        (dataclasses.replace(KNOWN, target_storage="other"), "target table itself"),
        (dataclasses.replace(KNOWN, system_identifier=None), "identity"),
    ],
)
def test_a_mark_that_cannot_be_trusted_means_a_full_pass(known: State | None, said: str) -> None:
    plan = planned(known)
    assert plan.full
    assert said in plan.reason


def test_a_window_of_the_whole_ring_means_a_full_pass() -> None:
    far = dataclasses.replace(SNAPSHOT, xmin=KNOWN.watermark + RING, xmax=KNOWN.watermark + RING)
    assert "2^32" in planned(snapshot=far).reason


def test_full_refresh_and_full_sync_read_everything() -> None:
    assert planned(table=dataclasses.replace(TABLE, full_refresh=True)).full
    full = planned(table=dataclasses.replace(TABLE, mode=SyncMode.FULL_SYNC))
    assert full.full
    assert full.removal is Removal.DELETE


@pytest.mark.parametrize("change", [{"system_identifier": "7001"}, {"database": 6}])
def test_another_source_stops_the_run_until_it_is_accepted(change: dict[str, object]) -> None:
    with pytest.raises(SourceIdentityChanged):
        planned(snapshot=identified(**change))
    accepted = dataclasses.replace(TABLE, accept_source=True)
    assert planned(table=accepted, snapshot=identified(**change)).full


@pytest.mark.parametrize("change", [{"lsn": 3999}, {"xmax": 904, "xmin": 904}])
def test_a_source_that_went_back_in_time_is_not_read(change: dict[str, int]) -> None:
    with pytest.raises(SourceBehind):
        planned(snapshot=dataclasses.replace(SNAPSHOT, **change))  # type: ignore[arg-type]


def test_a_restored_source_that_is_accepted_is_read_whole() -> None:
    accepted = dataclasses.replace(TABLE, accept_source=True)
    earlier = dataclasses.replace(SNAPSHOT, lsn=1, timeline_as_of=1, xmin=10, xmax=10)
    assert planned(table=accepted, snapshot=earlier).full


def test_after_a_failover_an_earlier_position_is_a_full_pass_not_a_wait() -> None:
    behind = dataclasses.replace(identified(timeline=2), lsn=1, xmax=800, xmin=800)
    assert "timeline" in planned(snapshot=behind).reason


def test_a_standby_whose_timeline_is_known_only_up_to_an_old_checkpoint_waits() -> None:
    with pytest.raises(SourceBehind):
        planned(snapshot=dataclasses.replace(SNAPSHOT, timeline_as_of=3999))


def test_without_the_right_to_identify_the_source_every_run_is_full_unless_trusted() -> None:
    unknown = identified(system_identifier=None)
    known = dataclasses.replace(KNOWN, system_identifier=None)
    assert "pg_control_system" in planned(known, snapshot=unknown).reason
    trusting = dataclasses.replace(TABLE, trust_source_identity=True)
    assert not planned(known, trusting, snapshot=unknown).full


def test_a_new_leaf_is_read_whole_and_the_others_by_xid() -> None:
    attached = dataclasses.replace(LEAF, oid=11, name=RelationName("public", "orders_2"))
    plan = planned(leaves=(LEAF, attached))
    assert [read.how for read in plan.reads] == [How.XID, How.WHOLE]
    assert "public.orders_2 is new" in plan.reason


def test_an_unlogged_leaf_is_read_whole_after_a_restart() -> None:
    leaf = dataclasses.replace(LEAF, unlogged=True)
    later = dataclasses.replace(SNAPSHOT, postmaster_start=STARTED + timedelta(hours=1))
    assert planned(leaves=(leaf,)).reads[0].how is How.XID
    assert planned(leaves=(leaf,), snapshot=later).reads[0].how is How.WHOLE


@pytest.mark.parametrize("pages", [0, 1, 127, 128, 129, 1000, 100_000])
@pytest.mark.parametrize("workers", [1, 3, 8])
def test_chunks_cover_every_page_once_and_the_last_is_open(pages: int, workers: int) -> None:
    leaf = dataclasses.replace(LEAF, pages=pages, estimated_rows=pages * 100, bytes=pages * 8192)
    # Changes are mostly at the end, so that is where a run begins.
    cut = list(chunks([planned(leaves=(leaf,))], workers, 1000))[::-1]
    assert cut[0].first == 0
    assert [chunk.end for chunk in cut] == [chunk.first for chunk in cut[1:]] + [None]
    assert all((c.end or pages) - (c.first or 0) <= LARGE_CHUNK for c in cut)


def test_a_leaf_that_would_fill_the_cache_is_read_in_one_piece_and_one_that_fits_by_ranges() -> (
    None
):
    # A quarter of it is what PostgreSQL itself draws the line at.
    fits = dataclasses.replace(LEAF, pages=10_000, bytes=10_000 << 13, cache=40_000)
    large = dataclasses.replace(fits, oid=11, pages=10_001)
    known = dataclasses.replace(KNOWN, leaves=(known_leaf(fits), known_leaf(large)))
    deleting = dataclasses.replace(TABLE, deletes=Deletes.HARD)
    cut = list(chunks([planned(known, deleting, leaves=(fits, large))], 4, 1000))
    ranges = {leaf: [c for c in cut if c.leaf is leaf] for leaf in (fits, large)}
    assert {(c.first, c.end) for c in ranges[large]} == {(None, None)}
    assert [(c.keys_only, c.notes) for c in ranges[large]] == [(True, True)]
    assert len(ranges[fits]) > 4
    # One connection may read it; what it reads is worth several that load.
    assert useful_workers([ranges[large][0]]) == 1
    assert useful_loaders([ranges[large][0]]) == 4


def test_pages_on_which_keys_were_seen_to_change_are_read_by_themselves_unless_they_are_many() -> (
    None
):
    leaf = dataclasses.replace(LEAF, cache=6400)
    keys = Chunk(3, 0, leaf, How.WHOLE, 0, 512, keys_only=True, notes=True)
    (few,) = noted_chunks(keys, leaf, {7, 8, 300})
    assert (few.runs, few.first, few.how) == ((PageRange(7, 9), PageRange(300, 301)), None, How.XID)
    assert not few.keys_only
    scanned = dataclasses.replace(few, first=0, end=512, runs=())
    # More than the cache should take, and more ranges than a scan of all takes time.
    assert list(noted_chunks(keys, leaf, range(101))) == [scanned]
    assert list(noted_chunks(keys, leaf, range(0, 500, 15))) == [scanned]


def test_a_batch_file_holds_at_least_batch_size_rows() -> None:
    cut = list(chunks([planned()], 8, 25_000))
    assert all((chunk.end or LEAF.pages) - (chunk.first or 0) >= 500 for chunk in cut)


def test_nothing_is_read_where_no_transaction_has_ended_since_the_last_run() -> None:
    idle = dataclasses.replace(SNAPSHOT, xmin=KNOWN.watermark, xmax=KNOWN.watermark)
    known = dataclasses.replace(KNOWN, snapshot_xmax=KNOWN.watermark)
    assert list(chunks([planned(known, snapshot=idle)], 4, 1000)) == []
    deleting = dataclasses.replace(TABLE, deletes=Deletes.HARD)
    cut = list(chunks([planned(known, deleting, idle)], 4, 1000))
    assert {chunk.keys_only for chunk in cut} == {True}


def test_the_keys_of_a_leaf_whose_changed_pages_are_not_known_are_read_in_any_case() -> None:
    known = dataclasses.replace(KNOWN, snapshot_xmax=KNOWN.watermark)
    idle = dataclasses.replace(SNAPSHOT, xmin=KNOWN.watermark, xmax=KNOWN.watermark)
    other = dataclasses.replace(LEAF, oid=LEAF.oid + 1)
    plan = planned(known, dataclasses.replace(TABLE, deletes=Deletes.HARD), idle, (LEAF, other))
    mixed = dataclasses.replace(
        plan,
        keys=KeySearch(KeysByPage.USE),
        reads=(
            LeafRead(LEAF, How.BLOCKS, "", (PageRange(0, 1),)),
            LeafRead(other, How.XID, ""),
        ),
    )
    # Without them all keys that the map has of this leaf would look deleted.
    cut = [chunk for chunk in chunks([mixed], 4, 1000) if chunk.leaf is other]
    assert cut
    assert {chunk.keys_only for chunk in cut} == {True}


def test_wrong_statistics_do_not_make_one_chunk_of_a_large_table() -> None:
    leaf = dataclasses.replace(LEAF, pages=1_000_000, estimated_rows=10, bytes=8192 * 1_000_000)
    assert len(list(chunks([planned(leaves=(leaf,))], 4, 1000))) > 100


def test_rows_with_large_values_make_smaller_chunks() -> None:
    leaf = dataclasses.replace(LEAF, pages=20, estimated_rows=200, bytes=300 << 20)
    cut = list(chunks([planned(leaves=(leaf,))], 4, 1000))
    assert all((chunk.end or 20) - (chunk.first or 0) <= 5 for chunk in cut)
