"""Whatever stops a table from being synced is told once, at the table it stops, and so is its end."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from time import time
from typing import Any

import dagster as dg
import psycopg2
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus
from psycopg2.extensions import make_dsn, parse_dsn

from sync_assets.assets.lineage import looked_at
from sync_assets.config.model import TableSyncConfig
from sync_assets.engine.names import RelationName
from sync_assets.engine.postgres.lock import advisory_key
from sync_assets.hindrances import kinds
from sync_assets.hindrances.circumstances import Circumstances, Failure
from sync_assets.hindrances.kinds import HOUR, KINDS, PATIENCE
from sync_assets.hindrances.telling import Known, judge, lines
from sync_assets.launch.engines import kept_engines
from sync_assets_tests.fixtures.inbox import Inbox
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.switches import switched_off
from sync_assets_tests.fixtures.ticks import Ticks

TABLES: list[dict[str, Any]] = [
    {"source": "orders", "automation": "running", "freshness": "1 hour"},
    {"source": "items", "automation": "running", "snapshot_group": "shop"},
    {"source": "events", "automation": "running", "snapshot_group": "shop"},
]
ATTRIBUTES: dict[str, Any] = {"alerts": {"webhook": True}, "tables": TABLES}
EVERY = ["orders", "items", "events"]
NOTHING = "Nothing is in the way of a sync."


class Clock:
    """The sensors' clock, which stands until it is moved."""

    def __init__(self) -> None:
        self.now = time()

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    """A component whose tables are in step, and what a case does to it."""

    ticks: Ticks
    pair: Pair
    inbox: Inbox
    clock: Clock
    monkeypatch: pytest.MonkeyPatch
    role: str

    def look(self, times: int = 3) -> str:
        """The hindrance sensor, a minute between two looks; what the last one says."""
        said = ""
        for _ in range(times):
            said = self.ticks.evaluate("_hindrances").skip_message or ""
            self.clock.now += 60
        return said

    def run(self) -> bool:
        """A run of all tables, and what the failure sensor says of it."""
        result = self.ticks.run()
        if not result.success:
            self.ticks.tell_of(result.dagster_run)
        return result.success

    @property
    def told(self) -> list[str]:
        return [post["text"] for post in self.inbox.posts]

    def observed(self) -> dict[str, list[str]]:
        """The kinds that the tables' pages tell of."""
        found = {}
        for name in EVERY:
            key = dg.AssetKey(["target", "public", name])
            records = self.ticks.instance.fetch_observations(key, limit=20).records
            events = [each.asset_observation for each in records]
            kinds = [each.metadata.get("sync/hindrance") for each in events if each]
            found[name] = [str(kind.value) for kind in kinds if kind]
        return {name: kinds for name, kinds in found.items() if kinds}


