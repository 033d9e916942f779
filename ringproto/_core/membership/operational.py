"""Operational: what a processor does on an installed ring, with the datagrams of its members and of others.

Its members order messages until something ends the ring: the token is lost, a member goes or gathers, or another
processor is to be on the next ring (Totem, section 5.1; departures 8 and 22 in docs/protocol.md).
"""

from __future__ import annotations

import math
from typing import Any

from ringproto._core.context import Context
from ringproto._core.membership.beacons import Beacons
from ringproto._core.membership.changes import Change, Depart, Gather, Handlers
from ringproto._core.membership.installed import InstalledRing
from ringproto._core.membership.listening import Listening
from ringproto._core.membership.patience import Patience, stall_s
from ringproto._core.membership.reasons import Reasons
from ringproto._core.membership.ring_ends import (
    LEFT_IN_ORDER,
    end_by_token,
    gather_from_broken_ring,
    gather_without,
    note_token_loss,
)
from ringproto._core.ring.token_passing import TokenPassing
from ringproto._core.states import Input
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import Acknowledgement, Beacon, CommitPart, Join, Leave
from ringproto._core.wire.regular import Kind, Packet, Token, ring_from_bytes

# Numbers of C (operational.pxd).
_TOKEN_LOSS = int(Timer.TOKEN_LOSS)
_TOKEN_RETRANSMIT = int(Timer.TOKEN_RETRANSMIT)
_COPIES_BEFORE_A_STANDSTILL = 2
"""How many copies of the first token of a ring a processor sends that is known to stand still next. At a loss of 15 %
one of 300 such tokens is lost with all copies."""


