"""The clock of the core is never stale: what is called between two turns sends nothing, delivers nothing and moves no
deadline, and each turn acts by its own time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringproto._core import Batch, Processor, Ready
from ringproto.config import Config
from ringproto.errors import RingError
from ringproto.types import Guarantee, Priority

NODES = (1, 2, 3)
CONFIG = Config.testing(send_queue_max=20, events_max=8)
HOP_S = 0.0001
SMALL_S = 1e-6


class Rig:
    """Three processors; what one sends reaches the others when they have their next turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self.inbox: dict[int, list[bytes]] = {node: [] for node in NODES}
        self.processors = {
            node: Processor(node, CONFIG, datagram_size=1400, seed=bytes([node]) * 16, now=0.0) for node in NODES
        }
        self.events = dict.fromkeys(NODES, 1)
        """How many events wait, as the turns and the calls say."""

    def turn(self, node: int) -> Ready:
        one = self.processors[node]
        batch, self.inbox[node] = self.inbox[node], []
        ready = one.turn(batch, self.now)
        for destination, datagram in ready.transmits:
            for other in NODES:
                if other != node and destination in (0, other):
                    self.inbox[other].append(datagram)
        self.events[node] = ready.events
        assert ready.next_timeout > self.now, "a deadline was set by a clock that is past"
        assert ready.next_timeout == one.next_timeout
        return ready

    def form(self) -> None:
        while not all(one.complete and one.configuration.members == NODES for one in self.processors.values()):
            self.now += HOP_S
            for node, one in self.processors.items():
                self.turn(node)
                one.take_events(1000)
                one.unblock(one.configuration.ring_id, self.now)
        for node, one in self.processors.items():
            self.turn(node)
            one.take_events(1000)
            self.turn(node)


def outside(one: Processor) -> dict[str, Any]:
    """What a call between two turns may not change: all but the queues, and the events that were taken."""
    may = {f"queue_{priority.name.lower()}{what}" for priority in Priority for what in ("", "_bytes")}
    may |= {"events_waiting", "events_waiting_bytes"}
    kept = {name: value for name, value in one.statistics().items() if name not in may}
    return kept | {
        "state": one.state,
        "configuration": one.configuration,
        "complete": one.complete,
        "waiting_for": one.waiting_for,
        "next_timeout": one.next_timeout,
        "consumer_deadline": one.consumer_deadline,
        "left": one.left,
    }


def submit(one: Processor, now: float, size: int) -> int:
    one.submit(bytes(size), Priority(1 + size % 2), Guarantee(size // 2 % 2))
    return 0


def submit_batch(one: Processor, now: float, size: int) -> int:
    one.submit_batch(Batch([bytes(10)] * size), 0, Priority.LOW, Guarantee.AGREED)
    return 0


def submit_recovery(one: Processor, now: float, size: int) -> int:
    one.submit_recovery(one.configuration.ring_id, bytes(size), Guarantee(size % 2))
    return 0


def take_events(one: Processor, now: float, size: int) -> int:
    return len(one.take_events(size))


def unblock(one: Processor, now: float, size: int) -> int:
    one.unblock(one.configuration.ring_id, now)
    return 0


def leave(one: Processor, now: float, size: int) -> int:
    one.leave(now, drain=size % 2 == 0)
    assert one.leaving
    return 0


CALLS: dict[str, Callable[[Processor, float, int], int]] = {
    call.__name__: call for call in (submit, submit_batch, submit_recovery, take_events, unblock, leave)
}
"""What a program may call at any time; each returns how many events it took."""
OFTEN = [name for name in CALLS if name != "leave"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([*OFTEN, *OFTEN, "leave"]), st.sampled_from(NODES), st.integers(0, 40)),
        st.tuples(st.just("turn"), st.sampled_from(NODES), st.just(0)),
        st.tuples(st.just("time"), st.just(0), st.integers(0, 6)),
        st.tuples(st.just("rounds"), st.just(0), st.integers(1, 20)),
    ),
    max_size=40,
)
TIMES_S = (0.0, SMALL_S, 0.0005, 0.004, 0.03, 0.2, 1.5)


@given(formed=st.booleans(), steps=STEPS)
@example(formed=True, steps=[("rounds", 0, 20), ("time", 0, 3), ("submit", 1, 9), ("submit", 2, 9), ("submit", 3, 9)])
@example(formed=True, steps=[("submit", 1, 3), ("time", 0, 4), ("turn", 1, 0), ("time", 0, 1), ("leave", 1, 0)])
@example(formed=True, steps=[("submit_batch", 1, 20), ("rounds", 0, 9), ("take_events", 2, 4), ("unblock", 3, 0)])
@example(formed=False, steps=[("rounds", 0, 20), ("time", 0, 4), ("submit_recovery", 1, 5), ("unblock", 1, 0)])
def test_nothing_is_sent_delivered_or_timed_between_turns(formed: bool, steps: list[tuple[str, int, int]]) -> None:
    rig = Rig()
    if formed:
        rig.form()
    for what, node, number in steps:
        if what == "time":
            rig.now += TIMES_S[number]
        elif what == "turn":
            rig.turn(node)
        elif what == "rounds":
            for _ in range(number):
                rig.now += HOP_S
                for each in NODES:
                    rig.turn(each)
        else:
            one = rig.processors[node]
            before = outside(one)
            taken = 0
            with contextlib.suppress(RingError):  # it leaves, or the round is over
                taken = CALLS[what](one, rig.now, number)
            assert outside(one) == before, what
            rig.events[node] -= taken
            assert one.statistics()["events_waiting"] == rig.events[node], what
    for node, one in rig.processors.items():
        rig.turn(node)
        assert not one.wants_turn, "a turn takes up all that was asked for"


