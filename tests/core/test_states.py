"""Every pair of (state, input), for the representative and for another member of a ring of three.

A ring is driven by hand until the processor under test is in the state; then it is given the input, of the kind that
does most there, and its next state is what the table below says. What the core's own table calls ignored must change
nothing at all.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from packets import packet

from ringproto._core.context import Context
from ringproto._core.entropy import Entropy
from ringproto._core.membership.commit_token import empty_entry
from ringproto._core.membership.forming import Forming
from ringproto._core.membership.membership import Membership
from ringproto._core.ring.ring import RingState
from ringproto._core.states import IGNORED, TABLE, TIMER_INPUTS, Input, State
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import (
    Acknowledgement,
    Beacon,
    Challenge,
    CommitPart,
    Entry,
    Identity,
    Join,
    Leave,
    Limits,
    MembershipCodec,
    Refuse,
    Response,
)
from ringproto._core.wire.regular import Codec, Kind, Phase, Token, ring_bytes, ring_from_bytes
from ringproto.config import Config
from ringproto.types import RingId

GATHER, COMMIT, RECOVERY, OPERATIONAL, LEFT = State
CONFIG = Config.testing().fitted(1400)
LIMITS = Limits(CONFIG.quorum, CONFIG.members_max, CONFIG.message_size_max, CONFIG.window_size, 1400)
NODES = (1, 2, 3)
STRANGER = 9
REPRESENTATIVE, MEMBER = 1, 2

STAYS = None

# What an input leads to where it does not leave the state as it is.
EXPECTED: dict[State, dict[Input, dict[int, State | None]]] = {
    GATHER: {
        Input.DATA: {1: STAYS, 2: STAYS},
        Input.TOKEN: {1: STAYS, 2: STAYS},
        Input.JOIN: {1: COMMIT, 2: STAYS},  # consensus: the smallest id forms the ring, the others wait for it
        Input.COMMIT: {1: STAYS, 2: COMMIT},
        Input.BEACON: {1: STAYS, 2: STAYS},
        Input.WAKE: {1: STAYS, 2: STAYS},
        Input.LEAVE: {1: STAYS, 2: STAYS},
        Input.REFUSE: {1: LEFT, 2: LEFT},
        Input.ACKNOWLEDGEMENT: {1: STAYS, 2: STAYS},
        Input.CHALLENGE: {1: STAYS, 2: STAYS},
        Input.RESPONSE: {1: STAYS, 2: STAYS},
        Input.TOKEN_LOSS: {1: STAYS, 2: STAYS},
        Input.TOKEN_RETRANSMIT: {1: STAYS, 2: STAYS},
        Input.TOKEN_HOLD: {1: STAYS, 2: STAYS},
        Input.JOIN_TIMEOUT: {1: STAYS, 2: STAYS},
        Input.CONSENSUS: {1: OPERATIONAL, 2: OPERATIONAL},  # nobody was heard: a ring of one
        Input.MERGE_DETECT: {1: STAYS, 2: STAYS},
        Input.LEAVE_TIMEOUT: {1: LEFT, 2: LEFT},
        Input.SLOW_CONSUMER: {1: LEFT, 2: LEFT},
        Input.STANDSTILL: {1: STAYS, 2: STAYS},
    },
    COMMIT: {
        Input.DATA: {1: STAYS, 2: STAYS},
        Input.TOKEN: {1: STAYS, 2: STAYS},
        Input.JOIN: {1: GATHER, 2: GATHER},  # a member of the formation has given it up
        Input.COMMIT: {1: RECOVERY, 2: RECOVERY},
        Input.BEACON: {1: STAYS, 2: STAYS},
        Input.WAKE: {1: STAYS, 2: STAYS},
        Input.LEAVE: {1: GATHER, 2: GATHER},
        Input.REFUSE: {1: LEFT, 2: LEFT},
        Input.ACKNOWLEDGEMENT: {1: STAYS, 2: STAYS},
        Input.CHALLENGE: {1: STAYS, 2: STAYS},
        Input.RESPONSE: {1: STAYS, 2: STAYS},
        Input.TOKEN_LOSS: {1: GATHER, 2: GATHER},
        Input.TOKEN_RETRANSMIT: {1: STAYS, 2: STAYS},
        Input.TOKEN_HOLD: {1: STAYS, 2: STAYS},
        Input.JOIN_TIMEOUT: {1: STAYS, 2: STAYS},
        Input.CONSENSUS: {1: STAYS, 2: STAYS},
        Input.MERGE_DETECT: {1: STAYS, 2: STAYS},
        Input.LEAVE_TIMEOUT: {1: LEFT, 2: LEFT},
        Input.SLOW_CONSUMER: {1: LEFT, 2: LEFT},
        Input.STANDSTILL: {1: STAYS, 2: STAYS},
    },
    RECOVERY: {
        Input.DATA: {1: STAYS, 2: STAYS},
        Input.TOKEN: {1: STAYS, 2: STAYS},
        Input.JOIN: {1: GATHER, 2: GATHER},
        Input.COMMIT: {1: STAYS, 2: STAYS},  # the representative starts the regular token
        Input.BEACON: {1: STAYS, 2: STAYS},
        Input.WAKE: {1: STAYS, 2: STAYS},
        Input.LEAVE: {1: GATHER, 2: GATHER},
        Input.REFUSE: {1: LEFT, 2: LEFT},
        Input.ACKNOWLEDGEMENT: {1: STAYS, 2: STAYS},
        Input.CHALLENGE: {1: STAYS, 2: STAYS},
        Input.RESPONSE: {1: STAYS, 2: STAYS},
        Input.TOKEN_LOSS: {1: GATHER, 2: GATHER},
        Input.TOKEN_RETRANSMIT: {1: STAYS, 2: STAYS},
        Input.TOKEN_HOLD: {1: STAYS, 2: STAYS},
        Input.JOIN_TIMEOUT: {1: STAYS, 2: STAYS},
        Input.CONSENSUS: {1: STAYS, 2: STAYS},
        Input.MERGE_DETECT: {1: STAYS, 2: STAYS},
        Input.LEAVE_TIMEOUT: {1: LEFT, 2: LEFT},
        Input.SLOW_CONSUMER: {1: LEFT, 2: LEFT},
        Input.STANDSTILL: {1: STAYS, 2: STAYS},
    },
    OPERATIONAL: {
        Input.DATA: {1: STAYS, 2: STAYS},
        Input.TOKEN: {1: STAYS, 2: STAYS},
        Input.JOIN: {1: GATHER, 2: GATHER},
        Input.COMMIT: {1: STAYS, 2: STAYS},
        Input.BEACON: {1: GATHER, 2: GATHER},  # merge: another ring was heard
        Input.WAKE: {1: STAYS, 2: STAYS},
        Input.LEAVE: {1: GATHER, 2: GATHER},
        Input.REFUSE: {1: STAYS, 2: STAYS},  # who is on a ring with others stays there
        Input.ACKNOWLEDGEMENT: {1: STAYS, 2: STAYS},
        Input.CHALLENGE: {1: STAYS, 2: STAYS},
        Input.RESPONSE: {1: STAYS, 2: STAYS},
        Input.TOKEN_LOSS: {1: GATHER, 2: GATHER},
        Input.TOKEN_RETRANSMIT: {1: STAYS, 2: STAYS},
        Input.TOKEN_HOLD: {1: STAYS, 2: STAYS},
        Input.JOIN_TIMEOUT: {1: STAYS, 2: STAYS},
        Input.CONSENSUS: {1: STAYS, 2: STAYS},
        Input.MERGE_DETECT: {1: STAYS, 2: STAYS},
        Input.LEAVE_TIMEOUT: {1: LEFT, 2: LEFT},
        Input.SLOW_CONSUMER: {1: LEFT, 2: LEFT},
        Input.STANDSTILL: {1: STAYS, 2: STAYS},
    },
    LEFT: {what: {1: STAYS, 2: STAYS} for what in Input},
}


class Node:
    """One processor without its turns: what its parts share, and its states."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.membership = Membership(context)
        self.node = int(context.node)

    @property
    def state(self) -> State:
        return self.membership.state

    def handle(self, what: int, sender: int, body: Any) -> None:
        """One input."""
        self.membership.handle(what, sender, body)

    @property
    def ring(self) -> RingState:
        """The ring that was installed last."""
        return self.membership.ring

    @property
    def forming_ring(self) -> RingState:
        """The ring that forms."""
        part = self.membership.part
        assert isinstance(part, Forming)
        return part.passing.ring


