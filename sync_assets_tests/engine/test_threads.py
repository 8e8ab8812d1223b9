"""What crosses from one thread to another: first errors, cancels and interrupts."""

from __future__ import annotations

import contextvars
import threading

import pytest

from sync_assets.engine.threads import TaskGroup, in_thread

ASKED_FOR = contextvars.ContextVar("ASKED_FOR", default="nothing")


class Server:
    """Statements that run until they are cancelled; a cancel that comes too early has no effect."""

    def __init__(self, deaf: int = 0) -> None:
        self.deaf, self.cancels = deaf, 0
        self.running, self._cancelled = threading.Event(), threading.Event()

    def cancel(self) -> None:
        self.cancels += 1
        if self.cancels > self.deaf:
            self._cancelled.set()

    def statement(self) -> None:
        self.running.set()
        self._cancelled.wait()
        raise TimeoutError("canceling statement due to user request")


def fail() -> None:
    raise ValueError("the first")


def test_a_result_comes_back_from_a_thread_with_the_context_of_its_starter() -> None:
    ASKED_FOR.set("rows")
    assert in_thread(ASKED_FOR.get, "asking").result() == "rows"


def test_an_error_is_raised_where_the_result_is_asked_for() -> None:
    failed = in_thread(fail, "failing")
    with pytest.raises(ValueError, match="the first"):
        failed.result()


def test_a_group_waits_for_all() -> None:
    done: list[int] = []
    with TaskGroup(lambda: None) as group:
        for number in range(5):
            group.start(lambda number=number: done.append(number))  # type: ignore[misc]
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert not group.stopped.is_set()


def test_the_first_error_cancels_the_others_until_they_have_ended() -> None:
    server = Server(deaf=1)
    group = TaskGroup(server.cancel)

    def work() -> None:
        with group:
            group.start(server.statement)
            server.running.wait()
            group.start(fail)

    with pytest.raises(ValueError, match="the first"):
        work()
    assert group.stopped.is_set()
    assert server.cancels > server.deaf


def test_the_first_error_wakes_a_block_that_waits_for_the_threads() -> None:
    woken = threading.Event()

    def work() -> None:
        with TaskGroup(woken.set) as group:
            group.start(fail)
            woken.wait()

    with pytest.raises(ValueError, match="the first"):
        work()


def test_an_error_in_the_block_cancels_the_threads() -> None:
    server = Server()

    def work() -> None:
        with TaskGroup(server.cancel) as group:
            group.start(server.statement)
            server.running.wait()
            fail()

    with pytest.raises(ValueError, match="the first"):
        work()


def test_what_an_error_sets_off_in_the_block_neither_hides_it_nor_is_chained_to_it() -> None:
    def work() -> None:
        with TaskGroup(lambda: None) as group:
            group.start(fail)
            group.stopped.wait()
            raise TimeoutError("a row's values")

    with pytest.raises(ValueError, match="the first") as raised:
        work()
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_of_the_block_passes(interrupt: type[BaseException]) -> None:
    server = Server()

    def work() -> None:
        with TaskGroup(server.cancel) as group:
            group.start(fail)
            group.stopped.wait()
            group.start(server.statement)
            raise interrupt

    with pytest.raises(interrupt):
        work()


def test_a_group_that_is_given_up_from_outside_raises_why() -> None:
    server = Server()

    def work() -> None:
        with TaskGroup(server.cancel) as group:
            group.start(server.statement)
            server.running.wait()
            group.fail(ValueError("given up"))

    with pytest.raises(ValueError, match="given up"):
        work()
