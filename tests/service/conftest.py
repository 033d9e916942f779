"""The clock of these tests, a watchdog for the time that it does not measure, and the cluster."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from service_cluster import BaseExceptionGroup, Cluster

ON_THREADS = (
    "test_service_background.py",
    "test_service_formation.py",
    "test_service_hosting.py",
    "test_service_reports.py",
    "test_service_stall.py",
    "test_service_threads.py",
)
"""The tests that always run on both drivers. Those of the thread run in real time, where a busy machine can break a
ring; ``--both-drivers`` runs the others on it as well."""
STEPS_MAX = 60_000
"""So many steps of tasks at one moment of the virtual clock: tasks only keep each other busy, and it stands still."""
WATCHDOG_S = 60.0
"""What the standstill does not catch is ended after so much real time."""
WATCHDOG_AGAIN_S = 5.0


class Standstill(trio.abc.Instrument):
    """Cancels a test whose clock does not go on."""

    def __init__(self, clock: trio.abc.Clock, scope: trio.CancelScope) -> None:
        self._clock = clock
        self._scope = scope
        self._now = 0.0
        self._steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        now = self._clock.current_time()
        if now != self._now:
            self._now = now
            self._steps = 0
        self._steps += 1
        if self._steps == STEPS_MAX:
            self._scope.cancel()


def run_on_mock_clock(
    test: Callable[[], Awaitable[Any]], *, clock: trio.abc.Clock | None, instruments: Sequence[trio.abc.Instrument]
) -> Any:
    """Time jumps to the next deadline as soon as every task waits; a lone error leaves the nurseries unwrapped."""
    __tracebackhide__ = True
    clock = clock or trio.testing.MockClock(autojump_threshold=0)
    scope = trio.CancelScope()

    async def guarded() -> Any:
        with scope:
            try:
                return await test()
            except BaseException:
                # What a cancelled test says then is not what matters.
                if not scope.cancel_called:
                    raise
        pytest.fail(f"tasks made {STEPS_MAX} steps and the clock stood still")

    with unwrapped():
        return trio.run(guarded, clock=clock, instruments=[*instruments, Standstill(clock, scope)])


def run_in_real_time(
    test: Callable[[], Awaitable[Any]], *, clock: trio.abc.Clock | None, instruments: Sequence[trio.abc.Instrument]
) -> Any:
    """For threads, which know no other time."""
    __tracebackhide__ = True
    with unwrapped():
        return trio.run(test, instruments=instruments)


@contextlib.contextmanager
def unwrapped() -> Iterator[None]:
    """A lone error leaves the nurseries without its groups."""
    __tracebackhide__ = True
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from error.__cause__


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = []
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("trio") is not None:
            callspec = getattr(item, "callspec", None)
            in_thread = callspec is not None and callspec.params.get("driver") == "thread"
            real = in_thread or item.get_closest_marker("real_time") is not None
            item.add_marker(pytest.mark.trio(run=run_in_real_time if real else run_on_mock_clock), append=False)
            if in_thread and item.path.name not in ON_THREADS and not config.getoption("--both-drivers"):
                left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    def bark(_number: int, _frame: Any) -> None:
        # Not an Exception, so that nothing that handles errors takes it for one of its own.
        pytest.fail(f"the test did not end within {WATCHDOG_S} s of real time; perhaps its clock stands still")

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, WATCHDOG_S, WATCHDOG_AGAIN_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["trio", "thread"])
def driver(request: pytest.FixtureRequest) -> str:
    """What drives the rings of a test: it has to hold for both."""
    return str(request.param)


@pytest.fixture
async def cluster(nursery: trio.Nursery, driver: str) -> AsyncIterator[Cluster]:
    """Programs on a loopback network; at the end they are stopped and judged."""
    made = Cluster(nursery, driver)
    yield made
    await made.close()
