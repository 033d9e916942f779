"""Membership: a processor as a whole, with all its states, and what it does on an installed ring.

One table (``states.py``) names a method for each pair of (state, input); each state is entered through one ``_enter_``
method. The methods of gather are in ``seeker.py``, on which this room stands.

What the network says is checked and, when it cannot be, counted and dropped; asserts speak only of this code.

While a ring forms, the old one stays as it was: a formation that fails costs nothing but time, except that packets of
the old ring may have been recovered, which is always right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ringproto._core.commit import Assembler, CommitToken, empty_entry
from ringproto._core.entropy import Entropy
from ringproto._core.formation import Formation
from ringproto._core.seeker import Seeker
from ringproto._core.states import IGNORED, TABLE, TIMER_INPUTS, Input, State
from ringproto._core.timers import Timer
from ringproto._core.wire import Packet, Phase, Token, ring_from_bytes
from ringproto._core.wire_membership import Beacon, CommitPart, Entry, Join, Leave, Refuse
from ringproto.config import Config
from ringproto.errors import RingError, SlowConsumerError
from ringproto.types import RingId

_OPERATIONAL = State.OPERATIONAL  # to look a member of an enum up costs more than most of what follows
_LEFT = State.LEFT
_TOKEN_LOSS = int(Timer.TOKEN_LOSS)
_TOKEN_RETRANSMIT = int(Timer.TOKEN_RETRANSMIT)
_TOKEN_HOLD = int(Timer.TOKEN_HOLD)
_SLOW_CONSUMER = int(Timer.SLOW_CONSUMER)
_LEAVE_COPIES = 3
"""A leave is said so often at once: nobody answers it, and each loss costs the others a timeout."""


class Membership(Seeker):
    """The state of one processor."""

    def __init__(
        self,
        node: int,
        config: Config,
        datagram_size: int,
        entropy: Entropy,
        now: float,
        ring_sequence: int,
        audit: list[tuple[Any, ...]] | None,
        origin: int = 0,
    ) -> None:
        super().__init__(node, config, datagram_size, entropy, now, ring_sequence, audit, origin)
        self._go(State.GATHER)
        self.failure: RingError | None = None
        self._drain = False
        self._entropy = entropy
        self._datagram_size = datagram_size
        self._assembler = Assembler()
        self._obligations: frozenset[int] = frozenset()
        self._ever_joined = False
        self._put_off_at = -math.inf
        self._enter_gather((node,))

    # Doors

    def handle(self, what: int, sender: int, body: Any) -> None:
        """One input in the present state."""
        door = self._doors[what]
        if door is None:
            self.counters.add("ignored")
        else:
            door(self, sender, body)

    def _go(self, state: State) -> None:
        """From now on inputs come in by the doors of this state."""
        self.state = state
        self._doors = _DOORS[state]

    def handle_timeouts(self) -> None:
        """All timers that are due."""
        while (timer := self.timers.pop_due(self.now)) is not None:
            self.handle(TIMER_INPUTS + timer, 0, None)

    def forgive_pause(self, slack_s: float) -> None:
        """This process was away past its deadlines. What waits in its socket is read before others are judged."""
        for timer in (Timer.TOKEN_LOSS, Timer.CONSENSUS):
            if self.timers.deadline(timer) < self.now - slack_s:
                self.timers.set(timer, self.now + slack_s)
                self.counters.add("pauses")

    def want_token(self) -> None:
        """Something waits to be sent: a resting token is called, unless it could take nothing."""
        if self.state is _OPERATIONAL and self.outbox.ready() and not self.ring.blocked:
            self._call_token()

    def _call_token(self) -> None:
        """Let the token go on that rests here or elsewhere; as the only member one always has it."""
        ring = self.ring
        if self._own_token is not None:
            ring.idle_visits = 0
            self.pump()
        elif self._resting is not None:
            if not self._resting.unfinished:  # then it goes on anyway, when what was sent is on its way
                self.go_on()
        elif not self._woke and ring.rests_elsewhere():
            self._woke = True
            self._transmit(ring.last_sender, self.membership_codec.encode_wake(ring.name), "wakes_sent")

    def pump(self) -> None:
        """Alone on a ring: let the token go round until it need not."""
        while self._own_token is not None:
            if self.state is _OPERATIONAL and self.ring.idle_visits >= 2:
                break
            token, self._own_token = self._own_token, None
            if self.state is State.RECOVERY:
                self._take_forming_token(self._forming, token)
            else:
                self._note_token(self.ring, token)
                if not self._gathers_anew(self.ring, token):
                    self._visit(token)

    def resume(self) -> None:
        """The application has taken events: deliver what was held back."""
        self._resume_delivery()
        self.timers.clear(_SLOW_CONSUMER)
        self.watch_consumer()

    def _resume_delivery(self) -> None:
        if self.state is _OPERATIONAL and self.delivery.held and not self.delivery.is_full():
            self._deliver()
            # The others may be waiting for the room that this made.
            self._called = self._called or self._resting is not None
            self._call_token()

    def watch_consumer(self) -> None:
        """Past its bound, a full stream makes the processor leave."""
        if not self.delivery.is_full() or self.leaving or self.state is _LEFT:
            self.timers.clear(_SLOW_CONSUMER)
        elif not self.timers.is_set(_SLOW_CONSUMER):
            self.timers.set(_SLOW_CONSUMER, self.now + self.config.slow_consumer_timeout_s)

    def begin_leave(self, drain: bool) -> None:
        """Leave, at the latest after ``leave_timeout_s``; with ``drain`` not before what was accepted is sent."""
        if self.leaving or self.state is _LEFT:
            return
        self.leaving = True
        self._drain = drain
        self.timers.set(Timer.LEAVE, self.now + self.config.leave_timeout_s)
        self.timers.clear(_SLOW_CONSUMER)
        self.delivery.widen()
        self._resume_delivery()
        self.leave_when_drained()

    def leave_when_drained(self) -> None:
        """What was sent must be at every member before this processor goes, or its own place in the order is lost."""
        if not self.leaving or self.state is _LEFT:
            return
        waits = any(map(len, self.outbox.queues)) or self.barrier.unblock_due
        if not (waits and self._drain) and self.ring.stable >= self.ring.last_own:
            self._depart(0, None)

    def _visited(self) -> None:
        if self.now >= self._beacon_at and self._resting is None:
            self._beacon_due(0, None)
        self.leave_when_drained()

    # Commit

    def _form(self, members: tuple[int, ...]) -> None:
        """All agree and this processor has the smallest id: it is the representative."""
        self.ring_sequence += 1
        ring_id = RingId(self.ring_sequence, self.node, self._entropy.next())
        ring = self._new_ring(ring_id, members)
        token = CommitToken(ring.name, 0, tuple(map(empty_entry, members))).filled(self._entry())
        formation = Formation(ring, token)
        if len(members) == 1:
            self._enter_recovery(formation, token)
            self._start_token(formation)
        else:
            self._enter_commit(formation, token)

    def _entry(self) -> Entry:
        return Entry(
            self.node,
            self._speakers.incarnation,
            True,
            self.ring.name,
            self.ring.window.aru,
            self.delivery.delivered,
            tuple(sorted(self._obligations)),
        )

    def _enter_commit(self, formation: Formation, token: CommitToken) -> None:
        self._go(State.COMMIT)
        self._formation = formation
        self.timers.clear(Timer.JOIN)
        self.timers.clear(Timer.CONSENSUS)
        self._pass_commit(formation, token)

    def _pass_commit(self, formation: Formation, token: CommitToken) -> None:
        formation.pass_on(token, self.membership_codec, self._datagram_size)
        self._resend_s = self.config.retransmit_s
        self._send_commit(formation, "commit_tokens_sent")
        self.timers.set(_TOKEN_LOSS, self.now + self.config.token_timeout_s)

    def _send_commit(self, formation: Formation, count: str) -> None:
        for datagram in formation.datagrams:
            self._transmit(formation.ring.successor, datagram, count)
        self.timers.set(_TOKEN_RETRANSMIT, self.now + self._resend_s)

    @property
    def _forming(self) -> Formation:
        assert self._formation is not None, "there is a formation in commit and in recovery"
        return self._formation

    def _commit_token(self, part: CommitPart) -> CommitToken | None:
        """The whole commit token, if it is for me and this part completes it."""
        if part.destination != self.node:
            self.counters.add("dropped_not_for_me")
            return None
        return self._assembler.add(part)

    def _commit_in_gather(self, sender: int, part: CommitPart) -> None:
        token = self._commit_token(part)
        if token is None:
            return
        ring_id = ring_from_bytes(token.ring)
        members = token.members
        gather = self._gather
        if not self._sequence_in_reach(ring_id.sequence):
            return
        if ring_id.sequence <= self.ring_sequence:
            self.counters.add("dropped_late_copy")
        elif self.node not in members or ring_id.representative != members[0] or members[0] == self.node:
            self.counters.add("dropped_not_for_me")
        elif not gather.fail_set.isdisjoint(members) or not set(gather.alive).issubset(members):
            # Who formed this does not know yet what I know; it will hear my join.
            self.counters.add("dropped_other_membership")
        else:
            self.ring_sequence = ring_id.sequence
            ring = self._new_ring(ring_id, members)
            token = token.filled(self._entry())
            self._enter_commit(Formation(ring, token), token)

    def _commit_in_commit(self, sender: int, part: CommitPart) -> None:
        token = self._commit_token(part)
        if token is None:
            return
        formation = self._forming
        objection = formation.objection(token, self._entry())
        if objection is not None:
            self.counters.add(objection)
        else:
            self._enter_recovery(formation, token)
            self._pass_commit(formation, token)

    def _commit_in_recovery(self, sender: int, part: CommitPart) -> None:
        token = self._commit_token(part)
        if token is None:
            return
        if self._forming.starts_token(token, self.node):
            self._start_token(self._forming)
        else:
            self.counters.add("dropped_late_copy")

    def _leave_while_forming(self, sender: int, leave: Leave) -> None:
        if self._is_leaving(sender, leave):
            self._gather_without(sender, self._forming.ring)

    def _join_while_forming(self, sender: int, join: Join) -> None:
        """A member that does not take part in this formation any more ends it; others wait until it is done."""
        if not self._hears_join(sender, join):
            return
        ring = self._forming.ring
        # Who has not had the commit token and says other sets than those agreed on will not take it either.
        gone = join.ring_sequence >= ring.id.sequence or (self.state is State.COMMIT and not self._gather.same(join))
        if sender in ring.members and gone:
            self._enter_gather(ring.members)
            self._take_join(sender, join)
        else:
            self.counters.add("ignored")

    # Recovery

    def _enter_recovery(self, formation: Formation, token: CommitToken) -> None:
        self._go(State.RECOVERY)
        self._formation = formation
        formation.recover(token, self.ring, self.node, self.codec)
        self.timers.clear(Timer.JOIN)
        self.timers.clear(Timer.CONSENSUS)

    def _start_token(self, formation: Formation) -> None:
        """The commit token came back to the representative for the second time: the regular token starts."""
        self._take_forming_token(formation, formation.ring.first_token())
        self.pump()

    def _data_in_recovery(self, sender: int, packet: Packet) -> None:
        formation = self._forming
        if packet.ring != formation.ring.name:
            self.counters.add("dropped_other_ring")
        elif formation.ring.token_seq == 0 and formation.ring.representative == self.node:
            self.counters.add("dropped_implausible")  # the ring has no token yet, so nobody can have sent on it
        elif not formation.ring.window.insert(packet):
            self.counters.add("duplicates")
        else:
            self.timers.clear(_TOKEN_RETRANSMIT)
            if packet.old_ring:
                formation.exchange.receive(packet)

    def _token_in_recovery(self, sender: int, token: Token) -> None:
        formation = self._forming
        if self._accepts(formation.ring, token):
            self._take_forming_token(formation, token)
            self.pump()

    def _take_forming_token(self, formation: Formation, token: Token) -> None:
        """Totem, section 6; the representative leads through the phases (departure 3 in docs/protocol.md)."""
        ring = formation.ring
        self._note_token(ring, token)
        if self._gathers_anew(ring, token):
            return
        token = formation.advance(token, self.node)
        if ring.phase == Phase.INSTALLED:
            self._enter_operational(formation)
            self._visit(token)
            return
        visit = formation.visit(token, self.codec)
        if formation.promised:
            self._obligations = formation.exchange.deliver_set
        self._pass_token(ring, visit)

    # Operational

    def _enter_operational(self, formation: Formation) -> None:
        """Install: the rest of the old ring, the transitional and the regular configuration (Totem, section 6)."""
        old, ring, exchange = self.ring, formation.ring, formation.exchange
        self.delivery.end_ring(old.window, old.id, exchange.high_delivered, exchange.transitional, exchange.deliver_set)
        self.delivery.install(ring.id, ring.members, len(ring.members) >= self.config.quorum)
        self.outbox.abort_round()
        gather = self._gather
        self._hearing.mark({node: self._speakers.incarnation_of(node) for node in sorted(gather.fail_set)}, self.now)
        self._hearing.lift(ring.members)
        # What the exchange carried was taken out as it came; there is nothing in it to deliver on the new ring.
        self.delivery.delivered = ring.window.released
        self.counters.add("configurations")
        self.counters.add("recovered", exchange.recovered)
        self.counters.add("rotations", old.rotations)
        self.counters.add("packets_sent", old.sent)
        self.counters.add("retransmissions", old.retransmitted)
        self.ring = ring
        self._incarnations = {entry.node: entry.incarnation for entry in formation.commit.entries}
        self._obligations = frozenset()
        self._formation = None
        self._called = False
        self._woke = False
        self._ever_joined = self._ever_joined or len(ring.members) > 1
        self._go(State.OPERATIONAL)
        if ring.representative == self.node:
            self._await_beacon()

    def _data_in_operational(self, sender: int, packet: Packet) -> None:
        ring = self.ring
        if packet.ring != ring.name:
            self.counters.add("dropped_other_ring")
        elif packet.sender not in self._incarnations and not packet.old_ring:
            self.counters.add("dropped_stranger")
        elif (here := self._resting or self._own_token) is not None and packet.seq > here.seq:
            self.counters.add("dropped_implausible")  # the token is here, so nobody else can have originated it
        elif not ring.window.insert(packet):
            self.counters.add("duplicates")
        else:
            ring.note_packet(packet)
            self._note_sign(sender)
            if packet.seq > ring.forwarded_seq:
                # Somebody after me had the token, so it is not lost between me and my successor.
                self.timers.clear(_TOKEN_RETRANSMIT)

    def _token_in_operational(self, sender: int, token: Token) -> None:
        ring = self.ring
        if not self._accepts(ring, token):
            known = token.ring == ring.name and sender in self._incarnations
            if known and token.token_seq == ring.token_seq and token.destination == self.node:
                self._transmit(sender, self._beacon(), "answers_sent")
            return
        # A token that rests here is an older one: nobody honest sent this, and two must not go on.
        self._resting = None
        self.timers.clear(_TOKEN_HOLD)
        self._note_token(ring, token)
        if not self._gathers_anew(ring, token):
            self._visit(token)

    def _join_in_operational(self, sender: int, join: Join) -> None:
        """A member has left this ring for gather, or a stranger wants to come."""
        if not self._hears_join(sender, join):
            return
        ring = self.ring
        member = sender in ring.members
        same = self._incarnations.get(sender) == join.identity.incarnation
        if member and same and join.ring_sequence < ring.id.sequence:
            self.counters.add("dropped_late_copy")
        elif not member and self._overfills({sender, *join.proc_set}.difference(join.fail_set)):
            self.counters.add("dropped_ring_full")
        elif not member and self._hearing.puts_off_join(ring.members, sender, self.now):
            self._put_off()
        elif not member and self.node in join.fail_set:
            self.counters.add("ignored")
        else:
            if member and same:
                self._gather_from_broken_ring()
            else:
                self._enter_gather(ring.members)
            self._take_join(sender, join)

    def _beacon_in_operational(self, sender: int, beacon: Beacon) -> None:
        if not self._hears_beacon(sender, beacon) or beacon.ring == self.ring.name:
            return
        sequence = ring_from_bytes(beacon.ring).sequence
        same = self._incarnations.get(sender) == beacon.identity.incarnation
        if same and sequence <= self.ring.id.sequence:
            self.counters.add("dropped_late_copy")
        elif sender not in self.ring.members and self._overfills({sender, *beacon.members}):
            self.counters.add("dropped_ring_full")
        elif self._hearing.puts_off_beacon(self.ring.members, sender, self.now):
            self._put_off()
        else:
            self._say_beacon()  # all that made me gather, so that no member of the other ring puts me off
            self._enter_gather((*self.ring.members, sender))

    def _leave_in_operational(self, sender: int, leave: Leave) -> None:
        if sender not in self.ring.members:
            self.counters.add("dropped_stranger")
        elif self._is_leaving(sender, leave):
            self._gather_without(sender, self.ring)

    def _overfills(self, strangers: set[int]) -> bool:
        """Whether a ring with these as well would have too many members: it could not form, so it is not tried."""
        return len(strangers.union(self.ring.members)) > self.config.members_max

    # The token may be lost, in operational and before

    def _retransmit_token(self, sender: int, body: None) -> None:
        """Nothing was heard of the token, or of the commit token: once more, and the next time sooner.

        It may have been lost on a link that loses most of what is sent over it. The ring breaks with the token timeout,
        and within it the token should be tried as often as may be.
        """
        formation = self._formation
        ring = self.ring if formation is None else formation.ring
        self._resend_s = max(self.config.token_retransmit_min_s, self._resend_s / 2)
        if formation is not None and ring.forwarded is None:
            self._send_commit(formation, "commit_tokens_retransmitted")
        else:
            assert ring.forwarded is not None
            self._unanswered += formation is None
            self._transmit(ring.successor, ring.forwarded, "tokens_retransmitted")
            self.timers.set(_TOKEN_RETRANSMIT, self.now + self._resend_s)

    def _token_loss(self, sender: int, body: None) -> None:
        self.counters.add("token_losses")
        if self._formation is None:
            self._gather_from_broken_ring()
        else:
            self._enter_gather(self._forming.ring.members)

    # Beacons

    def _put_off(self) -> None:
        """Somebody who was left out is there. Until it is welcome or gone, all members say whom they hear."""
        self.counters.add("rejoins_put_off")
        self._put_off_at = self.now
        if not self.timers.is_set(Timer.MERGE_DETECT):
            self._say_beacon()

    def _beacon_due(self, sender: int, body: None) -> None:
        """The representative tells other rings that this one is there; the others, while somebody is put off."""
        self._beacon_at = math.inf
        self.timers.clear(Timer.MERGE_DETECT)
        if self.ring.representative == self.node or self.now - self._put_off_at < self._hearing.fresh_s:
            self._say_beacon()

    def _beacon(self) -> bytes:
        beacon = Beacon(self._speakers.identity(), self.ring.name, self.ring.members, self._hearing.heard(self.now))
        return self.membership_codec.encode_beacon(beacon)

    def _say_beacon(self) -> None:
        self._transmit(0, self._beacon(), "beacons_sent")
        self._await_beacon()

    def _await_beacon(self) -> None:
        """The next one goes with the token, so that nobody is woken by each of the two, if that comes in time."""
        self._beacon_at = self.now + self.config.merge_detect_s
        self.timers.set(Timer.MERGE_DETECT, self._beacon_at + self.config.hold_s)

    # Leaving

    def _refused(self, sender: int, refuse: Refuse) -> None:
        """Who ever was on a ring with others stays there, whatever a datagram says."""
        failure = self._speakers.refused(sender, refuse, len(self.ring.members))
        if failure is not None and not self._ever_joined:
            self.failure = failure
            self._leave_ring("refused")

    def _slow_consumer(self, sender: int, body: None) -> None:
        self.failure = SlowConsumerError(
            f"the application took no event for {self.config.slow_consumer_timeout_s} s while "
            f"{self.delivery.pending} waited; read ring.events faster, or raise Config.slow_consumer_timeout_s, "
            "events_max or events_bytes_max"
        )
        self._leave_ring("slow consumer")

    def _depart(self, sender: int, body: None) -> None:
        self._leave_ring("clean")

    def _leave_ring(self, how: str) -> None:
        """Tell the ring, so that it need not wait for a timeout, and stop."""
        datagram = self.membership_codec.encode_leave(Leave(self._speakers.identity(), self.ring.name))
        for _ in range(_LEAVE_COPIES):
            self._transmit(0, datagram, "leaves_sent")
        self._go(State.LEFT)
        self._resting = None
        self._own_token = None
        for timer in Timer:
            self.timers.clear(timer)
        self._record("STOP", how)


def _doors(state: State) -> list[Callable[[Membership, int, Any], None] | None]:
    """The methods behind a row of the table, by the numbers of the inputs."""
    doors: list[Callable[[Membership, int, Any], None] | None] = [None] * (max(Input) + 1)
    for what, door in TABLE[state].items():
        if door != IGNORED:
            doors[what] = getattr(Membership, "_" + door)
    return doors


_DOORS = {state: _doors(state) for state in State}
