"""When a write may be acknowledged: what is settled, and a store that loses a write which it acknowledged earlier.

docs/acknowledging.md is the page that these tests hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import pytest

from ringproto.config import Config
from ringproto.events import (
    Event,
    Message,
    RecoveryComplete,
    RegularConfiguration,
    TransitionalConfiguration,
)
from ringproto.testing import ServiceCluster
from ringproto.testing.simulator.network import kind_of
from ringproto.types import Guarantee, Priority

SEEDS = 90
NODES = (1, 2, 3, 4)
QUORUM = 3
"""Of four: one processor at a time may lose what it knew (``2 * QUORUM - len(NODES) - 1``)."""
WRITES = 40
WRITE_EVERY_S = 0.02
FAULT_EVERY_S = 0.08


def place_of(event: Event, events: list[Event]) -> type[Event]:
    """The kind of the last configuration or completion before an event."""
    before = events[: events.index(event)]
    return next(type(each) for each in reversed(before) if not isinstance(each, Message))


def only_message(events: list[Event]) -> Message:
    (message,) = [event for event in events if isinstance(event, Message)]
    return message


@pytest.mark.parametrize(
    ("guarantee", "place"), [(Guarantee.SAFE, TransitionalConfiguration), (Guarantee.AGREED, RecoveryComplete)]
)
def test_message_that_its_sender_alone_is_given_is_not_settled(make_ring, guarantee, place):
    cluster = make_ring(1, 2, 3, quorum=2)
    # What processor 3 sends to the others is lost, and then it is cut off.
    cluster.filter = lambda time, source, destination, datagram: not (kind_of(datagram) == "data" and source == 3)
    assert cluster.submit(3, b"3.1.1|pay 100", Priority.HIGH, guarantee)
    cluster.run(0.02)
    cluster.partition({1, 2}, {3})
    assert cluster.run_until_settled({1, 2}) and cluster.run_until_settled({3})
    message = only_message(cluster.events(3))
    assert place_of(message, cluster.events(3)) is place
    assert not message.settled
    cluster.filter = None
    cluster.heal()
    assert cluster.run_until_settled({1, 2, 3})
    assert cluster.messages(1) == cluster.messages(2) == []


def test_settled_message_of_a_sender_that_is_cut_off_is_given_to_the_others(make_ring):
    cluster = make_ring(1, 2, 3, quorum=2)
    assert cluster.submit(3, b"3.1.1|pay 100", Priority.HIGH, Guarantee.SAFE)
    assert cluster.run_until(lambda: b"3.1.1|pay 100" in cluster.messages(3))
    cluster.partition({1, 2}, {3})
    assert only_message(cluster.events(3)).settled
    assert cluster.run_until_settled({1, 2})
    assert cluster.messages(1) == cluster.messages(2) == [b"3.1.1|pay 100"]


def test_completion_may_come_to_one_member_alone_so_it_decides_nothing(make_ring):
    cluster = make_ring(1, 2, 3, quorum=2)
    cluster.partition({1, 2}, {3})
    assert cluster.run_until_settled({1, 2}) and cluster.run_until_settled({3})
    cluster.hold(3)
    cluster.heal()
    assert cluster.run_until(lambda: all(cluster.configuration(node).members == (1, 2, 3) for node in (1, 2, 3)))
    assert cluster.run_until(lambda: cluster.processor(3).waiting_for == {3})
    cluster.filter = lambda time, source, destination, datagram: not (kind_of(datagram) == "data" and source == 3)
    cluster.release(3)
    cluster.run(0.02)
    cluster.partition({1, 2}, {3})
    assert cluster.run_until_settled({1, 2})
    last = cluster.events(3)[-1]
    assert isinstance(last, RecoveryComplete) and last.members == (1, 2, 3)
    assert last.ring_id not in [event.ring_id for event in cluster.events(1) if isinstance(event, RecoveryComplete)]


class Store:
    """A list of writes. The state of the latest completed configuration is taken over whole at each completion."""

    def __init__(self, node: int, acknowledged: dict[str, set[str]]) -> None:
        self.node = node
        self.acknowledged = acknowledged
        self.writes: list[str] = []
        self.completed: list[int] = []
        """The ring id of the last configuration whose barrier it saw complete; empty: it has just been started."""
        self.offers: list[tuple[list[int], list[str]]] = []

    def handle(self, event: Event) -> None:
        if isinstance(event, RegularConfiguration):
            self.offers = []
        elif isinstance(event, RecoveryComplete):
            _, self.writes = max(self.offers, key=lambda offer: (offer[0], len(offer[1]), offer[1]))
            self.completed = list(event.ring_id)
        elif isinstance(event, Message) and event.priority is Priority.RECOVERY:
            completed, writes = json.loads(event.payload)
            self.offers.append((completed, writes))
        elif isinstance(event, Message):
            write = event.payload.decode()
            self.writes = [*self.writes, write]
            # Two stores in one: what each of them would have told a client that its write is done.
            if event.settled:
                # With it whatever is in the state by then: every member has that too, agreed or undecided before.
                self.acknowledged["settled"].update(self.writes)
            if event.guarantee is Guarantee.SAFE:
                self.acknowledged["safe"].add(write)

    def recover(self, configuration: RegularConfiguration) -> Iterable[bytes]:
        yield json.dumps([self.completed, self.writes]).encode()


Disk = dict[int, tuple[list[int], list[str]]]


class DiskStore(Store):
    """A store that keeps all it has across a restart, as it was after the last event that it handled."""

    def __init__(self, node: int, acknowledged: dict[str, set[str]], disk: Disk) -> None:
        super().__init__(node, acknowledged)
        self.disk = disk
        self.completed, self.writes = disk.get(node, ([], []))

    def handle(self, event: Event) -> None:
        super().handle(event)
        self.disk[self.node] = self.completed, self.writes


class Bank:
    """Stores on a network that is parted and healed, of which one at a time is killed and comes back empty."""

    def __init__(self, seed: int) -> None:
        self.acknowledged: dict[str, set[str]] = {"settled": set(), "safe": set()}
        config = Config.testing(quorum=QUORUM)
        self.cluster = ServiceCluster(lambda node: Store(node, self.acknowledged), seed, config)
        self.cluster.start(*NODES)
        self.faults: dict[str, int] = {"part": 0, "heal": 0, "kill": 0, "restart": 0}

    def play(self) -> None:
        """Writes under faults, and then an end to the faults."""
        cluster, random = self.cluster, self.cluster.random
        assert cluster.run_until_settled(NODES)
        fault_s = 0.0
        for count in range(WRITES):
            if cluster.now >= fault_s:
                self._disturb()
                fault_s = cluster.now + 2 * FAULT_EVERY_S * random.random()
            node = random.choice(cluster.living())
            guarantee = random.choice((Guarantee.SAFE, Guarantee.SAFE, Guarantee.AGREED))
            cluster.submit(node, b"write %d" % count, random.choice((Priority.HIGH, Priority.LOW)), guarantee)
            cluster.run(2 * WRITE_EVERY_S * random.random())
        cluster.mend()
        assert cluster.run_until_settled(NODES), "they do not come together again"

    def _disturb(self) -> None:
        cluster, random = self.cluster, self.cluster.random
        gone = [node for node in NODES if not cluster.alive(node)]
        whole = not gone and all(store.completed for store in cluster.services().values())
        what = random.choice(("part", "part", "heal", "kill" if whole else "restart"))
        if what == "kill":
            cluster.crash(random.choice(NODES))
        elif what == "restart" and gone:
            cluster.restart(gone[0], "lost")
        elif what == "part":
            side = set(random.sample(NODES, random.choice((1, 1, 1, 2))))
            cluster.partition(side, set(NODES) - side)
        elif what == "heal":
            cluster.heal()
        else:
            return
        self.faults[what] += 1

    def lost(self, rule: str) -> Iterator[str]:
        """The acknowledged writes that a store lacks in the end."""
        kept = set.intersection(*(set(store.writes) for store in self.cluster.services().values()))
        yield from self.acknowledged[rule] - kept


def test_store_that_acknowledges_what_is_settled_loses_nothing_and_one_that_acknowledges_safe_does() -> None:
    lost_when_safe = 0
    acknowledged = {"settled": 0, "safe": 0}
    faults = {"part": 0, "heal": 0, "kill": 0, "restart": 0}
    for seed in range(SEEDS):
        bank = Bank(seed)
        bank.play()
        assert not list(bank.lost("settled")), f"seed {seed} lost a write that was settled"
        lost_when_safe += any(bank.lost("safe"))
        for rule, writes in bank.acknowledged.items():
            acknowledged[rule] += len(writes)
        for fault, times in bank.faults.items():
            faults[fault] += times
    assert lost_when_safe > 0, "a store that acknowledges whatever is safe lost nothing, so this test shows nothing"
    # The load went on and the faults took place, so that there was something to lose.
    assert acknowledged["settled"] > 5 * SEEDS, acknowledged
    assert min(faults.values()) > SEEDS // 2, faults


@pytest.mark.parametrize("seed", range(20))
def test_restart_of_one_after_the_other_loses_nothing_that_was_settled(seed: int) -> None:
    """Of three one writes, and another one leaves meanwhile. Then the writer is cut off, and the two others come back
    with their stores: the write that the writer acknowledged last must be in one of them."""
    acknowledged: dict[str, set[str]] = {"settled": set(), "safe": set()}
    disk: Disk = {}
    cluster = ServiceCluster(lambda node: DiskStore(node, acknowledged, disk), seed, Config.lan(quorum=2))
    cluster.start(1, 2, 3)
    assert cluster.run_until_settled((1, 2, 3))
    cluster.leave(3)
    assert cluster.run_until(lambda: not cluster.alive(3)) and cluster.run_until_settled((1, 2))

    def write(left: int) -> None:
        if left and cluster.alive(2):
            cluster.submit(1, b"write %d" % left, Priority.HIGH, Guarantee.SAFE)
            cluster.at(0.0005, lambda: write(left - 1))

    write(400)
    cluster.run(cluster.random.uniform(0.02, 0.05))
    cluster.leave(2)
    assert cluster.run_until(lambda: not cluster.alive(2))
    cluster.partition({1}, {2, 3})
    cluster.run(0.5)
    settled = set(acknowledged["settled"])
    assert len(settled) > 10
    cluster.restart(3)
    cluster.restart(2)
    assert cluster.run_until_settled((2, 3))
    cluster.heal()
    assert cluster.run_until_settled((1, 2, 3))
    assert all(settled <= set(store.writes) for store in cluster.services().values())
    assert cluster.judge(complete=(1, 2, 3)) == []
