"""Gathering: what a processor does while it gathers, and what makes it gather (Totem, section 5.1).

It listens to those who may speak of membership, says in joins whom it knows and whom it has given up, and takes in the
joins of others until all agree; ``consensus.py`` has the sets. The one with the smallest id then forms the ring: how is
said in ``forming.py``. Every way into gather is here, whatever the processor was doing before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ringproto._core.context import Context
from ringproto._core.counters import Counters
from ringproto._core.membership.admission import Admission
from ringproto._core.membership.connectivity import Connectivity
from ringproto._core.membership.consensus import Consensus
from ringproto._core.membership.duplicate_ids import DuplicateIds
from ringproto._core.membership.formation import Formation
from ringproto._core.membership.patience import Patience
from ringproto._core.membership.peers import Freshness, PendingDatagram
from ringproto._core.membership.reasons import Reasons
from ringproto._core.membership.sequence_limits import AHEAD, BEHIND, LEAP_MAX, STEP_MAX, SequenceLimits
from ringproto._core.ring.ring import RingState
from ringproto._core.ring.token_passing import TokenPassing
from ringproto._core.states import State
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import Beacon, Challenge, Identity, Join, Leave, MembershipCodec, Response
from ringproto._core.wire.regular import SEQUENCE_MAX, Kind, Packet, Token, ring_from_bytes
from ringproto.errors import DuplicateNodeError, RingError
from ringproto.types import RingId

SEQUENCE_END = SEQUENCE_MAX - STEP_MAX
"""A processor that comes to this ring sequence ends: above it there is not room for many rings more."""
_MEMORY = 4
"""What a processor says of a sequence out of reach is remembered for so many times the longer of ``merge_detect_s`` and
``consensus_timeout_s``, within which it has said something again."""
LEFT_IN_ORDER = "left in an orderly way"
_UNANSWERED_MIN = 2
_UNANSWERED_PART = 0.5
"""A successor that was sent the token so often again, and gave no sign for this part of the token timeout, is suspected
to be dead when the ring breaks."""


class Gathering(TokenPassing):
    """One processor, as far as it looks for others to be on a ring with."""

    def __init__(self, context: Context) -> None:
        node, config, datagram_size, entropy, now, ring_sequence, audit, origin = context
        counters = Counters()
        self._fail_to_receive_s = config.fail_to_receive_s
        self._admission = Admission(node, config, datagram_size, entropy, counters)
        self.ring_sequence = ring_sequence + 1
        first = RingId(self.ring_sequence, node, entropy.next())
        super().__init__(node, config, datagram_size, now, counters, first, self._admission.incarnation, audit, origin)
        self.membership_codec = MembershipCodec(self.codec)
        self._connectivity = Connectivity(node, config.merge_detect_s, config.members_max)
        self._duplicate_ids = DuplicateIds(config.join_timeout_s, self._connectivity.memory_s, config.members_max)
        self._reasons = Reasons()
        self.failure: RingError | None = None
        memory_s = _MEMORY * max(config.merge_detect_s, config.consensus_timeout_s)
        self._patience = Patience(config.token_timeout_s)
        self._sequence_limits = SequenceLimits(config.join_timeout_s, memory_s, 4 * config.members_max)
        self._incarnations: dict[int, int] = {node: self._admission.incarnation}
        self._formation: Formation | None = None
        self._join_said_at = -math.inf
        self._beacon_at = math.inf
        self._alone_at_once = False
        self._agreed = False
        self._suspect = 0

    # Whom it listens to

    def _listens(self, sender: int, body: Join | Beacon | Leave, word: PendingDatagram | None = None) -> bool:
        """Whether to listen to a datagram of membership; a processor with other limits is told why not.

        Who is not known to live is asked. With ``word`` what it says is kept until it has answered.
        """
        identity = body.identity
        if sender == self.node:
            self._hear_own_id(identity.incarnation)
            return False
        if not self._admission.suits(identity):
            refuse = self._admission.refusal(sender, identity, len(self.ring.members), self.now)
            if refuse is not None:
                differ = self._admission.differences(identity.limits)
                self.notices.add(
                    "limits_refused", f"processor {sender} is not let in: {differ}", processor=sender, differ=differ
                )
                self._transmit(sender, self.membership_codec.encode_refuse(refuse), "refusals_sent")
            return False
        verdict = self._admission.hear(sender, identity, self.now, present=self._is_present(sender, identity))
        if verdict is Freshness.UNPROVEN and word is not None:
            self._challenge(sender, identity.incarnation, self._admission.peers.claim(sender, identity, word, self.now))
        elif verdict is Freshness.LATE and word is not None:
            # A copy, most of the time; but a forged serial must not silence its sender for good.
            self._ask(sender, self.config.consensus_timeout_s)
        return verdict is Freshness.NEWS

    def _is_present(self, sender: int, identity: Identity) -> bool:
        """Whether this incarnation is on the installed ring with this processor."""
        return self._incarnations.get(sender) == identity.incarnation

    def _hears_join(self, sender: int, join: Join) -> bool:
        if not self._listens(sender, join, PendingDatagram(Kind.JOIN, join)):
            return False
        sequence = join.ring_sequence
        incarnation = join.identity.incarnation
        if sequence < self.ring_sequence - LEAP_MAX:
            # Which of the two is wrong depends on the rings that they are on. Beacons say that.
            self.counters.add("dropped_sequence_jump")
            return False
        admitted = self._sequence_limits.admits(sender, incarnation, sequence, self.ring_sequence, self.now)
        if not admitted or sequence >= SEQUENCE_END:
            return self._out_of_reach(sender, join.identity, sequence)
        self._note_sign(sender)
        return True

    def _hears_beacon(self, sender: int, beacon: Beacon) -> bool:
        if not self._listens(sender, beacon, PendingDatagram(Kind.BEACON, beacon)):
            return False
        sequence = ring_from_bytes(beacon.ring).sequence
        if not self._not_behind(sender, beacon.identity, sequence, len(beacon.members)):
            return False
        if sequence > self.ring_sequence + LEAP_MAX:
            return self._out_of_reach(sender, beacon.identity, sequence)
        self._connectivity.hear_beacon(sender, beacon, self.now)
        self._note_sign(sender)
        return True

    def _is_busy(self) -> bool:
        """Whether members are recovering: who cannot receive would come back before they have ended, and be left out
        again, each time."""
        primary = self.delivery.configuration.primary
        return primary and not self.barrier.complete and len(self.ring.members) > 1

    # Who lives

    def _ask(self, node: int, spacing_s: float = 0.0) -> None:
        """Have the incarnation that is known prove once more that it lives."""
        incarnation = self._admission.incarnation_of(node)
        if incarnation is not None:
            self._challenge(node, incarnation, self._admission.peers.ask(node, self.now, spacing_s))

    def _challenge(self, node: int, incarnation: int, nonce: int) -> None:
        """Ask an incarnation whether it lives, unless ``nonce`` is 0.

        Where two claim an id all are asked: the address that is known may be that of the other one.
        """
        if nonce:
            alone = node != self.node and self._admission.incarnation_of(node) in (None, incarnation)
            challenge = Challenge(node, incarnation, nonce, self._admission.incarnation)
            datagram = self.membership_codec.encode_challenge(challenge)
            self._transmit(node if alone else 0, datagram, "challenges_sent")

    def _challenged(self, sender: int, challenge: Challenge) -> None:
        """Somebody asks whether this processor lives."""
        speakers = self._admission
        if (challenge.target, challenge.incarnation) != (self.node, speakers.incarnation):
            self.counters.add("dropped_not_for_me")
            return
        if sender == self.node:
            self._hear_own_id(challenge.challenger)
        response = Response(speakers.incarnation, challenge.nonce, speakers.serial, len(self.ring.members))
        datagram = self.membership_codec.encode_response(response)
        self._transmit(sender if sender != self.node else 0, datagram, "responses_sent")

    def _response(self, sender: int, response: Response) -> None:
        """A processor has proven that it lives: what it said before counts now."""
        peers = self._admission.peers
        _, nonce, serial, _ = response
        incarnation = response.incarnation
        if peers.lives_on(sender, incarnation, nonce, serial, self.now):
            self._duplicate_ids.answered(sender, self.now)
        elif not peers.answers(sender, incarnation, nonce, self.now):
            self.counters.add("dropped_late_copy")
        elif sender == self.node:
            self._meet_own_id(response)
        elif not self._has_place(sender, incarnation):
            peers.dismiss(sender, incarnation)
        elif (word := peers.believe(sender, incarnation, serial, self.now)) is not None:
            self.handle(word.kind, sender, word.body)

    def _has_place(self, node: int, incarnation: int) -> bool:
        """Whether a proven incarnation may take its id: not while the one on my ring that has it answers, too."""
        known = self._incarnations.get(node)
        if self.state is not State.OPERATIONAL or known is None or known == incarnation:
            return True
        free = self._duplicate_ids.gives_way(node, incarnation, self.now)
        self._ask(node)
        if not free and self._duplicate_ids.both_live(node):
            self.counters.add("dropped_duplicate_id")
            self.notices.add(
                "duplicate_id",
                f"two living processes use the node id {node}; the one that is on the ring keeps it",
                processor=node,
            )
        return free

    def _hear_own_id(self, incarnation: int) -> None:
        """My id, said by me in this life or before, or by another process that has it too."""
        self.counters.add("dropped_own_id")
        if incarnation != self._admission.incarnation:
            identity = Identity(incarnation, 0, self._admission.limits)
            self._challenge(self.node, incarnation, self._admission.peers.claim(self.node, identity, None, self.now))

    def _meet_own_id(self, response: Response) -> None:
        """Another living process has my id. Who is on the larger ring stays; of equals, the smaller incarnation."""
        mine = len(self.ring.members)
        if (response.members, -response.incarnation) > (mine, -self._admission.incarnation):
            self._fail(
                DuplicateNodeError(
                    f"another living process uses the node id {self.node}, on a ring of {response.members}; "
                    "give each process an id of its own"
                ),
                "duplicate id",
            )
        else:
            self.notices.add(
                "duplicate_id", f"another living process uses the node id {self.node} of this one", processor=self.node
            )

    def _is_leaving(self, sender: int, leave: Leave) -> bool:
        """Whether the incarnation that I know says that it leaves."""
        known = self._incarnation_here(sender)
        if known != leave.identity.incarnation:
            self.counters.add("dropped_stranger")
            return False
        return self._listens(sender, leave)

    def _incarnation_here(self, node: int) -> int | None:
        """The incarnation that is on the ring that forms, or on the installed one; of others the one proven last."""
        if self._formation is not None:
            for entry in self._formation.commit.entries:
                if entry.node == node and entry.filled:
                    return entry.incarnation
        return self._incarnations.get(node, self._admission.incarnation_of(node))

    # Ring sequences that are far from the own one

    def _commit_in_reach(self, sequence: int) -> bool:
        """Whether a ring with this sequence may be formed. Its members have said theirs in joins before."""
        if sequence <= min(self.ring_sequence + STEP_MAX, SEQUENCE_END):
            return True
        self.counters.add("dropped_sequence_jump")
        return False

    def _out_of_reach(self, sender: int, identity: Identity, sequence: int) -> bool:
        """Another processor is far ahead. It is not listened to; if it is further than a leap, that will stay so."""
        self.counters.add("dropped_sequence_jump")
        if sequence > self.ring_sequence + LEAP_MAX and self._sequence_limits.proves(
            sender, identity.incarnation, AHEAD, self.now
        ):
            self.notices.add(
                "ring_sequence",
                f"processor {sender} is at ring sequence {sequence}, and this one at {self.ring_sequence}: "
                "the two cannot be on one ring. One of them began with a damaged ring_sequence",
            )
        return False

    def _not_behind(self, sender: int, identity: Identity, sequence: int, size: int) -> bool:
        """Whether another processor is not so far behind that this one is out of its reach.

        If it is, and it is not on a smaller ring than this one, it is this one whose stored sequence is wrong.
        """
        if sequence >= self.ring_sequence - LEAP_MAX:
            return True
        self.counters.add("dropped_sequence_jump")
        if not self._sequence_limits.proves(sender, identity.incarnation, BEHIND, self.now):
            return False
        mine = len(self.ring.members)
        text = (
            f"processor {sender}, of {size}, is at ring sequence {sequence}, and this one, of {mine}, at "
            f"{self.ring_sequence}: more than 2**32 apart, so that the two cannot be on one ring"
        )
        if size >= mine:
            self._fail(
                RingError(
                    f"{text}. The ring_sequence that this processor began with was damaged where it was stored: begin "
                    "with the one that another member has stored, or with 0"
                ),
                "ring sequence",
            )
        else:
            self.notices.add("ring_sequence", f"{text}. Begin the other one with ring_sequence={self.ring_sequence}")
        return False

    def _end_near_the_last(self) -> None:
        self._fail(
            RingError(
                f"the ring sequence has come to {self.ring_sequence}, and {SEQUENCE_END} is the end of what can be "
                "used, which no honest ring reaches: begin all processors of the cluster with ring_sequence=0"
            ),
            "ring sequence",
        )

    def _note_sign(self, sender: int) -> None:
        """A datagram of a member came: if it is the successor, it lives, whatever became of the token."""
        if (self._unanswered or self._suspect) and sender == self.ring.successor:
            self._unanswered = 0
            self._sign_at = self.now
            if self._suspect:
                self._suspect = 0
                self._await_consensus()

    # Ways into gather

    def _enter_gather(
        self,
        procs: Iterable[int],
        fails: Iterable[int] = (),
        *,
        alone_at_once: bool = False,
        informed: bool = False,
    ) -> None:
        self._go(State.GATHER)
        self.counters.add("gathers")
        self._formation = None
        self._resting = None
        self._own_token = None
        self._wait_for_token(1)
        for timer in (Timer.TOKEN_LOSS, Timer.TOKEN_RETRANSMIT, Timer.TOKEN_HOLD, Timer.MERGE_DETECT):
            self.timers.clear(timer)
        self._beacon_at = math.inf
        self._consensus = Consensus(self.node, procs, fails, self.config.members_max)
        self._alone_at_once = alone_at_once
        self._consensus.informed = informed
        if informed:
            self._consensus.planned.update(fails)
        self._agreed = False
        self._suspect = 0
        self._await_consensus()
        self._say_join()
        self._check_consensus()

    def _gather_without(self, node: int, ring: RingState, why: str) -> None:
        """A member is known to be gone: nobody need wait for it, not even the last one."""
        self._reasons.gone((node,), why)
        self._reasons.ended(f"member {node} {why}")
        rest = tuple(member for member in ring.members if member != node)
        self._enter_gather(ring.members, (node,), alone_at_once=rest == (self.node,))

    def _gathers_anew(self, ring: RingState, token: Token) -> bool:
        """The token says that this ring must end, in recovery as when it is installed.

        Its numbers may have come to their end. A member that has held the aru up for too long is left out.
        """
        if ring.exhausted(token):
            self.counters.add("rings_worn_out")
            self._reasons.ended("the numbers of the ring had come to their end")
            self._enter_gather(ring.members, alone_at_once=len(ring.members) == 1)
            return True
        deaf = ring.slowest_member(self.now, self._fail_to_receive_s)
        if deaf:
            self.counters.add("failures_to_receive")
            self._gather_without(deaf, ring, f"failed to receive for {self._fail_to_receive_s:g} s")
        return deaf != 0

    def _gather_from_broken_ring(self, *, informed: bool = False) -> None:
        """A live successor answers each copy of the token (departure 18). Who answered none, and does not answer the
        first join either, is given up without waiting for the consensus timeout, and the others hear of it."""
        ring = self.ring
        silent_s = self.now - self._sign_at
        dead = self._unanswered >= _UNANSWERED_MIN and silent_s >= _UNANSWERED_PART * self._token_timeout_s
        suspect = ring.successor if dead else 0
        self._enter_gather(ring.members, alone_at_once=suspect != 0 and len(ring.members) == 2, informed=informed)
        if suspect:
            self._suspect = suspect
            self._await_consensus()

    def _wait_for_token(self, times: int) -> None:
        """From now on the token may be away for so many token timeouts before this ring is taken to be broken.

        While that is more than one, a timer each ``retransmit_s`` tells a wait from a standstill of this process.
        """
        if times > 1:
            self.timers.set(
                Timer.STANDSTILL, min(self.timers.deadline(Timer.STANDSTILL), self.now + self.config.retransmit_s)
            )
        self._token_timeout_s = times * self.config.token_timeout_s
        self._fail_to_receive_s = times * self.config.fail_to_receive_s

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
        consensus = self._consensus
        join = Join(
            self._admission.identity(),
            self.ring_sequence,
            consensus.alive,
            consensus.fails,
            consensus.informed,
        )
        self._transmit(0, self.membership_codec.encode_join(join), "joins_sent")

    def _repeat_join(self, sender: int, body: None) -> None:
        self._say_join()
        for node, incarnation, nonce in self._admission.peers.unanswered(self.now):
            self._challenge(node, incarnation, nonce)

    def _sets_changed(self) -> None:
        self._agreed = False
        self._await_consensus()
        self._say_join()

    def _check_consensus(self) -> None:
        consensus = self._consensus
        if not consensus.agreed or self._agreed:
            return
        alive = consensus.alive
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
        consensus = self._consensus
        suspect, self._suspect = self._suspect, 0
        silent = consensus.silent()
        if suspect in consensus.fail_set:
            self._await_consensus()  # others knew it too
        elif suspect:
            self.counters.add("successors_given_up")
            self._reasons.gone((suspect,), "answered neither the token nor a join")
            consensus.fail((suspect,))
            self._sets_changed()
            self._check_consensus()
        elif silent:
            self._reasons.gone(silent, f"did not agree within {self.config.consensus_timeout_s:g} s")
            consensus.fail(silent)
            self._sets_changed()
            self._check_consensus()
        elif consensus.alive == (self.node,):
            self._form(consensus.alive)
        else:
            self._enter_gather(consensus.alive)

    def _join_in_gather(self, sender: int, join: Join) -> None:
        if not self._hears_join(sender, join):
            return
        self._take_join(sender, join)

    def _take_join(self, sender: int, join: Join) -> None:
        if join.ring_sequence > self.ring_sequence + STEP_MAX:
            self._sequence_limits.note_leap(self.now)
        self.ring_sequence = max(self.ring_sequence, join.ring_sequence)
        before = self._consensus.fail_set
        if self._consensus.receive(sender, join):
            gone = self._consensus.fail_set - before
            self._reasons.gone(gone - {sender}, f"given up by {sender}")
            self._reasons.gone(gone & {sender}, "gave this processor up")
            self._sets_changed()
        if self._consensus.overfull:
            self.counters.add("dropped_ring_full")
        self._check_consensus()

    def _beacon_in_gather(self, sender: int, beacon: Beacon) -> None:
        if not self._hears_beacon(sender, beacon) or sender in self._consensus.proc_set:
            return
        if self._connectivity.puts_off(self._consensus.alive, sender, self.now, busy=self._is_busy()):
            self._note_put_off(sender)
        elif self._consensus.add(sender):
            self._sets_changed()

    def _note_put_off(self, sender: int) -> None:
        self.counters.add("rejoins_put_off")
        self.notices.add(
            "put_off",
            f"processor {sender} was left out before, or left a member of this ring out; it waits until beacons have "
            "shown that all hear all, and, if that was often, until no member of this ring recovers",
            processor=sender,
        )

    def _leave_in_gather(self, sender: int, leave: Leave) -> None:
        if not self._is_leaving(sender, leave):
            return
        consensus = self._consensus
        self._reasons.gone((sender,), LEFT_IN_ORDER)
        if consensus.fail((sender,)):
            self._alone_at_once = consensus.alive == (self.node,) and sender in self.ring.members
            self._sets_changed()
            self._check_consensus()

    def _old_data(self, sender: int, packet: Packet) -> None:
        if packet.ring != self.ring.name:
            self.counters.add("dropped_other_ring")
        elif packet.sender not in self._incarnations and not packet.old_ring:
            self.counters.add("dropped_stranger")
        elif self.ring.misplaced(packet):
            self.counters.add("dropped_implausible")
        elif not self.ring.window.insert(packet):
            self.counters.add("duplicates")

    # What the classes above do

    def _go(self, state: State) -> None:
        """From now on the processor is in this state. Membership has the methods that handle its inputs."""

    def _form(self, members: tuple[int, ...]) -> None:
        """All agree and this processor has the smallest id. Forming says how it forms the ring."""

    def handle(self, what: int, sender: int, body: Any) -> None:
        """One input in the present state. Membership has the handlers."""

    def _fail(self, failure: RingError, how: str) -> None:
        """This processor cannot go on. Membership says how it leaves."""