class Ring:
    """Processors 1, 2 and 3, joined by one queue of datagrams, on a clock moved by hand."""

    def __init__(self, under_test: int) -> None:
        self.now = 100.0
        self.audits: dict[int, list[tuple[Any, ...]]] = {node: [] for node in NODES}
        self.nodes = {node: self._begin(node, bytes([node]) * 16) for node in NODES}
        self.me = self.nodes[under_test]
        self.queue: deque[tuple[int, bytes]] = deque()
        self.offered: list[bytes] = []
        self.serials = dict.fromkeys(NODES, 0)
        """The last serial of each that was sent."""

    def _begin(self, node: int, seed: bytes) -> Node:
        return Node(Context(node, CONFIG, 1400, Entropy(seed), self.now, 0, self.audits[node]))

    def start_anew(self, node: int) -> None:
        """Another life of a processor begins; the one before says nothing more."""
        self.audits[node] = []
        self.nodes[node] = self._begin(node, bytes([100 + node]) * 16)

    def identity(self, node: int) -> Identity:
        """That of its next datagram of membership."""
        return Identity(self.incarnation(node), self.serials[node] + 1, LIMITS)

    def incarnation(self, node: int) -> int:
        start = self.audits[node][0]
        assert start[:2] == ("START", node)
        return int(start[2])

    def others(self) -> list[int]:
        return [node for node in NODES if node != self.me.node]

    def collect(self) -> None:
        for node, processor in self.nodes.items():
            transmits, processor.context.transmits = processor.context.transmits, []
            for destination, datagram in transmits:
                if datagram[1] in (Kind.JOIN, Kind.BEACON, Kind.LEAVE):
                    self.serials[node] = int.from_bytes(datagram[24:32], "big")
                for other in NODES:
                    if other != node and destination in (0, other):
                        self.queue.append((other, datagram))

    def step(self, *, withhold: bool = False) -> None:
        """One datagram arrives, or time passes until a timer is due."""
        self.collect()
        self.now += 0.000_01
        if not self.queue:
            self.now = max(self.now, min(node.context.timers.next for node in self.nodes.values()))
            for node in self.nodes.values():
                node.context.now = self.now
                node.membership.handle_timeouts()
            return
        destination, datagram = self.queue.popleft()
        if withhold and destination == self.me.node:
            self.offered.append(datagram)
        else:
            give(self.nodes[destination], datagram, self.now)

    def bring_to(self, state: State) -> None:
        """Until the processor under test has just come into a state."""
        if state is LEFT:
            self.bring_to(OPERATIONAL)
            self.me.handle(Input.LEAVE_TIMEOUT, 0, None)
            assert self.me.state is LEFT
        for _ in range(10_000):
            if self.me.state is state:
                self.collect()
                return
            self.step()
        raise AssertionError(f"{state} was not reached")

    def next_for_me(self, kind: Kind) -> bytes:
        """What the others send to the processor under test next, of this kind; it is not given to it."""
        for _ in range(10_000):
            for datagram in self.offered:
                if datagram[1] == kind:
                    self.offered.clear()
                    return datagram
            self.step(withhold=True)
        raise AssertionError(f"no {kind.name} came")