class Operational:
    """One ring, from its installation to its end.

    Args:
        context: of the processor.
        listening: what it takes in.
        installed: the ring, as it was just installed.
        reasons: why it ends.
        patience: how long members are waited for that stand still.
        beacons: what is said to other rings.
        passing: the token of the ring.
    """

    def __init__(
        self,
        context: Context,
        listening: Listening,
        installed: InstalledRing,
        reasons: Reasons,
        patience: Patience,
        beacons: Beacons,
        passing: TokenPassing,
    ) -> None:
        self._context = context
        self._listening = listening
        self._installed = installed
        self._incarnations = installed.incarnations
        self._reasons = reasons
        self._patience = patience
        self._beacons = beacons
        self._ring = passing.ring
        self.passing = passing
        # Whether a member may stand still before this barrier is complete, and until when nobody else is let in.
        self._patient = False
        self._undisturbed_until = -math.inf

    def handlers(self) -> Handlers:
        """What each input calls in operational."""
        return {
            Input.DATA: self.data,
            Input.TOKEN: self.token,
            Input.JOIN: self.join,
            Input.COMMIT: self.commit,
            Input.BEACON: self.beacon,
            Input.WAKE: self.wake,
            Input.LEAVE: self.leave,
            Input.ACKNOWLEDGEMENT: self.acknowledged,
            Input.TOKEN_LOSS: self.token_loss,
            Input.TOKEN_RETRANSMIT: self.retransmit,
            Input.TOKEN_HOLD: self.token_rested,
            Input.MERGE_DETECT: self.beacon_due,
            Input.STANDSTILL: self.standstill,
        }

    def begin(self, token: Token) -> Change | None:
        """The ring was installed, and its token is here."""
        self._settle_patience()
        if self._patient:
            self._begin_patient_round()
        if self._ring.representative == self._context.node:
            self._beacons.come_due(self._ring)
        change = self._visit(token)
        if change is not None:
            return change
        if self._patience.asks > 1:
            # The others will stand still as well, each when the token has come to it, and the ring waits for one
            # standstill.
            self.passing.repeat_before_standstill(_COPIES_BEFORE_A_STANDSTILL)
        return self.pump()

    # The ring's packets and its token

    def data(self, sender: int, packet: Packet) -> Change | None:
        """A packet."""
        ring = self._ring
        counters = self._context.counters
        passing = self.passing
        if packet.ring != ring.name:
            counters.add("dropped_other_ring")
        elif packet.sender not in self._incarnations and not packet.old_ring:
            counters.add("dropped_stranger")
        elif ring.misplaced(packet):
            counters.add("dropped_implausible")
        elif (here := passing.resting or passing.own_token) is not None and packet.seq > here.seq:
            counters.add("dropped_implausible")  # the token is here, so nobody else can have originated it
        elif not ring.window.insert(packet):
            counters.add("duplicates")
        else:
            ring.note_packet(packet)
            passing.note_sign(sender)
            if packet.seq > ring.forwarded_seq:
                # A member after this one had the token, so it is not lost between this one and its successor.
                if packet.sender == ring.successor:
                    passing.watch_successor()
                else:
                    self._context.timers.clear(_TOKEN_RETRANSMIT)
        return None

    def token(self, sender: int, token: Token) -> Change | None:
        """The token."""
        passing = self.passing
        if not passing.accepts(token):
            passing.answer_copy(sender, token)
            return None
        passing.acknowledge(sender, token)
        passing.end_rest()
        return self._take(token)

    def _take(self, token: Token) -> Change | None:
        self.passing.note(token)
        if self.passing.ends_ring(token):
            return end_by_token(self._context, self._reasons, self.passing, token)
        return self._visit(token)

    def _visit(self, token: Token) -> Change | None:
        self.passing.visit(token)
        return self._visited()

    def _visited(self) -> Change | None:
        """What this processor has sent, and what is stable, may have changed."""
        if self._patient:
            self._settle_patience()
        if self._context.now >= self._beacons.due_at and self.passing.resting is None:
            self._beacons.come_due(self._ring)
        if self._context.leaving and self.has_drained():
            return Depart("clean")
        return None

    def has_drained(self) -> bool:
        """Whether what this processor has sent is at every member, or its own place in the order would be lost."""
        return self._ring.stable >= self._ring.last_own and self._context.is_drained()

    def continue_visit(self) -> Change | None:
        """What the token rests for may have come."""
        return self._visited() if self.passing.continue_visit() else None

    def wake(self, sender: int, ring: bytes) -> Change | None:
        """A member calls the token."""
        return self._visited() if self.passing.wake(ring) else None

    def token_rested(self, sender: int, body: Any) -> Change | None:
        """The token has rested for its time."""
        return self._visited() if self.passing.rested() else None

    def acknowledged(self, sender: int, acknowledgement: Acknowledgement) -> Change | None:
        """The successor has the token."""
        passing = self.passing
        if passing.concerns(sender, acknowledgement):
            passing.note_sign(sender)
            passing.acknowledged(acknowledgement)
        return None

    def retransmit(self, sender: int, body: Any) -> Change | None:
        """Nothing was heard of the token."""
        self.passing.retransmit()
        return None

    def token_loss(self, sender: int, body: Any) -> Change | None:
        """No token came in time: the ring is broken."""
        note_token_loss(self._context, self._reasons, self.passing)
        return gather_from_broken_ring(self.passing)

    # What the application does

    def pump(self) -> Change | None:
        """Alone on a ring: let the token go round until it need not."""
        passing = self.passing
        while passing.own_token is not None and self._ring.idle_visits < 2:
            token, passing.own_token = passing.own_token, None
            change = self._take(token)
            if change is not None:
                return change
        return None

    def has_to_send(self) -> bool:
        """Whether something waits to be sent that the ring could take."""
        return self._context.outbox.ready() and not self._ring.blocked

    def call_token(self) -> Change | None:
        """Let the token go on that rests here or elsewhere; as the only member one always has it."""
        passing = self.passing
        if passing.own_token is not None:
            self._ring.idle_visits = 0
            return self.pump()
        return self._visited() if passing.call() else None

    def may_resume(self) -> bool:
        """Whether something was held back that can be delivered now."""
        delivery = self._context.delivery
        return delivery.held > 0 and not delivery.is_full()

    def resume_delivery(self) -> Change | None:
        """The application has made room."""
        if not self.may_resume():
            return None
        self.deliver_arrivals()
        # The others may be waiting for the room that this made.
        self.passing.called = self.passing.called or self.passing.resting is not None
        return self.call_token()

    def deliver_arrivals(self) -> None:
        """Packets came: deliver what is in order now, without waiting for the token. An unblock may be among it."""
        self.passing.deliver()
        if self._patient:
            self._settle_patience()

    # A member may stand still while it recovers

    def _settle_patience(self) -> None:
        """Wait for the token as long as who has not unblocked yet asks for, from now on."""
        passing, timers, barrier = self.passing, self._context.timers, self._context.barrier
        now = self._context.now
        times = 1 if barrier.complete else self._patience.times(barrier.waiting_for)
        before_s = passing.timeout_s
        self._patient = times > 1
        passing.wait(times)
        if passing.timeout_s < before_s:
            self._ring.aru_changed_at = now  # nobody could receive while the token was away for long
        latest = now + passing.timeout_s
        if latest < timers.deadline(_TOKEN_LOSS) < math.inf:
            timers.set(_TOKEN_LOSS, latest)

    def _begin_patient_round(self) -> None:
        context = self._context
        wait_s = self.passing.timeout_s
        primary = context.delivery.configuration.primary
        self._undisturbed_until = context.now + wait_s if primary and len(self._ring.members) > 1 else -math.inf
        who = ", ".join(f"{node}: {times}" for node, times in sorted(self._patience.asked_for.items()))
        context.notices.add(
            "recovery_patience",
            f"members stood still for {stall_s(context.config):.3g} s or longer when they recovered last: until they "
            f"unblock, the token is waited for {wait_s:.3g} s, and a crash is noticed as late (token timeouts for "
            f"each: {who})",
            warning=False,
        )

    def _is_undisturbed(self) -> bool:
        """Whether a member is recovering that would be left out if somebody came now: it is let to end first."""
        if not self._patient or self._context.now >= self._undisturbed_until:
            return False
        self._context.counters.add("rejoins_put_off")
        return True

    def standstill(self, sender: int, body: Any) -> Change | None:
        """This process runs."""
        self.passing.standstill()
        return None

    # Others

    def commit(self, sender: int, part: CommitPart) -> Change | None:
        """A late copy of the commit token of this ring, or of another one."""
        ring = self._ring
        if part.ring == ring.name and part.destination == self._context.node and sender in ring.members:
            self._context.acknowledge(sender, part.ring, Kind.COMMIT, part.copy, part.hop)
        else:
            self._context.counters.add("dropped_other_ring")
        return None

    def join(self, sender: int, join: Join) -> Change | None:
        """A member has left this ring for gather, or a stranger wants to come."""
        listening, counters, ring = self._listening, self._context.counters, self._ring
        if not listening.hears_join(sender, join):
            return listening.failure
        self.passing.note_sign(sender)
        member = sender in ring.members
        same = self._incarnations.get(sender) == join.identity.incarnation
        if member and same and join.ring_sequence < ring.id.sequence:
            counters.add("dropped_late_copy")
        elif not member and self._overfills({sender, *join.alive}):
            counters.add("dropped_ring_full")
        elif not member and self._is_undisturbed():
            return None
        elif not member and listening.connectivity.puts_off(
            ring.members,
            sender,
            self._context.now,
            gathers=join.identity.incarnation,
            informed=join.informed and any(node in ring.members for node in join.alive),
            busy=self._context.is_busy(),
        ):
            self._put_off(sender)
        elif (
            not (member and same)
            and any(node in ring.members for node in join.fail_set)
            and not (join.informed and self._context.node in join.alive and len(join.alive) > len(ring.members))
        ):
            # A ring with it would be one without that member. When its gather has ended, it asks for no such thing.
            # Not so if beacons have shown that one must be without it, and it is a larger one.
            counters.add("ignored")
        elif member and same:
            self._reasons.ended(f"member {sender} looks for another ring")
            # What a member of this ring has seen counts as seen here. What strangers say goes no further, or two that
            # leave each other out would hand on for ever what was seen once.
            return gather_from_broken_ring(self.passing, informed=join.informed)._replace(join=(sender, join))
        else:
            self._reasons.ended(
                f"processor {sender} has started anew" if member else f"processor {sender} wants to join"
            )
            return Gather(ring.members, join=(sender, join))
        return None

    def beacon(self, sender: int, beacon: Beacon) -> Change | None:
        """Another ring is there."""
        listening, context, ring = self._listening, self._context, self._ring
        if not listening.hears_beacon(sender, beacon):
            return listening.failure
        self.passing.note_sign(sender)
        if beacon.ring == ring.name:
            return None
        connectivity, counters, busy = listening.connectivity, context.counters, context.is_busy()
        same = self._incarnations.get(sender) == beacon.identity.incarnation
        if same and ring_from_bytes(beacon.ring).sequence <= ring.id.sequence:
            counters.add("dropped_late_copy")
        elif sender not in ring.members and self._overfills({sender, *beacon.members}):
            counters.add("dropped_ring_full")
        elif sender not in ring.members and self._is_undisturbed():
            return None
        elif not same and connectivity.puts_off(ring.members, sender, context.now, busy=busy):
            plan = None if busy else connectivity.plan(ring.members, sender, context.now)
            if plan is not None:
                members, out = plan
                self._reasons.gone(out, "does not hear all, or is not heard by all")
                self._reasons.ended(f"processor {sender} is on another ring; all who hear each other merge")
                return Gather(members, out, informed=True)
            self._put_off(sender, beacon.ring)
        else:
            informed = connectivity.is_shown(ring.members, sender, context.now)
            self._reasons.ended(f"processor {sender} is on another ring; they merge")
            return Gather((*ring.members, sender), informed=informed)
        return None

    def leave(self, sender: int, leave: Leave) -> Change | None:
        """A member leaves."""
        members = self._ring.members
        if sender not in members:
            self._context.counters.add("dropped_stranger")
        elif self._listening.hears_leave(sender, leave):
            return gather_without(self._context, self._reasons, members, sender, LEFT_IN_ORDER)
        return self._listening.failure

    def _overfills(self, strangers: set[int]) -> bool:
        """Whether a ring with these as well would have too many members: it could not form, so it is not tried."""
        return len(strangers.union(self._ring.members)) > self._context.config.members_max

    def _put_off(self, sender: int, ring: bytes = b"") -> None:
        self._listening.note_put_off(sender)
        self._beacons.put_off(self._ring, ring)

    def beacon_due(self, sender: int, body: Any) -> Change | None:
        """The token did not come in time for a beacon to go with it."""
        self._beacons.come_due(self._ring)
        return None
