"""Three processors on a stage, and the scenes at which fuzzing comes in: one for each state that matters.

No simulator: a scene must be there in a tenth of a millisecond, so it is played once, pickled, and taken out again for
every input. The processors are small, so that a few datagrams reach their bounds. One of them, the target, is attacked;
the other two are honest, and go on living while it is.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections import deque
from collections.abc import Callable

from ringproto import Config, Guarantee, Priority, RegularConfiguration
from ringproto._core import Processor, Ready

CONFIG = Config.testing(
    quorum=2,
    members_max=6,
    message_size_max=2000,
    window_size=4,
    visit_max=2,
    retransmits_max=4,
    send_queue_max=8,
    events_max=16,
    events_bytes_max=8000,
)
DATAGRAM_SIZE = 512
NODES = (1, 2, 3)
FLIGHT_MAX = 64
SEEN_MAX = 8
SPINS_MAX = 50


@dataclasses.dataclass
class Stage:
    """The processors, the time, and what is between them."""

    target: int
    now: float = 0.0
    processors: dict[int, Processor] = dataclasses.field(default_factory=dict)
    flight: deque[tuple[int, bytes]] = dataclasses.field(default_factory=lambda: deque(maxlen=FLIGHT_MAX))
    """(destination, datagram), oldest first; what is too much is lost."""
    sent: list[tuple[int, bytes]] = dataclasses.field(default_factory=list)
    """What the target has sent since somebody looked."""
    seen: dict[int, deque[bytes]] = dataclasses.field(default_factory=dict)
    """The last datagrams of each type that anybody sent."""
    reads: bool = True
    """Whether the target's application reads."""
    messages_waiting: int = 0
    """How many messages it has not read when the scene begins."""

    @property
    def attacked(self) -> Processor:
        return self.processors[self.target]

    def enter(self, *nodes: int) -> None:
        """These begin to live."""
        for node in nodes:
            self.processors[node] = Processor(
                node, CONFIG, datagram_size=DATAGRAM_SIZE, seed=bytes([node]) * 16, now=self.now
            )
            self.collect(node)

    def collect(self, node: int) -> None:
        """What a driver does after every call: give it the turn that it wants, read events, unblock."""
        processor = self.processors[node]
        for _ in range(SPINS_MAX):
            if node != self.target or self.reads:
                self.read(node)
            if not processor.wants_turn:
                return
            self.turn(node)
        raise AssertionError(f"processor {node} in {processor.state} wants turns for ever")

    def turn(self, node: int, *datagrams: bytes) -> Ready:
        """A turn of a processor; what it sends is put on its way."""
        ready = self.processors[node].turn(datagrams, self.now)
        if node == self.target:
            self.sent += ready.transmits
        for destination, datagram in ready.transmits:
            self.seen.setdefault(datagram[1], deque(maxlen=SEEN_MAX)).append(datagram)
            for other in NODES:
                if other != node and destination in (0, other):
                    self.flight.append((other, datagram))
        return ready

    def read(self, node: int) -> None:
        processor = self.processors[node]
        for event in processor.take_events(1000):
            if isinstance(event, RegularConfiguration):
                processor.unblock(event.ring_id, self.now)

    def hand(self, node: int, *datagrams: bytes) -> None:
        """Datagrams arrive at a processor, if it lives."""
        if node in self.processors:
            self.turn(node, *datagrams)

    def wake(self, node: int) -> None:
        """Its timeout, as often as it is due."""
        processor = self.processors[node]
        for _ in range(SPINS_MAX):
            if processor.next_timeout > self.now:
                return
            self.turn(node)
        raise AssertionError(f"processor {node} in {processor.state} is due at {processor.next_timeout} for ever")

    # For scenes

    def step(self) -> None:
        """The oldest datagram arrives; if there is none, time passes."""
        if self.flight:
            destination, datagram = self.flight.popleft()
            self.hand(destination, datagram)
            if destination in self.processors:
                self.collect(destination)
        else:
            self.now += 0.001
            for node in self.processors:
                self.wake(node)
                self.collect(node)

    def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(5000):
            if holds():
                return
            self.step()
        raise AssertionError("the scene does not come about")

    def together(self) -> bool:
        """All are on one ring, and its barrier is complete."""
        rings = {processor.configuration.ring_id for processor in self.processors.values()}
        return len(rings) == 1 and all(
            processor.state == "operational" and processor.complete for processor in self.processors.values()
        )

    def submit_all(self, count: int, size: int) -> None:
        for number in range(count):
            for node in NODES:
                self.processors[node].submit(
                    bytes([node, number]) * size, Priority(1 + number % 2), Guarantee(number % 2)
                )
                self.collect(node)