def give(node: Node, datagram: bytes, now: float) -> None:
    """A datagram arrives."""
    node.context.now = now
    codec = node.context.codec
    kind, sender = codec.open(datagram)
    node.membership.handle(kind, sender, decode(codec, datagram))
    if kind == Kind.DATA:
        node.membership.deliver_arrivals()


def decode(codec: Codec, datagram: bytes) -> object:
    kind = Kind(datagram[1])
    if kind is Kind.DATA:
        return codec.decode_data(datagram)
    if kind is Kind.TOKEN:
        return codec.decode_token(datagram, 128)
    return MembershipCodec(codec).decode(kind, datagram, 64)


def make_input(ring: Ring, state: State, what: Input) -> tuple[int, object]:
    """(sender, body) of the input that does most in this state."""
    if what >= TIMER_INPUTS:
        return 0, None
    me = ring.me
    peer = ring.others()[0]
    forming = None
    if state in (COMMIT, RECOVERY):
        part = decode(me.context.codec, ring.next_for_me(Kind.COMMIT)) if state is COMMIT or me.node == 1 else None
        if part is None:
            token = decode(me.context.codec, ring.next_for_me(Kind.TOKEN))
            assert isinstance(token, Token)
            forming = token.ring
        else:
            assert isinstance(part, CommitPart)
            forming = part.ring
            if what is Input.COMMIT:
                return 3, part
    present = me.ring.name if forming is None else forming
    if what is Input.DATA:
        made = packet(1, sender=3, ring=present)
        return 3, Codec(CONFIG.cluster_hash, 3).decode_data(
            Codec(CONFIG.cluster_hash, 3).encode_data(present, 1, 0, False, made.chunks()).datagram
        )
    if what is Input.TOKEN:
        phase = Phase.INSTALLED if state is OPERATIONAL else Phase.EXCHANGE
        seq = me.ring.window.high if state is OPERATIONAL else 0
        return 3, Token(me.node, present, 10_000, seq, seq, seq, 0, 0, 0, phase, False, ())
    if what is Input.JOIN:
        if state is GATHER:
            return peer, Join(ring.identity(peer), 1, (peer, me.node) if peer < me.node else (me.node, peer), ())
        return peer, Join(ring.identity(peer), ring_from_bytes(present).sequence, NODES, ())
    if what is Input.COMMIT:
        # In gather, the first rotation for a ring of all; later, any commit token for me.
        target = ring_bytes(RingId(me.context.ring_sequence + 1, 1, 77))
        mine = Entry(1, ring.incarnation(1), True, ring_bytes(RingId(1, 1, 5)), 0, 0, ())
        return 1, CommitPart(me.node, target, 1, 3, 0, (mine, *map(empty_entry, NODES[1:])))
    if what is Input.BEACON:
        other_ring = ring_bytes(RingId(1000, STRANGER, 5))
        return STRANGER, Beacon(Identity(99, 1, LIMITS), other_ring, 1, 100, (STRANGER,), ())
    if what is Input.WAKE:
        return peer, present
    if what is Input.LEAVE:
        return peer, Leave(ring.identity(peer), present)
    if what is Input.ACKNOWLEDGEMENT:
        return 3, Acknowledgement(me.node, present, Kind.TOKEN, 0, 10_000)
    if what is Input.CHALLENGE:
        return peer, Challenge(me.node, ring.incarnation(me.node), 77, 78)
    if what is Input.RESPONSE:
        return peer, Response(ring.incarnation(peer), 77, 1, 3)
    assert what is Input.REFUSE
    refused = LIMITS._replace(window_size=LIMITS.window_size + 1)
    return STRANGER, Refuse(me.node, ring.incarnation(me.node), 60, refused)


