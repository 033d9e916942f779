"""Two living processes with one node id, on a network on which all hear all (departure 21)."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from ringproto._core import Processor
from ringproto.config import Config
from ringproto.errors import DuplicateNodeError
from ringproto.events import RegularConfiguration

CONFIG = Config.testing()


class Hub:
    """Processors that share one network, by a key each, since two may have one id; on a clock moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.processors: dict[str, Processor] = {}
        self.queue: deque[tuple[str, bytes]] = deque()
        self.warned: dict[str, list[str]] = {}
        """The kinds of what each has noticed."""
        self.paused: set[str] = set()
        self.waiting: list[tuple[str, bytes]] = []
        """What came for those who are paused."""

    def start(self, key: str, node: int, **arguments: Any) -> Processor:
        seed = key.encode().ljust(16, b".")
        processor = Processor(node, CONFIG, datagram_size=1400, seed=seed, now=self.now, **arguments)
        self.processors[key] = processor
        return processor

    def kill(self, key: str) -> None:
        del self.processors[key]

    def step(self) -> None:
        for key, processor in self.processors.items():
            if key not in self.paused and processor.wants_turn:
                self.turn(key)
        self.now += 0.000_02
        if self.queue:
            key, datagram = self.queue.popleft()
            if key in self.paused:
                self.waiting.append((key, datagram))
            elif key in self.processors:
                self.turn(key, datagram)
            return
        living = [key for key, one in self.processors.items() if not one.left and key not in self.paused]
        self.now = max(self.now, min(self.processors[key].next_timeout for key in living))
        for key in living:
            self.turn(key)

    def turn(self, key: str, *datagrams: bytes) -> None:
        """One has a turn; what it sends is on its way then."""
        processor = self.processors[key]
        ready = processor.turn(datagrams, self.now)
        for destination, datagram in ready.transmits:
            for other, its in self.processors.items():
                if other != key and destination in (0, its.node):
                    self.queue.append((other, datagram))
        self.warned.setdefault(key, []).extend(notice.kind for notice in ready.notices)
        for change in ready.changes:
            if isinstance(change.event, RegularConfiguration):
                processor.unblock(change.event.ring_id, self.now)
        processor.take_events(1000)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.step()

    def pause(self, key: str, seconds: float) -> None:
        """Stop one for this time, while the others go on; it reads what came meanwhile afterwards."""
        self.paused.add(key)
        self.run(seconds)
        self.paused.discard(key)
        self.queue.extendleft(reversed(self.waiting))
        self.waiting.clear()

    def members(self, key: str) -> tuple[int, ...]:
        return self.processors[key].configuration.members


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    for node in (1, 2, 3):
        hub.start(f"original {node}", node)
    hub.run(1.0)
    assert all(hub.members(f"original {node}") == (1, 2, 3) for node in (1, 2, 3))
    return hub


def configurations(hub: Hub) -> list[object]:
    return [hub.processors[f"original {node}"].configuration.ring_id for node in (1, 2, 3)]


def test_later_process_with_an_id_of_the_ring_leaves_and_the_ring_stays(hub: Hub) -> None:
    before = configurations(hub)
    clone = hub.start("clone", 3)
    hub.run(3.0)
    assert configurations(hub) == before, "the ring keeps its configuration"
    assert clone.left and isinstance(clone.failure, DuplicateNodeError)
    assert "node id 3" in str(clone.failure)
    assert "duplicate_id" in hub.warned["original 3"]


def test_ring_stays_when_the_later_process_speaks_while_the_first_one_stands_still(hub: Hub) -> None:
    """For less than the patience with it, and less than the token timeout."""
    before = configurations(hub)
    clone = hub.start("clone", 3)
    hub.pause("original 3", 2 * CONFIG.join_timeout_s)
    assert not clone.left, "nobody has told it yet"
    hub.run(3.0)
    assert configurations(hub) == before, "the ring keeps its configuration"
    assert clone.left and isinstance(clone.failure, DuplicateNodeError)


def test_process_that_takes_the_place_of_one_that_died_is_welcome(hub: Hub) -> None:
    hub.kill("original 3")
    again = hub.start("again", 3)
    hub.run(2.0)
    assert again.configuration.members == (1, 2, 3) and again.failure is None
    assert hub.members("original 1") == (1, 2, 3)


def test_process_whose_place_is_taken_while_it_is_dead_comes_within_the_patience(hub: Hub) -> None:
    """The others have not noticed yet that the old one died: they ask it, and it does not answer."""
    hub.run(0.1)
    hub.kill("original 3")
    hub.start("again", 3)
    began = hub.now
    while hub.members("original 1") != (1, 2, 3) or hub.members("again") != (1, 2, 3):
        hub.step()
        assert hub.now - began < 2 * (CONFIG.token_timeout_s + CONFIG.consensus_timeout_s)


def test_of_two_that_start_together_one_stays() -> None:
    hub = Hub()
    hub.start("one", 3)
    hub.start("two", 3)
    hub.start("other", 1)
    hub.run(3.0)
    left = [key for key in ("one", "two") if hub.processors[key].left]
    assert len(left) == 1
    stays = "two" if left == ["one"] else "one"
    assert hub.members(stays) == hub.members("other") == (1, 3)


def test_late_copies_of_an_earlier_life_of_my_own_harm_nobody() -> None:
    hub = Hub()
    first = hub.start("first", 3)
    copies = [datagram for _, datagram in first.turn([], hub.now).transmits]
    hub.kill("first")
    second = hub.start("second", 3)
    hub.run(0.5)
    for datagram in copies * 20:
        hub.turn("second", datagram)
        hub.run(0.01)
    assert not second.left and second.failure is None