@pytest.fixture
def stage(pair: Pair, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("SYNC_ALERT_WEBHOOK", inbox.webhook)
    clock = Clock()
    for sensor in ("hindrance_sensor", "alert_sensors"):
        monkeypatch.setattr(f"sync_assets.automation.{sensor}.clock", clock)
    for name in EVERY:
        pair.source(f"CREATE TABLE {name} (id int PRIMARY KEY)", f"INSERT INTO {name} VALUES (1)")
    role = f"reader_of_{parse_dsn(pair.source_url)['dbname']}"
    grant = f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    pair.source(f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role} LOGIN", grant)
    url = make_dsn(pair.source_url, user=role)
    with kept_engines(), dg.instance_for_test() as instance:
        ticks = Ticks(instance, url, pair.target_url, ATTRIBUTES)
        assert ticks.run().success
        made = Stage(ticks, pair, inbox, clock, monkeypatch, role)
        assert made.look() == NOTHING
        yield made
    pair.source(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


Case = Callable[[Stage], AbstractContextManager[None]]


@contextmanager
def _between(place: Callable[..., Any], first: str, *mend: str) -> Iterator[None]:
    place(first)
    yield
    place(*mend)


@contextmanager
def _patched(stage: Stage, name: str, value: Any) -> Iterator[None]:
    with stage.monkeypatch.context() as patch:
        patch.setattr(kinds, name, value)
        yield


def table_gone(stage: Stage) -> AbstractContextManager[None]:
    again = f"CREATE TABLE orders (id int PRIMARY KEY); GRANT SELECT ON orders TO {stage.role}"
    return _between(stage.pair.source, "DROP TABLE orders", again)


def member_gone(stage: Stage) -> AbstractContextManager[None]:
    again = f"CREATE TABLE items (id int PRIMARY KEY); GRANT SELECT ON items TO {stage.role}"
    return _between(stage.pair.source, "DROP TABLE items", again)


def role_refused(stage: Stage) -> AbstractContextManager[None]:
    alter = f"ALTER ROLE {stage.role}"
    return _between(stage.pair.source, f"{alter} NOLOGIN", f"{alter} LOGIN")


def right_revoked(stage: Stage) -> AbstractContextManager[None]:
    return _between(
        stage.pair.source,
        f"REVOKE SELECT ON orders FROM {stage.role}",
        f"GRANT SELECT ON orders TO {stage.role}",
    )


@contextmanager
def source_away(stage: Stage) -> Iterator[None]:
    url, stage.ticks.source_url = stage.ticks.source_url, "host=127.0.0.1 port=1 dbname=x"
    yield
    stage.ticks.source_url = url


@contextmanager
def sensor_off(stage: Stage) -> Iterator[None]:
    name = next(s.name for s in stage.ticks.definitions.sensors or () if "_changes" in s.name)
    state = switched_off(stage.ticks.instance, name)
    yield
    stage.ticks.instance.update_instigator_state(state.with_status(InstigatorStatus.RUNNING))


def not_synced_for_long(stage: Stage) -> AbstractContextManager[None]:
    set_to = "UPDATE sync_assets.state SET synced_at = clock_timestamp()"
    return _between(
        stage.pair.target, f"{set_to} - interval '2 hours' WHERE target_table = 'orders'", set_to
    )


@contextmanager
def open_transaction(stage: Stage) -> Iterator[None]:
    with closing(psycopg2.connect(stage.pair.source_url)) as its:
        its.cursor().execute("SELECT pg_current_xact_id()")
        stage.pair.source("SELECT pg_current_xact_id()")
        yield


def old_rows(stage: Stage) -> AbstractContextManager[None]:
    return _patched(stage, "NEAR_THE_WRAP", 1)


def little_room(stage: Stage) -> AbstractContextManager[None]:
    return _patched(stage, "ROOM", 1 << 62)


@contextmanager
def strange_lock(stage: Stage, table: str = "orders") -> Iterator[None]:
    key = advisory_key(RelationName("public", table))
    url = make_dsn(stage.pair.target_url, application_name="somebody")
    with closing(psycopg2.connect(url)) as session:
        session.cursor().execute(f"SELECT pg_advisory_lock({key})")
        yield


@contextmanager
def no_place(stage: Stage) -> Iterator[None]:
    storage = stage.ticks.instance.event_log_storage
    storage.set_concurrency_slots("sync_source", 0)
    yield
    storage.set_concurrency_slots("sync_source", 4)


@contextmanager
def silent_session(stage: Stage) -> Iterator[None]:
    key = advisory_key(RelationName("public", "orders"))
    url = make_dsn(stage.pair.target_url, application_name="sync_assets")
    with _patched(stage, "SILENCE", 0.0), closing(psycopg2.connect(url)) as session:
        session.cursor().execute(f"SELECT pg_advisory_lock({key})")
        yield


CASES: list[tuple[str, Any, list[str], str]] = [
    ("table_gone", table_gone, ["orders"], "NoSuchRelation: the source has no table public.orders"),
    ("refused", role_refused, EVERY, "is not permitted to log in"),
    ("refused", right_revoked, ["orders"], "PrivilegeError: the role"),
    ("unreachable", source_away, EVERY, "ConnectionLost: cannot connect to the source"),
    ("group_blocked", member_gone, ["events"], "its group shop waits for public.items"),
    ("switched_off", sensor_off, EVERY, "sync_changes is switched off"),
    ("too_old", not_synced_for_long, ["orders"], "freshness allows 1 h"),
    ("mark_held", open_transaction, EVERY, "holds the watermark back"),
    ("near_the_wrap", old_rows, EVERY, "PostgreSQL stops writing"),
    ("disk_full", little_room, EVERY, "are free for batch files in"),
    ("pool_full", no_place, EVERY, "its pool sync_source lets no step begin"),
    ("hung", silent_session, ["orders"], "and of no run here: server process"),
    ("locked", strange_lock, ["orders"], "somebody, from"),
]

FROM_OUTSIDE = {"daemon_down", "unwatched", "versions_differ", "homes_differ", "home_broken"}
"""What a sensor cannot see: the cases of `doctor` have those, and dead runs, which a look ends."""


@pytest.mark.parametrize(
    ("kind", "case", "tables", "said"), CASES, ids=[case.__name__ for _, case, *_ in CASES]
)
def test_a_hindrance_is_told_once_and_so_is_its_end(
    stage: Stage, kind: str, case: Case, tables: list[str], said: str
) -> None:
    after = next(each.after for each in KINDS if each.name == kind)
    with case(stage):
        if after:
            stage.look()
            assert stage.told == [], "it may be over before anybody has read of it"
            stage.clock.now += after
        assert said in stage.look()
        (told,) = stage.told
        names = ", ".join(f"public.{each}" for each in tables)
        assert [
            line for line in told.splitlines() if line.startswith(f"{names}: ") and said in line
        ]
        assert {name for name, kinds in stage.observed().items() if kind in kinds} == set(tables)
        stage.clock.now += HOUR
        stage.look()
        assert [said in each and "still, since" in each for each in stage.told] == [False, True]
    assert stage.look() == NOTHING
    *_, over = stage.told
    assert len(stage.told) == 3
    assert f"{names}: over: " in over
    assert said in over
    assert re.search(r"\. It lasted \d+ h", over)
    stage.clock.now += 48 * HOUR
    assert stage.look() == NOTHING
    assert len(stage.told) == 3


def test_there_is_a_case_of_every_kind() -> None:
    of_others = FROM_OUTSIDE | {"failed", "run_dead"}
    assert {kind for kind, *_ in CASES} | of_others == {each.name for each in KINDS}


def test_a_table_of_which_one_error_is_two_kinds_is_named_once() -> None:
    known = Known("the source has no table t", "Check its name.", 0.0)
    told = {("t", "table_gone", ""): known, ("t", "failed", ""): known, ("u", "failed", ""): known}
    assert lines(told.items()) == ["t, u: the source has no table t. Check its name."]


def test_what_comes_and_goes_is_not_told_each_time(stage: Stage) -> None:
    for _ in range(20):
        with table_gone(stage):
            stage.look(1)
        stage.look(1)
    assert ["over" in each for each in stage.told] == [False, True], "twenty times in forty minutes"


def test_while_an_end_is_away_what_it_said_is_neither_over_nor_new(stage: Stage) -> None:
    with table_gone(stage):
        stage.look()
        with source_away(stage):
            stage.look()
        stage.look()
        assert len(stage.told) == 1


def test_a_message_that_did_not_arrive_is_sent_by_the_next_look(stage: Stage) -> None:
    stage.monkeypatch.setattr("sync_assets.automation.alerts.PAUSES", (0.0,))
    with table_gone(stage):
        stage.inbox.status = 503
        with pytest.raises(Exception, match="the server answered 503"):
            stage.look(1)
        stage.inbox.status = 200
        stage.look()
    assert (stage.inbox.refused, len(stage.told)) == (1, 1)


def test_a_table_that_was_never_synced_gets_the_time_that_it_may_be_old(stage: Stage) -> None:
    stage.pair.target("DELETE FROM sync_assets.state WHERE target_table = 'orders'")
    stage.look()
    assert stage.told == []
    stage.clock.now += HOUR
    stage.look()
    (told,) = stage.told
    assert "public.orders: since " in told
    assert "UTC: was never synced; its freshness allows 1 h" in told


def test_a_table_that_was_looked_at_and_is_idle_is_not_too_old(stage: Stage) -> None:
    with not_synced_for_long(stage):
        key = dg.AssetKey(["target", "public", "orders"])
        look = looked_at(key, dg.AssetMaterialization(key))
        stage.ticks.instance.report_runless_asset_event(look)
        assert stage.look() == NOTHING
    assert stage.told == []


def test_a_freshness_shorter_than_the_schedule_is_not_told_between_two_of_its_times(
    stage: Stage,
) -> None:
    hasty = [{"source": "orders", "schedule": "0 */6 * * *", "freshness": "2 minutes"}]
    stage.ticks.attributes = {**stage.ticks.attributes, "tables": hasty}
    set_to = "UPDATE sync_assets.state SET synced_at = clock_timestamp() - interval"
    stage.pair.target(f"{set_to} '6 hours'")
    assert stage.look() == NOTHING
    stage.pair.target(f"{set_to} '7 hours'")
    assert "its freshness allows 2 min, which its schedule did not keep either" in stage.look()


def test_what_has_lasted_before_it_is_told_says_since_when(stage: Stage) -> None:
    with source_away(stage):
        begun = stage.clock.now
        stage.look()
        stage.clock.now += PATIENCE
        stage.look()
    (told, *_) = stage.told
    assert f": since {datetime.fromtimestamp(begun, timezone.utc):%Y-%m-%d %H:%M} UTC: Conn" in told


def test_the_change_sensor_s_skip_names_what_is_in_the_way(stage: Stage) -> None:
    with table_gone(stage), strange_lock(stage):
        said = stage.ticks.evaluate("_changes").skip_message or ""
        assert "public.orders: NoSuchRelation: the source has no table public.orders." in said
        assert "somebody" not in said, "it was not told yet"
        stage.look(1)
        stage.clock.now += HOUR
        stage.look(1)
        assert "somebody" in (stage.ticks.evaluate("_changes").skip_message or "")


def test_a_group_gives_a_stranger_s_lock_as_long_as_its_member_does(stage: Stage) -> None:
    with strange_lock(stage, "items"):
        stage.look()
        assert stage.told == []
        stage.clock.now += HOUR
        stage.look()
        (told,) = stage.told
        assert "public.events: since " in told
        assert "UTC: its group shop waits for public.items: its lock on" in told


def test_without_alerts_it_is_still_told_on_the_pages_and_in_its_skip(stage: Stage) -> None:
    stage.ticks.attributes = {"tables": TABLES}
    with table_gone(stage):
        assert "NoSuchRelation" in stage.look()
    assert stage.look() == NOTHING
    assert stage.observed() == {"orders": ["table_gone"] * 2}, "that it is, and that it is over"
    assert stage.told == []


def test_an_error_that_a_run_meets_and_a_look_finds_is_told_once_and_its_end_when_it_is_synced(
    stage: Stage,
) -> None:
    with table_gone(stage):
        assert not stage.run()
        (told,) = stage.told
        assert "public.orders: NoSuchRelation: the source has no table public.orders." in told
        stage.look()
        assert not stage.run()
        assert len(stage.told) == 1
        stage.clock.now += HOUR
        assert not stage.run()
        stage.look()
        assert ["still, since" in each for each in stage.told] == [False, True]
    stage.look()
    assert len(stage.told) == 2, "it is there again, and not in step yet"
    assert stage.run()
    assert stage.look() == NOTHING
    *_, over = stage.told
    assert len(stage.told) == 3
    assert over.count("public.orders: over: NoSuchRelation") == 1


def test_nor_does_a_run_tell_again_what_a_look_has_told(stage: Stage) -> None:
    with table_gone(stage):
        stage.look()
        assert not stage.run()
        stage.look()
        assert len(stage.told) == 1


def test_another_error_of_the_same_table_is_told_at_once(stage: Stage) -> None:
    stage.pair.target("ALTER TABLE orders ADD CONSTRAINT small CHECK (id < 100)")
    stage.pair.source("INSERT INTO orders VALUES (100)")
    for _ in range(3):
        assert not stage.run()
    (told,) = stage.told
    assert "public.orders: SchemaConflict" in told
    with table_gone(stage):
        assert not stage.run()
        assert "public.orders: NoSuchRelation" in stage.told[-1]
        assert len(stage.told) == 2
    stage.pair.target("ALTER TABLE orders DROP CONSTRAINT small")


def test_an_error_of_the_other_end_is_told_though_the_first_end_s_was(stage: Stage) -> None:
    with role_refused(stage):
        assert not stage.run()
    assert stage.run()
    stage.look()
    before = len(stage.told)
    url = stage.ticks.target_url
    stage.ticks.target_url = url.replace("postgres@", "nobody@")
    stage.look()
    assert ["the target" in each for each in stage.told[before:]] == [True]
    stage.ticks.target_url = url
    stage.look()
    assert "over: ConnectionFailed" in stage.told[-1]
    assert "the target" in stage.told[-1]


def test_what_a_run_fails_with_stands_until_the_table_is_synced(stage: Stage) -> None:
    with table_gone(stage):
        assert not stage.run()
    assert "public.orders: NoSuchRelation" in stage.look()
    assert stage.run()
    assert stage.look() == NOTHING


@pytest.mark.parametrize("kind", [each.name for each in KINDS if each.name != "failed"])
def test_whoever_tells_of_a_failed_run_ends_nothing_that_it_did_not_look_at(kind: str) -> None:
    [synced] = TableSyncConfig.model_validate({"tables": [{"source": "t"}]}).synced_tables("g")
    place = ("public.t", kind, "source" if kind == "unreachable" else "")
    stands = {place: Known("0 MB are free", "Free some.", 1.0, times=1, told=1.0)}
    failed = {synced.table.target: Failure("OutOfSpace", "OutOfSpace: no space", "Free some.", 2.0)}
    judged = judge(Circumstances([synced], failures=failed), stands, 3.0)
    assert judged.over == {}
    assert judged.memory[place] == stands[place]