def answer_challenges(me: Node) -> None:
    """Whoever was just asked whether it lives says that it does."""
    for _, datagram in list(me.context.transmits):
        if datagram[1] == Kind.CHALLENGE:
            challenge = MembershipCodec(me.context.codec).decode_challenge(datagram)
            me.handle(Input.RESPONSE, challenge.target, Response(challenge.incarnation, challenge.nonce, 2**40, 1))


def everything(node: Node) -> tuple[object, ...]:
    """All that can be seen of a processor from outside, but for the count of what it ignored."""
    context = node.context
    counters = {name: count for name, count in context.counters.values.items() if name != "ignored"}
    deadlines = tuple(context.timers.deadline(timer) for timer in Timer)
    window = node.ring.window
    return (
        node.state,
        context.ring_sequence,
        node.ring.id,
        (window.released, window.aru, window.high, node.ring.token_seq),
        list(context.transmits),
        context.delivery.pending,
        context.delivery.configuration,
        context.barrier.waiting_for,
        [len(queue) for queue in context.outbox.queues],
        deadlines,
        counters,
        node.membership.failure,
    )


PAIRS = [(state, what) for state in State for what in Input]


def test_tables_list_every_pair() -> None:
    for table in (TABLE, EXPECTED):
        assert {(state, what) for state, row in table.items() for what in row} == set(PAIRS)


