"""Membership: a processor as a whole, with all its states, and what it does on an installed ring.

One table (``states.py``) names a method for each pair of (state, input); each state is entered through one ``_enter_``
method. The methods of gather are in ``gathering.py``, those of commit and recovery in ``forming.py``, on which this
module stands. Here are the handlers of all inputs, the operational state, the beacons, and leaving.

What the network says is checked and, when it cannot be, counted and dropped; asserts speak only of this code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ringproto._core.context import Context
from ringproto._core.membership.forming import Forming
from ringproto._core.membership.gathering import LEFT_IN_ORDER, SEQUENCE_END
from ringproto._core.states import IGNORED, TABLE, TIMER_INPUTS, Input, State
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import Beacon, CommitPart, Join, Leave, Refuse, put_off_that_fit
from ringproto._core.wire.regular import Packet, Token, ring_from_bytes
from ringproto.errors import RingError, SlowConsumerError
from ringproto.types import RingId

_OPERATIONAL = State.OPERATIONAL  # to look a member of an enum up costs more than most of what follows
_LEFT = State.LEFT
# Numbers of C (operational.pxd).
_TOKEN_LOSS = int(Timer.TOKEN_LOSS)
_TOKEN_RETRANSMIT = int(Timer.TOKEN_RETRANSMIT)
_TOKEN_HOLD = int(Timer.TOKEN_HOLD)
_SLOW_CONSUMER = int(Timer.SLOW_CONSUMER)
_LEAVE_COPIES = 3
"""A leave is said so often at once: nobody answers it, and each loss costs the others a timeout."""


class Membership(Forming):
    """The state of one processor."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        config = context.config
        self._go(State.GATHER)
        self._drain = False
        # What was asked for since the last turn.
        self._queued = False
        self._taken = False
        self._leave_noted = False
        self._leave_at = math.inf
        self._beacons = 0
        # Deadlines that were put off because this process stood still; each is put off once.
        self._put_off_deadlines: dict[Timer, float] = {}
        self._put_off_at = -math.inf
        self._stall_s = config.token_timeout_s / 2
        self._patient = False
        self._undisturbed_until = -math.inf
        self._reasons.ended("it has started")
        self._enter_gather((self.node,))
        if self.ring_sequence >= SEQUENCE_END:
            self._end_near_the_last()

    # Time, and standing still

    def note_time(self, now: float) -> None:
        """It is so late. First of all look whether this process was away."""
        if now - self.now > self._stall_s:
            self._note_gap(now)
        self.now = now

    def _note_gap(self, now: float) -> None:
        """Nobody has asked this processor for anything for long: nothing had to be done, or the process did not run.

        What it did before its unblock is its recovery, and it will need as long in the next one.
        """
        if self.state is _LEFT or self.barrier.asked:
            return
        if now - self.timers.first() < self.config.retransmit_s:
            return
        patience = self._patience
        stood_s = now - self.now
        patience.note_standstill(stood_s)
        timeout_s = self.config.token_timeout_s
        if stood_s > timeout_s:
            self.notices.add(
                "recovery_stood_still",
                f"this process stood still for {stood_s:.3g} s while it recovered, and Config.token_timeout_s is "
                f"{timeout_s:.3g}: the others may have left it out. In the next recovery they wait for it "
                f"{patience.asks * timeout_s:.3g} s; send a large state in pieces, or raise token_timeout_s",
            )

    def token_patience_s(self) -> float:
        """How long the token may be away before this ring is taken to be broken, in seconds."""
        return self._token_timeout_s

    def _settle_patience(self) -> None:
        """Wait for the token as long as who has not unblocked yet asks for, from now on."""
        times = 1 if self.barrier.complete else self._patience.times(self.barrier.waiting_for)
        before_s = self._token_timeout_s
        self._patient = times > 1
        self._wait_for_token(times)
        if self._token_timeout_s < before_s:
            self.ring.aru_changed_at = self.now  # nobody could receive while the token was away for long
        latest = self.now + self._token_timeout_s
        if latest < self.timers.deadline(_TOKEN_LOSS) < math.inf:
            self.timers.set(_TOKEN_LOSS, latest)

    def deliver_arrivals(self) -> None:
        """Packets came: deliver what is in order now, without waiting for the token. An unblock may be among it."""
        if self.state is _OPERATIONAL:
            self._deliver()
            if self._patient:
                self._settle_patience()

    def _standstill(self, sender: int, body: None) -> None:
        """This process runs; in a moment it is asked again, as long as somebody is waited for."""
        self.timers.clear(Timer.STANDSTILL)
        if self._token_timeout_s > self.config.token_timeout_s:
            self.timers.set(Timer.STANDSTILL, self.now + self.config.retransmit_s)

    def _undisturbed(self) -> bool:
        """Whether a member is recovering that would be left out if somebody came now: it is let to end first."""
        if not self._patient or self.now >= self._undisturbed_until:
            return False
        self.counters.add("rejoins_put_off")
        return True

    # Between turns: what is asked for is noted, and nothing is sent, delivered or timed

    def note_queued(self) -> None:
        """A message was put into a queue."""
        self._queued = True

    def note_taken(self) -> None:
        """The application has taken events."""
        self._taken = True

    def note_leave(self, now: float, drain: bool) -> None:
        """Leave, at the latest after ``leave_timeout_s``; with ``drain`` not before what was accepted is sent."""
        if self.leaving or self.state is _LEFT:
            return
        self.leaving = True
        self._drain = drain
        self._leave_noted = True
        self._leave_at = now + self.config.leave_timeout_s

    def unblock(self, ring_id: RingId, now: float) -> None:
        """All recovery messages of this round were submitted. Nothing happens if the round is over.

        A standstill up to this moment belongs to the recovery, so the time is noted here and not at the next turn.
        """
        self.note_time(now)
        if self.barrier.ask(ring_id):
            self._patience.end_recovery()
            self._queued = True

    def wants_turn(self) -> bool:
        """Whether what was noted since the last turn can have an effect now."""
        if self._leave_noted:
            return True
        if self._taken and (self.timers.is_set(_SLOW_CONSUMER) or self._may_resume()):
            return True
        if self._queued and self._has_to_send() and self._reaches_token():
            return True
        return len(self.transmits) > 0  # of a processor that had no turn yet

    def take_up(self) -> None:
        """A turn begins: take up what was noted since the last one."""
        self._queued = False
        if self._taken:
            self._taken = False
            self._resume_delivery()
            self.timers.clear(_SLOW_CONSUMER)
        if self._leave_noted:
            self._leave_noted = False
            if self.state is _LEFT:  # what was delivered just now let it leave
                return
            self.timers.set(Timer.LEAVE, self._leave_at)
            self.timers.clear(_SLOW_CONSUMER)
            self.delivery.raise_limits()
            self._resume_delivery()

    # Doors

    def handle(self, what: int, sender: int, body: Any) -> None:
        """One input in the present state."""
        handler = self._handlers[what]
        if handler is None:
            self.counters.add("ignored")
        else:
            handler(self, sender, body)

    def _go(self, state: State) -> None:
        """From now on inputs go to the handlers of this state."""
        self.state = state
        self._handlers = _HANDLERS[state]

    def handle_timeouts(self) -> None:
        """All timers that are due."""
        while (timer := self.timers.pop_due(self.now)) is not None:
            self.handle(TIMER_INPUTS + timer, 0, None)

    def extend_overdue_timers(self, least_s: float, most_s: float) -> None:
        """This process was away past its deadlines. What waits in its socket is read before others are judged.

        A deadline is put off once, and by as long as this process was late, but by ``least_s`` to ``most_s``.
        """
        for timer in (Timer.TOKEN_LOSS, Timer.CONSENSUS):
            deadline = self.timers.deadline(timer)
            late_s = self.now - deadline
            if late_s > least_s and deadline != self._put_off_deadlines.get(timer):
                self._put_off_deadlines[timer] = self.now + min(late_s, most_s)
                self.timers.set(timer, self._put_off_deadlines[timer])
                self.counters.add("pauses")

    def want_token(self) -> None:
        """Something waits to be sent: a resting token is called, unless it could take nothing."""
        if self._has_to_send():
            self._call_token()

    def _has_to_send(self) -> bool:
        return self.state is _OPERATIONAL and self.outbox.ready() and not self.ring.blocked

    def _reaches_token(self) -> bool:
        """Whether :meth:`_call_token` would do something."""
        if self._own_token is not None:
            return True
        if self._resting is not None:
            return not self._resting.unfinished
        return not self._woke and self.ring.rests_elsewhere()

    def _call_token(self) -> None:
        """Let the token go on that rests here or elsewhere; as the only member one always has it."""
        ring = self.ring
        if self._own_token is not None:
            ring.idle_visits = 0
            self.pump()
        elif self._resting is not None:
            if not self._resting.unfinished:  # then it goes on anyway, when what was sent is on its way
                self.continue_visit()
        elif not self._woke and ring.rests_elsewhere():
            self._woke = True
            self._transmit(ring.last_sender, self.membership_codec.encode_wake(ring.name), "wakes_sent")

    def _may_resume(self) -> bool:
        """Whether something was held back that can be delivered now."""
        return self.state is _OPERATIONAL and self.delivery.held > 0 and not self.delivery.is_full()

    def _resume_delivery(self) -> None:
        if self._may_resume():
            self._deliver()
            if self._patient:
                self._settle_patience()
            # The others may be waiting for the room that this made.
            self._called = self._called or self._resting is not None
            self._call_token()

    def watch_consumer(self) -> None:
        """Past its bound, a full stream makes the processor leave."""
        if not self.delivery.is_full() or self.leaving or self.state is _LEFT:
            self.timers.clear(_SLOW_CONSUMER)
        elif not self.timers.is_set(_SLOW_CONSUMER):
            self.timers.set(_SLOW_CONSUMER, self.now + self.config.slow_consumer_timeout_s)

    def leave_when_drained(self) -> None:
        """What was sent must be at every member before this processor goes, or its own place in the order is lost."""
        if not self.leaving or self.state is _LEFT:
            return
        waits = any(map(len, self.outbox.queues)) or self.barrier.unblock_due
        if not (waits and self._drain) and self.ring.stable >= self.ring.last_own:
            self._depart(0, None)

    def _visited(self) -> None:
        if self._patient:
            self._settle_patience()
        if self.now >= self._beacon_at and self._resting is None:
            self._beacon_due(0, None)
        self.leave_when_drained()

    def _installed(self) -> None:
        self._settle_patience()
        if self._patient:
            self._begin_patient_round()
        if self.ring.representative == self.node:
            self._await_beacon()

    def _begin_patient_round(self) -> None:
        asked_for = self._patience.asked_for
        wait_s = self._token_timeout_s
        primary = self.delivery.configuration.primary
        self._undisturbed_until = self.now + wait_s if primary and len(self.ring.members) > 1 else -math.inf
        who = ", ".join(f"{node}: {times}" for node, times in sorted(asked_for.items()))
        self.notices.add(
            "recovery_patience",
            f"members stood still for {self._stall_s:.3g} s or longer when they recovered last: until they unblock, "
            f"the token is waited for {wait_s:.3g} s, and a crash is noticed as late (token timeouts for each: {who})",
            warning=False,
        )

    # Operational

    def _commit_in_operational(self, sender: int, part: CommitPart) -> None:
        """A late copy of the commit token of this ring, or of another one."""
        if part.ring == self.ring.name and part.destination == self.node and sender in self.ring.members:
            self._acknowledge_commit(sender, part)
        else:
            self.counters.add("dropped_other_ring")

    def _data_in_operational(self, sender: int, packet: Packet) -> None:
        ring = self.ring
        if packet.ring != ring.name:
            self.counters.add("dropped_other_ring")
        elif packet.sender not in self._incarnations and not packet.old_ring:
            self.counters.add("dropped_stranger")
        elif ring.misplaced(packet):
            self.counters.add("dropped_implausible")
        elif (here := self._resting or self._own_token) is not None and packet.seq > here.seq:
            self.counters.add("dropped_implausible")  # the token is here, so nobody else can have originated it
        elif not ring.window.insert(packet):
            self.counters.add("duplicates")
        else:
            ring.note_packet(packet)
            self._note_sign(sender)
            if packet.seq > ring.forwarded_seq:
                # Somebody after me had the token, so it is not lost between me and my successor.
                if packet.sender == ring.successor:
                    self._watch_successor()
                else:
                    self.timers.clear(_TOKEN_RETRANSMIT)

    def _token_in_operational(self, sender: int, token: Token) -> None:
        ring = self.ring
        if not self._accepts(ring, token):
            self._answer_copy(sender, ring, token)
            return
        self._acknowledge_token(sender, token)
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
        elif not member and self._overfills({sender, *join.alive}):
            self.counters.add("dropped_ring_full")
        elif not member and self._undisturbed():
            return
        elif not member and self._connectivity.puts_off(
            ring.members,
            sender,
            self.now,
            gathers=join.identity.incarnation,
            informed=join.informed and any(node in ring.members for node in join.alive),
            busy=self._is_busy(),
        ):
            self._put_off(sender)
        elif (
            not (member and same)
            and any(node in ring.members for node in join.fail_set)
            and not (join.informed and self.node in join.alive and len(join.alive) > len(ring.members))
        ):
            # A ring with it would be one without that member. When its gather has ended, it asks for no such thing.
            # Not so if beacons have shown that one must be without it, and it is a larger one.
            self.counters.add("ignored")
        else:
            if member and same:
                self._reasons.ended(f"member {sender} looks for another ring")
                # What a member of my ring has seen counts as mine. What strangers say goes no further, or two that
                # leave each other out would hand on for ever what was seen once.
                self._gather_from_broken_ring(informed=join.informed)
            else:
                self._reasons.ended(
                    f"processor {sender} has started anew" if member else f"processor {sender} wants to join"
                )
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
        elif sender not in self.ring.members and self._undisturbed():
            return
        elif not same and self._connectivity.puts_off(self.ring.members, sender, self.now, busy=self._is_busy()):
            plan = None if self._is_busy() else self._connectivity.plan(self.ring.members, sender, self.now)
            if plan is None:
                self._put_off(sender)
                return
            members, out = plan
            self._reasons.gone(out, "does not hear all, or is not heard by all")
            self._reasons.ended(f"processor {sender} is on another ring; all who hear each other merge")
            self._enter_gather(members, out, informed=True)
        else:
            informed = self._connectivity.is_shown(self.ring.members, sender, self.now)
            self._reasons.ended(f"processor {sender} is on another ring; they merge")
            self._enter_gather((*self.ring.members, sender), informed=informed)

    def _leave_in_operational(self, sender: int, leave: Leave) -> None:
        if sender not in self.ring.members:
            self.counters.add("dropped_stranger")
        elif self._is_leaving(sender, leave):
            self._gather_without(sender, self.ring, LEFT_IN_ORDER)

    def _overfills(self, strangers: set[int]) -> bool:
        """Whether a ring with these as well would have too many members: it could not form, so it is not tried."""
        return len(strangers.union(self.ring.members)) > self.config.members_max

    # The token may be lost, in operational and before

    def _retransmit_token(self, sender: int, body: None) -> None:
        """Nothing was heard of the token, or of the commit token: once more, and the next time sooner.

        It may have been lost on a link that loses most of what is sent over it. The ring breaks with the token timeout,
        and within it the token should be tried as often as may be.
        """
        loss_at = self.timers.deadline(_TOKEN_LOSS)
        if loss_at - self.now < self._least_resend_s / 2:
            # An answer would come after the ring is broken, unless that is put off.
            self.timers.set(_TOKEN_RETRANSMIT, max(loss_at, math.nextafter(self.now, math.inf)))
            return
        formation = self._formation
        ring = self.ring if formation is None else formation.ring
        if formation is not None and ring.forwarded_token is None:
            self._hop.repeat(self.now, self.config.token_retransmit_min_s)
            formation.repeat(self._hop.copy, self.membership_codec, self._datagram_size)
            self._send_commit(formation, "commit_tokens_retransmitted")
        else:
            self._hop.repeat(self.now, self._shortest_resend_s())
            self._unanswered += formation is None
            datagram = ring.repeat_token(self._hop.copy, self.codec)
            self._transmit(ring.successor, datagram, "tokens_retransmitted")
            self.timers.set(_TOKEN_RETRANSMIT, self.now + self._hop.wait_s)

    def _shortest_resend_s(self) -> float:
        """The shortest wait before the token is sent again, in seconds."""
        if self._token_timeout_s > self.config.token_timeout_s:
            left_s = self.timers.deadline(_TOKEN_LOSS) - self.now
            if left_s < self._token_timeout_s - self.config.token_timeout_s:
                return self._retransmit_s  # who has it stands still, and copies of it only fill its socket
        return self._least_resend_s

    def _token_loss(self, sender: int, body: None) -> None:
        self.counters.add("token_losses")
        self._reasons.ended(f"no token came for {self._token_timeout_s:g} s")
        if self._formation is None:
            self._gather_from_broken_ring()
        else:
            self._enter_gather(self._forming.ring.members)

    # Beacons

    def _put_off(self, sender: int) -> None:
        """Somebody who was left out is there. Until it is welcome or gone, all members say whom they hear."""
        begins = not self._puts_off()
        self._note_put_off(sender)
        self._put_off_at = self.now
        if not self.timers.is_set(Timer.MERGE_DETECT):
            self._say_beacon()
        elif begins:
            self.timers.set(Timer.MERGE_DETECT, self._beacon_at)

    def _puts_off(self) -> bool:
        """Whether somebody who was left out was put off of late."""
        return self.now - self._put_off_at < self._connectivity.memory_s

    def _beacon_due(self, sender: int, body: None) -> None:
        """The representative tells other rings that this one is there; the others, while somebody is put off."""
        self._beacon_at = math.inf
        self.timers.clear(Timer.MERGE_DETECT)
        if self.ring.representative == self.node or self._puts_off():
            self._say_beacon()

    def _say_beacon(self) -> None:
        self._beacons = (self._beacons + 1) % 2**32
        members, busy = self.ring.members, self._is_busy()
        heard = self._connectivity.heard(self.now, without=members, busy=busy)
        room = put_off_that_fit(len(members), len(heard), self.config.members_max)
        beacon = Beacon(
            self._admission.identity(),
            self.ring.name,
            self._beacons,
            math.ceil(1000 * self._beacon_interval_s()),
            members,
            heard,
            self._connectivity.put_off(room, self.now),
            busy,
        )
        self._transmit(0, self.membership_codec.encode_beacon(beacon), "beacons_sent")
        self._await_beacon()

    def _beacon_interval_s(self) -> float:
        """The longest time to the next beacon. It goes with the token, so that nobody is woken by each of the two, if
        that comes in time; where somebody waits for it, it does not wait for the token."""
        return self.config.merge_detect_s + (0.0 if self._puts_off() else self.config.hold_s)

    def _await_beacon(self) -> None:
        self._beacon_at = self.now + self.config.merge_detect_s
        self.timers.set(Timer.MERGE_DETECT, self.now + self._beacon_interval_s())

    # Leaving

    def _refused(self, sender: int, refuse: Refuse) -> None:
        """Who ever was on a ring with others stays there, whatever a datagram says."""
        failure = self._admission.refused(sender, refuse, len(self.ring.members))
        if failure is not None and not self._ever_joined:
            self._fail(failure, "refused")
        elif failure is not None:
            differ = self._admission.differences(refuse.limits)
            self.notices.add("limits_refused", str(failure), processor=sender, differ=differ)

    def _slow_consumer(self, sender: int, body: None) -> None:
        failure = SlowConsumerError(
            f"the application took no event for {self.config.slow_consumer_timeout_s} s while "
            f"{self.delivery.pending} waited; read ring.events faster, or raise Config.slow_consumer_timeout_s, "
            "events_max or events_bytes_max"
        )
        self._fail(failure, "slow consumer")

    def _fail(self, failure: RingError, how: str) -> None:
        self.failure = failure
        self._leave_ring(how)

    def _depart(self, sender: int, body: None) -> None:
        self._leave_ring("clean")

    def _leave_ring(self, how: str) -> None:
        """Tell the ring, so that it need not wait for a timeout, and stop."""
        datagram = self.membership_codec.encode_leave(Leave(self._admission.identity(), self.ring.name))
        for _ in range(_LEAVE_COPIES):
            self._transmit(0, datagram, "leaves_sent")
        self._deliver_the_rest()
        self._go(State.LEFT)
        self._resting = None
        self._own_token = None
        for timer in Timer:
            self.timers.clear(timer)
        self._record("STOP", how)

    def _deliver_the_rest(self) -> None:
        """Others deliver safe messages because this processor has acknowledged them; so it delivers them before it
        goes, as if it went on alone: in a transitional configuration of its own."""
        delivery, ring = self.delivery, self.ring
        if ring.window.high > delivery.delivered:
            bound_to = self._obligations | {self.node}
            delivery.end_ring(ring.window, ring.id, delivery.delivered, (self.node,), bound_to)


def _handlers(state: State) -> list[Callable[[Membership, int, Any], None] | None]:
    """The methods behind a row of the table, by the numbers of the inputs."""
    handlers: list[Callable[[Membership, int, Any], None] | None] = [None] * (max(Input) + 1)
    for what, handler in TABLE[state].items():
        if handler != IGNORED:
            handlers[what] = getattr(Membership, "_" + handler)
    return handlers


_HANDLERS = {state: _handlers(state) for state in State}
