"""Work is done ahead of the op it belongs to: so much at once, never too far, and once."""

import threading
from collections.abc import Mapping
from contextlib import ExitStack

from sync_assets.assets.ahead.begun import AHEAD, Ahead, Begun, Job
from sync_assets.assets.work import Done
from sync_assets.engine.errors import SchemaConflict, SyncError
from sync_assets_tests.fixtures.pair import eventually

NOTHING = Done([], [])


class Recorded:
    """Jobs that note when they begin, and end when they may."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = threading.Event()

    def job(self, name: str) -> Job:
        def work(begun: Mapping[str, Begun]) -> None:
            self.begun.append(name)
            assert self.may_end.wait(60)
            for each in begun.values():
                each.done.set_result(NOTHING)

        return work

    def jobs(self, count: int) -> list[tuple[list[str], Job]]:
        return [([name], self.job(name)) for name in map(str, range(count))]


def test_so_many_are_done_at_once_and_so_many_wait_for_their_turn() -> None:
    recorded = Recorded()
    ahead = Ahead(recorded.jobs(20), 2)
    assert recorded.begun == [], "nothing begins before the first op's turn"
    begun = ahead.take("0")
    assert begun is not None
    assert eventually(lambda: len(recorded.begun) == 2)
    recorded.may_end.set()
    assert begun.done.result(60) is NOTHING
    assert eventually(lambda: len(recorded.begun) == 3 + AHEAD)
    assert ahead.take("0") is None, "the second attempt is the op's own"
    assert ahead.take("1") is not None
    assert eventually(lambda: len(recorded.begun) == 4 + AHEAD)
    ahead.end()
    assert ahead.take("19") is None, "what has not begun by the end never does"
    assert len(recorded.begun) == 4 + AHEAD


def test_an_op_whose_turn_comes_before_others_has_its_work_begun_next() -> None:
    recorded = Recorded()
    recorded.may_end.set()
    ahead = Ahead(recorded.jobs(50), 1)
    for op in ("40", "0", "30", "49"):
        begun = ahead.take(op)
        assert begun is not None
        assert begun.done.result(60) is NOTHING
    assert recorded.begun[0] == "40"
    ahead.end()


def test_an_error_is_raised_where_the_result_is_asked_for_and_takes_no_other_along() -> None:
    def fails(_: Mapping[str, Begun]) -> None:
        raise SchemaConflict("it does not fit")

    recorded = Recorded()
    recorded.may_end.set()
    ahead = Ahead([(["bad"], fails), (["good"], recorded.job("good"))], 1)
    bad, good = ahead.take("bad"), ahead.take("good")
    assert bad is not None
    assert isinstance(bad.done.exception(60), SyncError)
    assert good is not None
    assert good.done.result(60) is NOTHING


def test_what_the_jobs_share_is_closed_when_nothing_is_left_to_do_taken_or_not() -> None:
    recorded, closed = Recorded(), threading.Event()
    recorded.may_end.set()
    ahead = Ahead(recorded.jobs(3), 1, kept := ExitStack())
    kept.callback(closed.set)
    assert ahead.take("0") is not None
    assert closed.wait(60)
    assert recorded.begun == ["0", "1", "2"]


def test_what_is_logged_before_there_is_an_op_comes_into_its_log() -> None:
    begun, lines = Begun(), list[str]()
    begun.log("lock")
    begun.log_into(lines.append)
    begun.log("export")
    assert lines == ["lock", "export"]