def leads_to(state: State, what: Input, end: State) -> bool:
    """Whether the core's table says that this input can end there, maybe through other states."""
    reached = set(TABLE[state][what].next)
    before: set[State] = set()
    while reached != before:
        before = set(reached)
        reached |= {end for one in before for row in TABLE[one].values() for end in row.next}
    return end in reached


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.name.lower())
def test_the_table_names_the_methods_that_are_called(state: State) -> None:
    ring = Ring(MEMBER)
    ring.bring_to(state)
    membership = ring.me.membership
    part = membership.part
    handlers = {} if part is None else {**membership.handlers(), **part.handlers()}
    called = {
        what: f"{handler.__self__.__class__.__module__.rpartition('.')[2]}.{handler.__name__}"
        for what, handler in handlers.items()
    }
    assert called == {what: row.handler for what, row in TABLE[state].items() if row.handler != IGNORED}


def test_inputs_are_the_types_of_datagrams_and_the_timers() -> None:
    assert {what.name: int(what) for what in Input if what < TIMER_INPUTS} == {kind.name: int(kind) for kind in Kind}
    assert {int(what) - TIMER_INPUTS for what in Input if what >= TIMER_INPUTS} == {int(timer) for timer in Timer}
    names = {"JOIN_TIMEOUT": "JOIN", "LEAVE_TIMEOUT": "LEAVE"}
    for what in Input:
        if what >= TIMER_INPUTS:
            assert Timer(what - TIMER_INPUTS).name == names.get(what.name, what.name)


@pytest.mark.parametrize("under_test", [REPRESENTATIVE, MEMBER])
@pytest.mark.parametrize(("state", "what"), PAIRS, ids=lambda part: part.name.lower())
def test_every_input_in_every_state(state: State, what: Input, under_test: int) -> None:
    ring = Ring(under_test)
    ring.bring_to(state)
    sender, body = make_input(ring, state, what)
    me = ring.me
    me.context.now = ring.now
    before = everything(me)
    ignored = me.context.counters.values.get("ignored", 0)
    me.handle(what, sender, body)
    if what in (Input.JOIN, Input.BEACON, Input.LEAVE, Input.COMMIT):
        answer_challenges(me)
    if what is Input.COMMIT and me.state is GATHER:
        me.handle(what, sender, body)  # it comes again, as long as nobody has acknowledged it
    expected = EXPECTED[state][what][under_test]
    assert me.state is (state if expected is STAYS else expected)
    assert expected is STAYS or leads_to(state, what, expected)
    if TABLE[state][what].handler == IGNORED:
        assert everything(me) == before
        assert me.context.counters.values["ignored"] == ignored + 1
    elif what is Input.STANDSTILL:
        assert everything(me) == before, "nobody is waited for"
    elif what is Input.MERGE_DETECT and under_test == MEMBER:
        assert everything(me) == before, "nobody is put off, so only the representative speaks"
    elif what not in (Input.WAKE, Input.TOKEN_HOLD, Input.TOKEN_RETRANSMIT):
        assert everything(me) != before
    if me.state is LEFT:
        assert me.context.timers.next == float("inf")


