"""When a processor on an installed ring says beacons, and how soon the next one follows."""

from __future__ import annotations

from typing import Any

import pytest

from ringproto._core.context import Context
from ringproto._core.entropy import Entropy
from ringproto._core.membership.admission import Admission
from ringproto._core.membership.beacons import Beacons
from ringproto._core.membership.connectivity import Connectivity
from ringproto._core.ring.ring import RingState
from ringproto._core.timers import Timer
from ringproto._core.wire.regular import Kind
from ringproto.config import Config
from ringproto.types import RingId

CONFIG = Config.testing().fitted(1400)
MERGE_S = CONFIG.merge_detect_s
MEMBERS = (1, 2, 3)


class Speaker:
    """Processor 2 on a ring of three that it does not represent, and a clock."""

    def __init__(self) -> None:
        self.context = Context(2, CONFIG, 1400, Entropy(bytes(16)), 100.0, 0, None)
        node, counters, entropy = self.context.node, self.context.counters, Entropy(bytes(16))
        admission = Admission(node, CONFIG, 1400, self.context.incarnation, entropy, counters)
        self.beacons = Beacons(self.context, admission, Connectivity(node, MERGE_S, CONFIG.members_max))
        self.ring = self.install(1)

    def install(self, sequence: int) -> RingState:
        """Another ring is installed."""
        self.beacons.end_ring()
        self.ring = RingState(RingId(sequence, 1, 7), MEMBERS, 2, CONFIG, 64)
        return self.ring

    def put_off(self, other: bytes) -> None:
        """A beacon of another ring has come, which has to wait."""
        self.beacons.put_off(self.ring, other)

    def waits(self, count: int, *, of: tuple[bytes, ...] = ()) -> list[float]:
        """How many intervals of beacons pass between each two of the next ``count`` beacons, while others are there."""
        found = []
        for _ in range(count):
            for other in of:
                self.put_off(other)
            before = self.context.now
            self.context.now = self.context.timers.deadline(Timer.MERGE_DETECT)
            self.beacons.come_due(self.ring)
            found.append((self.context.now - before) / MERGE_S)
        return found

    def said(self) -> list[Any]:
        """The beacons that were sent."""
        decode = self.context.membership_codec.decode
        sent = [datagram for _, datagram in self.context.transmits if datagram[1] == Kind.BEACON]
        return [decode(Kind.BEACON, datagram, CONFIG.members_max) for datagram in sent]


SOON, LATER = pytest.approx(0.5), pytest.approx(1.0)


def test_first_beacons_about_another_ring_follow_each_other_twice_as_fast() -> None:
    me = Speaker()
    me.put_off(b"other")
    assert len(me.said()) == 1, "the first one is said at once"
    assert me.waits(8, of=(b"other",)) == [SOON] * 5 + [LATER] * 3


def test_each_beacon_says_how_long_it_is_to_the_next() -> None:
    me = Speaker()
    me.put_off(b"other")
    waits = me.waits(8, of=(b"other",))
    said = [beacon.interval_s / MERGE_S for beacon in me.said()]
    assert said[:8] == pytest.approx(waits, abs=0.02)


def test_it_is_so_once_more_for_another_ring_and_on_another_ring() -> None:
    me = Speaker()
    me.put_off(b"other")
    me.waits(10, of=(b"other",))
    assert me.waits(2, of=(b"other", b"third")) == [SOON, SOON]
    me.waits(10, of=(b"other", b"third"))
    assert me.waits(1, of=(b"other", b"third")) == [LATER], "both are known"
    me.install(2)
    me.put_off(b"other")
    assert me.waits(1, of=(b"other",)) == [SOON]


def test_a_beacon_that_is_due_later_comes_sooner_when_a_ring_begins_to_be_put_off() -> None:
    me = Speaker()
    me.beacons.wait()
    me.context.now += MERGE_S / 4
    me.put_off(b"other")
    assert me.said() == [] and me.waits(1) == [SOON]


def test_others_cannot_make_a_processor_send_for_ever() -> None:
    me = Speaker()
    for number in range(64):
        me.put_off(b"%d" % number)
    me.waits(10, of=(b"0",))
    assert me.waits(3, of=(b"64", b"65")) == [LATER] * 3


def test_it_is_so_once_more_when_the_recovery_of_the_own_ring_has_ended() -> None:
    me = Speaker()
    delivery, barrier = me.context.delivery, me.context.barrier
    delivery.install(me.ring.id, MEMBERS, True)
    assert me.context.is_busy()
    me.put_off(b"other")
    assert me.waits(8, of=(b"other",))[-1] == LATER
    for seq, member in enumerate(MEMBERS, 1):
        barrier.deliver_unblock(member, me.ring.id, seq)
    assert not me.context.is_busy()
    assert me.waits(8, of=(b"other",)) == [LATER] + [SOON] * 5 + [LATER] * 2


def test_what_was_begun_on_a_ring_ends_with_it() -> None:
    me = Speaker()
    me.put_off(b"other")
    me.install(2)
    me.beacons.wait()
    assert me.waits(2) == [LATER, LATER], "all are on this ring"


def test_a_member_is_silent_when_nobody_is_put_off_any_more() -> None:
    me = Speaker()
    me.put_off(b"other")
    me.context.now += 9 * MERGE_S
    me.context.transmits.clear()
    me.beacons.come_due(me.ring)
    assert me.said() == []
