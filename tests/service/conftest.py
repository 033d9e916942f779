"""The clock of these tests, a watchdog for the time that it does not measure, and the cluster."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from service_cluster import BaseExceptionGroup, Cluster

WATCHDOG_S = 60.0
"""Virtual time stands still while tasks only keep each other busy; then this ends the test."""


def run_on_mock_clock(
    test: Callable[[], Awaitable[Any]], *, clock: trio.abc.Clock | None, instruments: Sequence[trio.abc.Instrument]
) -> Any:
    """Time jumps to the next deadline as soon as every task waits; a lone error leaves the nurseries unwrapped."""
    __tracebackhide__ = True
    try:
        return trio.run(test, clock=clock or trio.testing.MockClock(autojump_threshold=0), instruments=instruments)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from error.__cause__


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("trio") is not None:
            item.add_marker(pytest.mark.trio(run=run_on_mock_clock), append=False)


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    def bark(_number: int, _frame: Any) -> None:
        raise AssertionError(f"the test did not end within {WATCHDOG_S} s of real time; its clock stands still")

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, WATCHDOG_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
async def cluster(nursery: trio.Nursery) -> AsyncIterator[Cluster]:
    """Programs on a loopback network; at the end they are stopped and judged."""
    made = Cluster(nursery)
    yield made
    await made.close()