@pytest.mark.parametrize("under_test", [REPRESENTATIVE, MEMBER])
@pytest.mark.parametrize("state", [GATHER, COMMIT, RECOVERY, OPERATIONAL], ids=lambda state: state.name.lower())
@pytest.mark.parametrize("what", list(Input), ids=lambda what: what.name.lower())
def test_ring_forms_after_any_input_in_any_state(state: State, what: Input, under_test: int) -> None:
    """Whatever came, those who are still there end together on one ring."""
    ring = Ring(under_test)
    ring.bring_to(state)
    sender, body = make_input(ring, state, what)
    ring.me.context.now = ring.now
    ring.me.handle(what, sender, body)
    ring.offered.clear()
    alive = [node for node in ring.nodes.values() if node.state is not LEFT]
    for _ in range(20_000):
        ring.step()
        members = tuple(node.node for node in alive)
        if all(node.state is OPERATIONAL and node.ring.members == members for node in alive):
            break
    assert len({node.ring.id for node in alive}) == 1
    assert all(node.ring.members == members for node in alive)


def test_gather_alone_ends_on_a_ring_of_one() -> None:
    ring = Ring(MEMBER)
    me = ring.me
    me.handle(Input.CONSENSUS, 0, None)
    assert me.state is OPERATIONAL
    assert me.ring.members == (2,)


def test_who_is_silent_is_given_up_first_and_the_ring_formed_without_it_then() -> None:
    ring = Ring(REPRESENTATIVE)
    me = ring.me
    beacon = Beacon(Identity(99, 1, LIMITS), ring_bytes(RingId(9, STRANGER, 5)), 1, 100, (STRANGER,), ())
    me.handle(Input.BEACON, STRANGER, beacon)
    answer_challenges(me)
    assert me.state is GATHER
    me.handle(Input.CONSENSUS, 0, None)
    assert me.state is GATHER
    me.handle(Input.CONSENSUS, 0, None)
    assert me.state is OPERATIONAL
    assert me.ring.members == (1,)


def test_consensus_without_a_commit_token_begins_gathering_again() -> None:
    ring = Ring(MEMBER)
    sender, body = make_input(ring, GATHER, Input.JOIN)
    ring.me.handle(Input.JOIN, sender, body)
    answer_challenges(ring.me)
    gathers = ring.me.context.counters.values["gathers"]
    ring.me.handle(Input.CONSENSUS, 0, None)
    assert ring.me.state is GATHER
    assert ring.me.context.counters.values["gathers"] == gathers + 1


def test_last_other_member_that_leaves_leaves_a_ring_of_one_at_once() -> None:
    ring = Ring(MEMBER)
    ring.bring_to(OPERATIONAL)
    for peer in (1, 3):
        ring.me.handle(Input.LEAVE, peer, Leave(ring.identity(peer), ring.me.ring.name))
    assert ring.me.state is OPERATIONAL
    assert ring.me.ring.members == (2,)


def resting(ring: Ring) -> Node:
    """The representative of an idle ring, with the token at rest."""
    me = ring.me
    for _ in range(20_000):
        if me.state is OPERATIONAL and me.context.timers.is_set(Timer.TOKEN_HOLD):
            ring.collect()
            ring.queue.clear()
            return me
        ring.step()
    raise AssertionError("the token never rested")