@given(steps=STEPS)
def test_turn_that_is_not_wanted_would_do_nothing(steps: list[tuple[str, int, int]]) -> None:
    """A driver that asks for no turn loses nothing: a second turn at the time of the last one sends nothing more."""
    rig = Rig()
    rig.form()
    for what, node, number in steps:
        if what == "time":
            rig.now += TIMES_S[number]
        elif what == "rounds":
            for _ in range(number):
                rig.now += HOP_S
                for each in NODES:
                    rig.turn(each)
        elif node:
            one = rig.processors[node]
            if rig.turn(node).unfinished:
                continue
            if what in CALLS:
                with contextlib.suppress(RingError):
                    CALLS[what](one, rig.now, number)
            waits, deadline = one.statistics()["events_waiting"], one.next_timeout
            if not one.wants_turn:
                ready = one.turn([], rig.now)
                assert ready.transmits == ready.changes == []
                assert (ready.events, ready.next_timeout) == (waits, deadline)


HOLDER = 1


def rested() -> Rig:
    """A ring whose token rests at ``HOLDER``, that has sent last."""
    rig = Rig()
    rig.form()
    assert rig.processors[HOLDER].submit(b"last", Priority.HIGH, Guarantee.AGREED)
    silent = 0
    while silent < 3:
        rig.now += HOP_S
        sent = [rig.turn(node).transmits for node in NODES]
        silent = 0 if any(sent) else silent + 1
    return rig


@pytest.mark.parametrize("waited_s", [SMALL_S, 0.01, 0.02])
def test_token_that_rested_is_passed_on_with_deadlines_from_now(waited_s: float) -> None:
    rig = rested()
    one = rig.processors[HOLDER]
    rig.now = min(rig.now + waited_s, math.nextafter(one.next_timeout, 0.0))
    assert one.submit(b"safe", Priority.HIGH, Guarantee.SAFE)
    assert one.wants_turn
    ready = rig.turn(HOLDER)
    assert any(datagram[1] == 2 for _, datagram in ready.transmits), "the token goes on with the message"
    assert ready.next_timeout >= rig.now + CONFIG.token_retransmit_min_s / 4


def test_token_that_rests_elsewhere_is_called_once() -> None:
    rig = rested()
    node = HOLDER + 1
    one = rig.processors[node]
    assert one.submit(b"1", Priority.HIGH, Guarantee.AGREED)
    assert one.wants_turn
    assert [datagram[1] for _, datagram in rig.turn(node).transmits] == [6]
    for _ in range(5):
        assert one.submit(b"2", Priority.HIGH, Guarantee.AGREED)
        assert not one.wants_turn, "the token is on its way already"


def test_deadline_of_a_leave_counts_from_its_call() -> None:
    one = Processor(1, CONFIG, datagram_size=1400, seed=bytes(16), now=0.0)
    now = 0.0
    while one.state != "operational":
        one.turn([], now)
        now = one.next_timeout
    assert one.submit(b"waits for the unblock", Priority.HIGH, Guarantee.AGREED)
    one.leave(now)
    one.turn([], now + 0.01)
    while not one.left:
        last = one.next_timeout
        one.turn([], last)
    assert last == now + CONFIG.leave_timeout_s


def test_processor_that_leaves_when_its_events_are_taken_has_no_deadline() -> None:
    """It is told to leave and its events are taken between two turns: what was held back lets it leave in the turn."""
    config = Config.testing(events_max=1, window_size=4, visit_max=4)
    one, now = Processor(1, config, datagram_size=1400, seed=b"1" * 16, now=0.0), 0.0
    while not one.complete:
        now = max(now, one.next_timeout) if not one.wants_turn else now
        one.turn([], now)
        one.take_events(100)
        one.unblock(one.configuration.ring_id, now)
    one.take_events(100)
    one.turn([], now)
    for _ in range(4):
        assert one.submit(bytes(1300), Priority.HIGH, Guarantee.AGREED)
        one.turn([], now)
    assert one.statistics()["packets_held"] > 0
    now += 0.1
    one.take_events(100)
    one.leave(now, drain=True)
    ready = one.turn([], now)
    assert ready.left and ready.next_timeout == math.inf and one.next_timeout == math.inf