def formed(target: int) -> Stage:
    stage = Stage(target)
    stage.enter(*NODES)
    stage.until(stage.together)
    return stage


def forming(target: int, state: str) -> Stage:
    stage = Stage(target)
    stage.enter(*NODES)
    stage.until(lambda: stage.attacked.state == state)
    return stage


def idle(target: int) -> Stage:
    stage = formed(target)
    for _ in range(60):
        stage.step()
    return stage


def loaded(target: int) -> Stage:
    """With packets that are not at all members, a message in pieces, and the token on its way."""
    stage = formed(target)
    stage.submit_all(3, 300)
    for _ in range(12):
        stage.step()
    return stage


def broken(target: int, state: str) -> Stage:
    """The ring broke under load, and its packets are being recovered."""
    stage = loaded(target)
    while stage.attacked.state != "gather":
        stage.flight.clear()
        stage.step()
    stage.until(lambda: stage.attacked.state == state)
    return stage


def silent(target: int) -> Stage:
    """The application reads nothing, and its stream is full."""
    stage = formed(target)
    stage.reads = False
    for _ in range(6):
        stage.submit_all(2, 500)
        for _ in range(40):
            stage.step()
    assert stage.attacked.statistics()["packets_held"] > 0
    stage.messages_waiting = int(stage.attacked.statistics()["events_waiting"])
    return stage


def leaving(target: int) -> Stage:
    stage = loaded(target)
    stage.attacked.leave(stage.now)
    assert not stage.attacked.left
    stage.collect(target)
    return stage


def left(target: int) -> Stage:
    stage = loaded(target)
    stage.attacked.leave(stage.now, drain=False)
    stage.collect(target)
    stage.until(lambda: stage.attacked.left)
    return stage


def alone(target: int) -> Stage:
    stage = Stage(target)
    stage.enter(target)
    return stage


SCENES: dict[str, Callable[[], Stage]] = {
    "alone": lambda: alone(2),
    "gather": lambda: forming(2, "gather"),
    "commit": lambda: forming(2, "commit"),
    "commit, representative": lambda: forming(1, "commit"),
    "recovery": lambda: forming(2, "recovery"),
    "recovery, representative": lambda: forming(1, "recovery"),
    "idle": lambda: idle(2),
    "idle, representative": lambda: idle(1),
    "loaded": lambda: loaded(2),
    "loaded, representative": lambda: loaded(1),
    "broken, gather": lambda: broken(2, "gather"),
    "broken, recovery": lambda: broken(2, "recovery"),
    "broken, recovery, representative": lambda: broken(1, "recovery"),
    "silent": lambda: silent(2),
    "leaving": lambda: leaving(2),
    "left": lambda: left(2),
}


class _Pickler(pickle.Pickler):
    """Pickles the pieces of messages, too: as copies, or with the whole datagrams that they keep alive."""

    def __init__(self, out: io.BytesIO, *, whole: bool) -> None:
        super().__init__(out, pickle.HIGHEST_PROTOCOL)
        self.dispatch_table = {memoryview: self._reduce_whole if whole else self._reduce_copy}

    @staticmethod
    def _reduce_whole(piece: memoryview) -> tuple[type, tuple[object]]:
        return memoryview, (piece.obj,)

    @staticmethod
    def _reduce_copy(piece: memoryview) -> tuple[type, tuple[object]]:
        return memoryview, (bytes(piece),)


def frozen() -> list[bytes]:
    """All scenes, each played and pickled."""
    return [_pickled(play(), whole=False) for play in SCENES.values()]


def thawed(scene: bytes) -> Stage:
    stage = pickle.loads(scene)
    assert isinstance(stage, Stage)
    return stage


def weight(processor: Processor) -> int:
    """Bytes of everything that a processor holds on to, about."""
    return len(_pickled(processor, whole=True))


def _pickled(what: object, *, whole: bool) -> bytes:
    out = io.BytesIO()
    _Pickler(out, whole=whole).dump(what)
    return out.getvalue()