def test_no_token_is_missed_while_it_rests_here() -> None:
    me = resting(Ring(REPRESENTATIVE))
    assert not me.context.timers.is_set(Timer.TOKEN_LOSS)


def test_token_that_comes_while_one_rests_takes_its_place() -> None:
    """Nobody honest sends it; but it must not make two tokens of one."""
    ring = Ring(REPRESENTATIVE)
    me = resting(ring)
    high = me.ring.window.high
    forged = Token(me.node, me.ring.name, me.ring.token_seq + 10, high, high, high, 0, 0, 1, Phase.INSTALLED, False, ())
    # A retransmission request makes the ring not idle, so that this one goes on at once.
    me.handle(Input.TOKEN, 3, forged._replace(requests=(high,)))
    sent = [datagram for _, datagram in me.context.transmits if datagram[1] == Kind.TOKEN]
    assert len(sent) == 1 and not me.context.timers.is_set(Timer.TOKEN_HOLD)
    me.handle(Input.TOKEN_HOLD, 0, None)
    me.handle(Input.WAKE, 2, me.ring.name)
    assert [datagram for _, datagram in me.context.transmits if datagram[1] == Kind.TOKEN] == sent


def test_packet_that_nobody_can_have_sent_does_not_reach_a_ring_of_one() -> None:
    """Its token is always here. A packet with the next number would take the place of the own one."""
    ring = Ring(REPRESENTATIVE)
    me = ring.me
    me.handle(Input.CONSENSUS, 0, None)
    assert me.state is OPERATIONAL and me.ring.members == (1,)
    next_seq = me.ring.window.high + 1
    codec = ring.nodes[2].context.codec
    forged = codec.encode_recovered(me.ring.name, next_seq, packet(1, sender=2))
    me.handle(Input.DATA, 2, codec.decode_data(forged.datagram))
    assert me.context.counters.values["dropped_implausible"] == 1 and me.ring.window.high == next_seq - 1


def test_stranger_that_leaves_is_counted_and_changes_nothing() -> None:
    ring = Ring(REPRESENTATIVE)
    ring.bring_to(OPERATIONAL)
    me = ring.me
    before = me.context.counters.values.get("dropped_stranger", 0)
    me.handle(Input.LEAVE, STRANGER, Leave(Identity(99, 1, LIMITS), me.ring.name))
    other_life = ring.identity(2)._replace(incarnation=99)
    me.handle(Input.LEAVE, 2, Leave(other_life, me.ring.name))
    assert me.state is OPERATIONAL and me.ring.members == NODES
    assert me.context.counters.values["dropped_stranger"] == before + 2


def test_data_of_a_stranger_is_counted_and_changes_nothing() -> None:
    ring = Ring(REPRESENTATIVE)
    ring.bring_to(OPERATIONAL)
    me = ring.me
    seq = me.ring.window.high + 1
    foreign = Codec(CONFIG.cluster_hash, STRANGER)
    made = foreign.encode_data(me.ring.name, seq, seq, False, packet(1, sender=3, ring=me.ring.name).chunks())
    me.handle(Input.DATA, STRANGER, foreign.decode_data(made.datagram))
    assert me.context.counters.values["dropped_stranger"] == 1 and me.ring.window.high == seq - 1


def test_member_that_gathers_anew_ends_a_formation_that_it_has_not_joined() -> None:
    """A join was lost: 3 does not know what the others agreed on, and will not take their commit token."""
    ring = Ring(REPRESENTATIVE)
    ring.bring_to(COMMIT)
    me = ring.me
    agreed = Join(ring.identity(3), 1, NODES, ())
    me.handle(Input.JOIN, 3, agreed)
    assert me.state is COMMIT, "it only repeats what was agreed on"
    ring.serials[3] += 1
    me.handle(Input.JOIN, 3, Join(ring.identity(3), 1, (1, 3), ()))
    assert me.state is GATHER
