"""How the drivers share the core between two threads: the lock, and the word that the other one is to look.

Two threads meet in the core for microseconds, so a test that lets them run finds a missing lock once in a day. Here the
core itself looks at the lock whenever it is called.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio

from ringproto import Config, Guarantee, Priority
from ringproto._core import Batch, Processor, Ready
from ringproto._service.driver import Driver, Listener
from ringproto._service.thread_driver import ThreadDriver

_NEED_NO_LOCK = {"check_payload", "check_batch"}
"""What reads nothing that the other thread changes."""
_PROPERTIES = {"configuration", "waiting_for", "complete", "wants_turn"}
"""What is read with the lock: it is of several parts."""


class WatchedCore:
    """A processor that notes every call of it while nobody holds the lock."""

    def __init__(self) -> None:
        self.core = Processor(1, Config.testing(), datagram_size=1400, seed=bytes(16), now=time.monotonic())
        self.driver: Driver
        self.calls: list[str] = []
        self.unlocked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.core, name)
        if name in _PROPERTIES:
            self._note(name)
        if not callable(value) or name in _NEED_NO_LOCK:
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            self._note(name)
            return value(*arguments, **options)

        return call

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if not self.driver._lock.locked():
            self.unlocked.append(name)


class QuietNetwork:
    """A transport for a thread on which nothing comes, and which counts how often it is interrupted."""

    node = 1
    datagram_size_max = 1400

    def __init__(self) -> None:
        self.interrupts = 0
        self.sent: list[tuple[int, bytes]] = []

    def begin_blocking(self) -> None:
        """Nothing to do."""

    def send_blocking(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        self.sent += transmits

    def receive_blocking(self, timeout_s: float) -> list[bytes]:
        return []

    def interrupt(self) -> None:
        self.interrupts += 1

    def statistics(self) -> dict[str, int]:
        return {}


def thread_driver(core: Any, network: QuietNetwork) -> ThreadDriver:
    driver = ThreadDriver(network, time.monotonic, core, unblocks=False)  # type: ignore[arg-type]
    driver.listen(Listener(lambda change: None, lambda: None, lambda failure: None))
    return driver


CALLS: dict[str, Callable[[Driver], object]] = {
    "submit": lambda driver: driver.submit(b"1", Priority.HIGH, Guarantee.AGREED),
    "submit_batch": lambda driver: submit_two(driver),
    "submit_recovery": lambda driver: driver.submit_recovery(ring_of(driver), b"1", Guarantee.AGREED),
    "take_events": lambda driver: driver.take_events(1),
    "drop_events": lambda driver: driver.drop_events(1),
    "unblock": lambda driver: driver.unblock(ring_of(driver)),
    "leave": lambda driver: driver.leave(drain=True),
    "settle": lambda driver: driver.settle(),
    "statistics": lambda driver: driver.statistics(),
    "configuration": lambda driver: driver.configuration,
    "waiting_for": lambda driver: driver.waiting_for,
    "complete": lambda driver: driver.complete,
}


def submit_two(driver: Driver) -> None:
    batch = Batch([b"1", b"2"])
    driver.check_batch(batch)
    driver.submit_batch(batch, 0, Priority.LOW, Guarantee.AGREED)


def ring_of(driver: Driver) -> Any:
    return driver.configuration.ring_id


@pytest.mark.real_time
@pytest.mark.parametrize("call", CALLS)
async def test_the_core_is_called_with_the_lock_held(call: str) -> None:
    core = WatchedCore()
    driver = core.driver = thread_driver(core, QuietNetwork())
    CALLS[call](driver)
    assert core.calls and core.unlocked == []
    assert not driver._lock.locked()
    await trio.lowlevel.checkpoint()


@pytest.mark.real_time
async def test_the_thread_calls_the_core_with_the_lock_held_and_sends_without_it() -> None:
    core, network = WatchedCore(), QuietNetwork()
    driver = core.driver = thread_driver(core, network)
    driver.stop()
    held: list[bool] = []
    network.send_blocking = lambda transmits: held.append(driver._lock.locked())  # type: ignore[method-assign]
    core.core.submit(b"1", Priority.HIGH, Guarantee.AGREED)
    await trio.to_thread.run_sync(driver._turn)
    assert "turn" in core.calls and core.unlocked == []
    assert not any(held)


class Wanting(WatchedCore):
    """A core that wants a turn when the test says so, and has nothing to do else."""

    left = False
    wants_turn = False

    def turn(self, batch: list[bytes], now: float) -> Ready:
        self.wants_turn = False
        return Ready([], False, [], [], 0, False, math.inf)


@pytest.mark.real_time
async def test_the_thread_is_told_to_look_once_for_each_time_that_it_looks() -> None:
    core, network = Wanting(), QuietNetwork()
    driver = core.driver = thread_driver(core, network)
    passes = 0

    def receive(timeout_s: float) -> list[bytes]:
        """Between two passes of the thread, which waits here."""
        nonlocal passes
        passes += 1
        driver.settle()
        assert network.interrupts == passes - 1, "nothing is to be done, and the thread is left alone"
        core.wants_turn = True
        driver.settle()
        driver.settle()
        assert network.interrupts == passes
        driver._stopping = passes == 3
        return []

    network.receive_blocking = receive  # type: ignore[method-assign]
    driver._turn()
    assert passes == 3
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("due_s", [1.0, 10.0])
async def test_turn_that_another_turn_causes_waits_for_a_look_at_the_network_while_a_timer_is_overdue(
    due_s: float,
) -> None:
    """The thread stood still for five seconds in a turn that causes another: what came meanwhile was not read yet."""
    clock_s = 0.0
    turns: list[str] = []

    class Causing(Wanting):
        def turn(self, batch: list[bytes], now: float) -> Ready:
            nonlocal clock_s
            turns.append("read" if batch else "wanted" if self.wants_turn else "begun")
            self.wants_turn = not turns[1:]
            clock_s = 5.0
            return Ready([], False, [], [], 0, turns[-1] == "read", due_s)

    def receive(timeout_s: float) -> list[bytes]:
        turns.append("waited" if timeout_s > 0.0 else "looked")
        return [b"datagram"]

    network = QuietNetwork()
    network.receive_blocking = receive  # type: ignore[method-assign]
    core = Causing()
    driver = core.driver = ThreadDriver(network, lambda: clock_s, core, unblocks=False)  # type: ignore[arg-type]
    driver.listen(Listener(lambda change: None, lambda: None, lambda failure: None))
    driver._turn()
    if due_s < clock_s:
        assert turns == ["begun", "looked", "read"]
    else:
        assert turns == ["begun", "wanted", "waited", "read"]
    await trio.lowlevel.checkpoint()
