"""The seeker of a ring: what a processor does while it gathers, and what makes it gather (Totem, section 5.1).

It listens to those who may speak of membership, says in joins whom it knows and whom it has given up, and takes in the
joins of others until all agree; ``gather.py`` has the sets. The one with the smallest id then forms the ring: how is
said in ``founder.py``. Every way into gather is here, whatever the processor was doing before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ringproto._core.beginning import Beginning
from ringproto._core.counters import Counters
from ringproto._core.formation import Formation
from ringproto._core.gather import Gather
from ringproto._core.hearing import Hearing
from ringproto._core.holder import Holder
from ringproto._core.ordering import Ring
from ringproto._core.reasons import Reasons
from ringproto._core.speakers import Speakers
from ringproto._core.states import State
from ringproto._core.timers import Timer
from ringproto._core.wire import Packet, Token
from ringproto._core.wire_membership import Beacon, Join, Leave, MembershipCodec
from ringproto.types import RingId

_SEQUENCE_JUMP_MAX = 2**32
"""A datagram may raise a known ring sequence by at most this."""
LEFT_IN_ORDER = "left in an orderly way"
_UNANSWERED_MIN = 2
_UNANSWERED_PART = 0.5
"""A successor that was sent the token so often again, and gave no sign for this part of the token timeout, is suspected
to be dead when the ring breaks."""


class Seeker(Holder):
    """One processor, as far as it looks for others to be on a ring with."""

    def __init__(self, beginning: Beginning) -> None:
        node, config, datagram_size, entropy, now, ring_sequence, audit, origin = beginning
        counters = Counters()
        self._fail_to_receive_s = config.fail_to_receive_s
        self._speakers = Speakers(node, config, datagram_size, entropy.next(), counters)
        self.ring_sequence = ring_sequence + 1
        first = RingId(self.ring_sequence, node, entropy.next())
        super().__init__(node, config, datagram_size, now, counters, first, self._speakers.incarnation, audit, origin)
        self.membership_codec = MembershipCodec(self.codec)
        self._hearing = Hearing(node, config.merge_detect_s, config.members_max)
        self._reasons = Reasons()
        self._incarnations: dict[int, int] = {node: self._speakers.incarnation}
        self._formation: Formation | None = None
        self._join_said_at = -math.inf
        self._beacon_at = math.inf
        self._alone_at_once = False
        self._agreed = False
        self._suspect = 0

    # Whom it listens to

    def _listens(self, sender: int, body: Join | Beacon | Leave) -> bool:
        """Whether to listen to a datagram of membership; a processor with other limits is told why not."""
        if self._speakers.listens(sender, body.identity):
            return True
        refuse = self._speakers.refusal(sender, body.identity, len(self.ring.members), self.now)
        if refuse is not None:
            differ = self._speakers.differences(body.identity.limits)
            self.notices.add(
                "limits_refused", f"processor {sender} is not let in: {differ}", processor=sender, differ=differ
            )
            self._transmit(sender, self.membership_codec.encode_refuse(refuse), "refusals_sent")
        return False

    def _hears_join(self, sender: int, join: Join) -> bool:
        if not self._listens(sender, join) or not self._sequence_in_reach(join.ring_sequence):
            return False
        self._hearing.hear(sender, join.identity.incarnation, self.now)
        self._note_sign(sender)
        return True

    def _hears_beacon(self, sender: int, beacon: Beacon) -> bool:
        if not self._listens(sender, beacon):
            return False
        self._hearing.hear_beacon(sender, beacon, self.now)
        self._note_sign(sender)
        return True

    def _is_leaving(self, sender: int, leave: Leave) -> bool:
        """Whether the incarnation that I know says that it leaves."""
        known = self._incarnations.get(sender, self._speakers.incarnation_of(sender))
        if known != leave.identity.incarnation:
            self.counters.add("dropped_stranger")
            return False
        return self._listens(sender, leave)

    def _sequence_in_reach(self, sequence: int) -> bool:
        if sequence <= self.ring_sequence + _SEQUENCE_JUMP_MAX:
            return True
        self.counters.add("dropped_sequence_jump")
        return False

    def _note_sign(self, sender: int) -> None:
        """A datagram of a member came: if it is the successor, it lives, whatever became of the token."""
        if (self._unanswered or self._suspect) and sender == self.ring.successor:
            self._unanswered = 0
            self._sign_at = self.now
            if self._suspect:
                self._suspect = 0
                self._await_consensus()

    # Ways into gather

    def _enter_gather(self, procs: Iterable[int], fails: Iterable[int] = (), *, alone_at_once: bool = False) -> None:
        self._go(State.GATHER)
        self.counters.add("gathers")
        self._formation = None
        self._resting = None
        self._own_token = None
        for timer in (Timer.TOKEN_LOSS, Timer.TOKEN_RETRANSMIT, Timer.TOKEN_HOLD, Timer.MERGE_DETECT):
            self.timers.clear(timer)
        self._beacon_at = math.inf
        self._gather = Gather(self.node, procs, fails, self.config.members_max)
        self._alone_at_once = alone_at_once
        self._agreed = False
        self._suspect = 0
        self._await_consensus()
        self._say_join()
        self._check_consensus()

    def _gather_without(self, node: int, ring: Ring, why: str) -> None:
        """A member is known to be gone: nobody need wait for it, not even the last one."""
        self._reasons.gone((node,), why)
        self._reasons.ended(f"member {node} {why}")
        rest = tuple(member for member in ring.members if member != node)
        self._enter_gather(ring.members, (node,), alone_at_once=rest == (self.node,))

    def _gathers_anew(self, ring: Ring, token: Token) -> bool:
        """The token says that this ring must end, in recovery as when it is installed.

        Its numbers may have come to their end. A member that has held the aru up for too long is left out.
        """
        if ring.worn_out(token):
            self.counters.add("rings_worn_out")
            self._reasons.ended("the numbers of the ring had come to their end")
            self._enter_gather(ring.members, alone_at_once=len(ring.members) == 1)
            return True
        deaf = ring.holds_up(self.now, self._fail_to_receive_s)
        if deaf:
            self.counters.add("failures_to_receive")
            self._gather_without(deaf, ring, f"failed to receive for {self._fail_to_receive_s:g} s")
        return deaf != 0

    def _gather_from_broken_ring(self) -> None:
        """A live successor answers each copy of the token (departure 18). Who answered none, and does not answer the
        first join either, is given up without waiting for the consensus timeout, and the others hear of it."""
        ring = self.ring
        silent_s = self.now - self._sign_at
        dead = self._unanswered >= _UNANSWERED_MIN and silent_s >= _UNANSWERED_PART * self.config.token_timeout_s
        suspect = ring.successor if dead else 0
        self._enter_gather(ring.members, alone_at_once=suspect != 0 and len(ring.members) == 2)
        if suspect:
            self._suspect = suspect
            self._await_consensus()

    # In gather

    def _await_consensus(self) -> None:
        """Who is suspected to be dead need not be waited for as long as the others."""
        wait_s = self.config.join_timeout_s / 2 if self._suspect else self.config.consensus_timeout_s
        self.timers.set(Timer.CONSENSUS, self.now + wait_s)

    def _say_join(self) -> None:
        """Say the join now, or a little later if one was said just now: a storm of changes is one join."""
        spacing = self.config.join_timeout_s / 4
        if self.now < self._join_said_at + spacing:
            self.timers.set(Timer.JOIN, self._join_said_at + spacing)
            return
        self._join_said_at = self.now
        self.timers.set(Timer.JOIN, self.now + self.config.join_timeout_s)
        gather = self._gather
        join = Join(
            self._speakers.identity(),
            self.ring_sequence,
            gather.procs,
            gather.fails,
        )
        self._transmit(0, self.membership_codec.encode_join(join), "joins_sent")

    def _repeat_join(self, sender: int, body: None) -> None:
        self._say_join()

    def _sets_changed(self) -> None:
        self._agreed = False
        self._await_consensus()
        self._say_join()

    def _check_consensus(self) -> None:
        gather = self._gather
        if not gather.agreed or self._agreed:
            return
        alive = gather.alive
        if alive == (self.node,):
            if self._alone_at_once:
                self._form(alive)
        elif alive[0] == self.node:
            self._form(alive)
        else:
            # The commit token must come in the time in which a regular token would.
            self._agreed = True
            self._suspect = 0
            self.timers.set(Timer.CONSENSUS, self.now + self.config.token_timeout_s)

    def _consensus_timeout(self, sender: int, body: None) -> None:
        gather = self._gather
        suspect, self._suspect = self._suspect, 0
        silent = gather.silent()
        if suspect in gather.fail_set:
            self._await_consensus()  # others knew it too
        elif suspect:
            self.counters.add("successors_given_up")
            self._reasons.gone((suspect,), "answered neither the token nor a join")
            gather.fail((suspect,))
            self._sets_changed()
            self._check_consensus()
        elif silent:
            self._reasons.gone(silent, f"did not agree within {self.config.consensus_timeout_s:g} s")
            gather.fail(silent)
            self._sets_changed()
            self._check_consensus()
        elif gather.alive == (self.node,):
            self._form(gather.alive)
        else:
            self._enter_gather(gather.alive)

    def _join_in_gather(self, sender: int, join: Join) -> None:
        if not self._hears_join(sender, join):
            return
        self._take_join(sender, join)

    def _take_join(self, sender: int, join: Join) -> None:
        self.ring_sequence = max(self.ring_sequence, join.ring_sequence)
        before = self._gather.fail_set
        if self._gather.receive(sender, join):
            self._reasons.gone(self._gather.fail_set - before, f"given up by {sender}")
            self._sets_changed()
        if self._gather.overfull:
            self.counters.add("dropped_ring_full")
        self._check_consensus()

    def _beacon_in_gather(self, sender: int, beacon: Beacon) -> None:
        if not self._hears_beacon(sender, beacon) or sender in self._gather.proc_set:
            return
        if self._hearing.puts_off_beacon(self._gather.alive, sender, self.now):
            self._note_put_off(sender)
        elif self._gather.add(sender):
            self._sets_changed()

    def _note_put_off(self, sender: int) -> None:
        self.counters.add("rejoins_put_off")
        self.notices.add(
            "put_off", f"processor {sender} was left out before and is not heard by all; it must wait", processor=sender
        )

    def _leave_in_gather(self, sender: int, leave: Leave) -> None:
        if not self._is_leaving(sender, leave):
            return
        gather = self._gather
        self._reasons.gone((sender,), LEFT_IN_ORDER)
        if gather.fail((sender,)):
            self._alone_at_once = gather.alive == (self.node,)
            self._sets_changed()
            self._check_consensus()

    def _old_data(self, sender: int, packet: Packet) -> None:
        if packet.ring != self.ring.name:
            self.counters.add("dropped_other_ring")
        elif not self.ring.window.insert(packet):
            self.counters.add("duplicates")

    # What the rooms above do

    def _go(self, state: State) -> None:
        """From now on the processor is in this state. Membership has the doors by which inputs come in then."""

    def _form(self, members: tuple[int, ...]) -> None:
        """All agree and this processor has the smallest id. The founder says how it forms the ring."""
