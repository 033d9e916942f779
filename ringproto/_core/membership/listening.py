"""Listening: which datagrams of membership a processor takes in, whatever its state (departures 1, 15 and 21).

Their sender has the same limits, has proven that it lives, has an id of its own, and is at a ring sequence within
reach. What cannot be listened to is counted and dropped; asserts speak only of this code.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringproto._core.context import Context
from ringproto._core.membership.admission import Admission
from ringproto._core.membership.changes import Depart
from ringproto._core.membership.commit_token import Assembler, CommitToken
from ringproto._core.membership.connectivity import Connectivity
from ringproto._core.membership.duplicate_ids import DuplicateIds
from ringproto._core.membership.installed import InstalledRing
from ringproto._core.membership.peers import Freshness, PendingDatagram
from ringproto._core.membership.sequence_limits import AHEAD, BEHIND, LEAP_MAX, STEP_MAX, SequenceLimits
from ringproto._core.wire.membership import (
    Beacon,
    Challenge,
    CommitPart,
    Entry,
    Identity,
    Join,
    Leave,
    Refuse,
    Response,
)
from ringproto._core.wire.regular import SEQUENCE_MAX, Kind, ring_from_bytes
from ringproto.errors import DuplicateNodeError, RingError

SEQUENCE_END = SEQUENCE_MAX - STEP_MAX
"""A processor that comes to this ring sequence ends: above it there is not room for many rings more."""
_MEMORY = 4
"""What a processor says of a sequence out of reach is remembered for this many times the longer of ``merge_detect_s``
and ``consensus_timeout_s``, within which it has said something again."""


class Listening:
    """What one processor takes in of what others say, and what it knows of them.

    Args:
        context: of the processor.
        installed: the ring that it installed last.
    """

    def __init__(self, context: Context, installed: InstalledRing) -> None:
        config = context.config
        self._context = context
        self._installed = installed
        self.admission = Admission(
            context.node, config, context.datagram_size, context.incarnation, context.entropy, context.counters
        )
        self.connectivity = Connectivity(context.node, config.merge_detect_s, config.members_max)
        self._duplicate_ids = DuplicateIds(config.join_timeout_s, self.connectivity.memory_s, config.members_max)
        memory_s = _MEMORY * max(config.merge_detect_s, config.consensus_timeout_s)
        self._sequence_limits = SequenceLimits(config.join_timeout_s, memory_s, 4 * config.members_max)
        self._assembler = Assembler()
        self.failure: Depart | None = None
        """Set when something was heard because of which this processor cannot stay."""

    # To whom it listens

    def _listens(self, sender: int, body: Join | Beacon | Leave, word: PendingDatagram | None = None) -> bool:
        """Whether to listen to a datagram of membership; a processor with other limits is told why not.

        A sender that is not known to live is asked. With ``word`` what it says is kept until it has answered.
        """
        context, admission = self._context, self.admission
        identity = body.identity
        if sender == context.node:
            self._hear_own_id(identity.incarnation)
            return False
        if not admission.suits(identity):
            refuse = admission.refusal(sender, identity, len(self._installed.ring.members), context.now)
            if refuse is not None:
                differ = admission.differences(identity.limits)
                context.notices.add(
                    "limits_refused", f"processor {sender} is not let in: {differ}", processor=sender, differ=differ
                )
                context.transmit(sender, context.membership_codec.encode_refuse(refuse), "refusals_sent")
            return False
        verdict = admission.hear(sender, identity, context.now, present=self._is_present(sender, identity))
        if verdict is Freshness.UNPROVEN and word is not None:
            self._challenge(sender, identity.incarnation, admission.peers.claim(sender, identity, word, context.now))
        elif verdict is Freshness.LATE and word is not None:
            # A copy, most of the time; but a forged serial must not silence its sender for good.
            self._ask(sender, context.config.consensus_timeout_s)
        return verdict is Freshness.NEWS

    def _is_present(self, sender: int, identity: Identity) -> bool:
        """Whether this incarnation is on the installed ring with this processor."""
        return self._installed.incarnations.get(sender) == identity.incarnation

    def hears_join(self, sender: int, join: Join) -> bool:
        """Whether a join counts."""
        if not self._listens(sender, join, PendingDatagram(Kind.JOIN, join)):
            return False
        context = self._context
        sequence = join.ring_sequence
        incarnation = join.identity.incarnation
        if sequence < context.ring_sequence - LEAP_MAX:
            # Which of the two is wrong depends on the rings that they are on. Beacons say that.
            context.counters.add("dropped_sequence_jump")
            return False
        admitted = self._sequence_limits.admits(sender, incarnation, sequence, context.ring_sequence, context.now)
        if not admitted or sequence >= SEQUENCE_END:
            self._note_out_of_reach(sender, join.identity, sequence)
            return False
        return True

    def hears_beacon(self, sender: int, beacon: Beacon) -> bool:
        """Whether a beacon counts."""
        if not self._listens(sender, beacon, PendingDatagram(Kind.BEACON, beacon)):
            return False
        sequence = ring_from_bytes(beacon.ring).sequence
        if not self._is_not_behind(sender, beacon.identity, sequence, len(beacon.members)):
            return False
        if sequence > self._context.ring_sequence + LEAP_MAX:
            self._note_out_of_reach(sender, beacon.identity, sequence)
            return False
        self.connectivity.hear_beacon(sender, beacon, self._context.now)
        return True

    def hears_leave(self, sender: int, leave: Leave, entries: Iterable[Entry] = ()) -> bool:
        """Whether the incarnation that is known here says that it leaves: the one on the ring that forms, whose
        ``entries`` these are, or on the installed one; of others the one that was proven last."""
        known = next((entry.incarnation for entry in entries if entry.node == sender and entry.filled), None)
        if known is None:
            known = self._installed.incarnations.get(sender, self.admission.incarnation_of(sender))
        if known != leave.identity.incarnation:
            self._context.counters.add("dropped_stranger")
            return False
        return self._listens(sender, leave)

    def take_commit(self, part: CommitPart) -> CommitToken | None:
        """The whole commit token, if it is for this processor and this part completes it."""
        if part.destination != self._context.node:
            self._context.counters.add("dropped_not_for_me")
            return None
        return self._assembler.add(part)

    def is_of_the_living(self, sender: int, token: CommitToken) -> bool:
        """Whether the processor that passed this commit token on is known to live; if not it is asked, and the token
        comes again."""
        peers, now = self.admission.peers, self._context.now
        for entry in token.entries:
            if entry.node == sender and entry.filled:
                identity = Identity(entry.incarnation, 0, self.admission.limits)
                if peers.is_proven(sender, identity, now, present=self._is_present(sender, identity)):
                    return True
                self._challenge(sender, entry.incarnation, peers.claim(sender, identity, None, now))
        return False

    def refused(self, sender: int, refuse: Refuse) -> Depart | None:
        """Processors with other limits refuse this one. A processor that ever was on a ring with others stays there,
        whatever a datagram says."""
        failure = self.admission.refused(sender, refuse, len(self._installed.ring.members))
        if failure is not None and not self._installed.ever_joined:
            return Depart("refused", failure)
        if failure is not None:
            differ = self.admission.differences(refuse.limits)
            self._context.notices.add("limits_refused", str(failure), processor=sender, differ=differ)
        return None

    def note_put_off(self, sender: int) -> None:
        """A processor that was left out is there, and has to wait (departure 8)."""
        self._context.counters.add("rejoins_put_off")
        self._context.notices.add(
            "put_off",
            f"processor {sender} was left out before, or left a member of this ring out; it waits until beacons have "
            "shown that all hear all, and, if that was often, until no member of this ring recovers",
            processor=sender,
        )

    # Who lives

    def ask_again(self) -> None:
        """Those that were asked whether they live and have not answered are asked once more."""
        for node, incarnation, nonce in self.admission.peers.unanswered(self._context.now):
            self._challenge(node, incarnation, nonce)

    def _ask(self, node: int, spacing_s: float = 0.0) -> None:
        """Have the incarnation that is known prove once more that it lives."""
        incarnation = self.admission.incarnation_of(node)
        if incarnation is not None:
            self._challenge(node, incarnation, self.admission.peers.ask(node, self._context.now, spacing_s))

    def _challenge(self, node: int, incarnation: int, nonce: int) -> None:
        """Ask an incarnation whether it lives, unless ``nonce`` is 0.

        Where two claim an id all are asked: the address that is known may be that of the other one.
        """
        if nonce:
            context = self._context
            alone = node != context.node and self.admission.incarnation_of(node) in (None, incarnation)
            challenge = Challenge(node, incarnation, nonce, context.incarnation)
            datagram = context.membership_codec.encode_challenge(challenge)
            context.transmit(node if alone else 0, datagram, "challenges_sent")

    def challenged(self, sender: int, challenge: Challenge) -> None:
        """Another processor asks whether this one lives."""
        context = self._context
        if (challenge.target, challenge.incarnation) != (context.node, context.incarnation):
            context.counters.add("dropped_not_for_me")
            return
        if sender == context.node:
            self._hear_own_id(challenge.challenger)
        members = len(self._installed.ring.members)
        response = Response(context.incarnation, challenge.nonce, self.admission.serial, members)
        datagram = context.membership_codec.encode_response(response)
        context.transmit(sender if sender != context.node else 0, datagram, "responses_sent")

    def answered(self, sender: int, response: Response, *, operational: bool) -> PendingDatagram | None:
        """A processor has proven that it lives. Returns what it said before, which counts now."""
        peers, now = self.admission.peers, self._context.now
        _, nonce, serial, _ = response
        incarnation = response.incarnation
        if peers.lives_on(sender, incarnation, nonce, serial, now):
            self._duplicate_ids.answered(sender, now)
        elif not peers.answers(sender, incarnation, nonce, now):
            self._context.counters.add("dropped_late_copy")
        elif sender == self._context.node:
            self._meet_own_id(response)
        elif operational and not self._has_place(sender, incarnation):
            peers.dismiss(sender, incarnation)
        else:
            return peers.believe(sender, incarnation, serial, now)
        return None

    # Two with one id

    def _has_place(self, node: int, incarnation: int) -> bool:
        """Whether a proven incarnation may take its id: not while the one on the installed ring answers, too."""
        known = self._installed.incarnations.get(node)
        if known is None or known == incarnation:
            return True
        free = self._duplicate_ids.gives_way(node, incarnation, self._context.now)
        self._ask(node)
        if not free and self._duplicate_ids.both_live(node):
            self._context.counters.add("dropped_duplicate_id")
            self._context.notices.add(
                "duplicate_id",
                f"two living processes use the node id {node}; the one that is on the ring keeps it",
                processor=node,
            )
        return free

    def _hear_own_id(self, incarnation: int) -> None:
        """This processor's id, said by it in this life or before, or by another process that has it too."""
        context = self._context
        context.counters.add("dropped_own_id")
        if incarnation != context.incarnation:
            identity = Identity(incarnation, 0, self.admission.limits)
            nonce = self.admission.peers.claim(context.node, identity, None, context.now)
            self._challenge(context.node, incarnation, nonce)

    def _meet_own_id(self, response: Response) -> None:
        """Another living process has this id. The one on the larger ring stays; of equals, the smaller incarnation."""
        context = self._context
        members = len(self._installed.ring.members)
        if (response.members, -response.incarnation) > (members, -context.incarnation):
            failure = DuplicateNodeError(
                f"another living process uses the node id {context.node}, on a ring of {response.members}; "
                "give each process an id of its own"
            )
            self.failure = Depart("duplicate id", failure)
        else:
            context.notices.add(
                "duplicate_id",
                f"another living process uses the node id {context.node} of this one",
                processor=context.node,
            )

    # Ring sequences that are far from the own one

    def commit_in_reach(self, sequence: int) -> bool:
        """Whether a ring with this sequence may be formed. Its members have said theirs in joins before."""
        if sequence <= min(self._context.ring_sequence + STEP_MAX, SEQUENCE_END):
            return True
        self._context.counters.add("dropped_sequence_jump")
        return False

    def raise_sequence(self, sequence: int) -> None:
        """A join that counts says this ring sequence."""
        context = self._context
        if sequence > context.ring_sequence + STEP_MAX:
            self._sequence_limits.note_leap(context.now)
        context.ring_sequence = max(context.ring_sequence, sequence)

    def _note_out_of_reach(self, sender: int, identity: Identity, sequence: int) -> None:
        """Another processor is far ahead. It is not listened to; if it is further than a leap, that will stay so."""
        context = self._context
        context.counters.add("dropped_sequence_jump")
        if sequence > context.ring_sequence + LEAP_MAX and self._sequence_limits.proves(
            sender, identity.incarnation, AHEAD, context.now
        ):
            context.notices.add(
                "ring_sequence",
                f"processor {sender} is at ring sequence {sequence}, and this one at {context.ring_sequence}: "
                "the two cannot be on one ring. One of them began with a damaged ring_sequence",
            )

    def _is_not_behind(self, sender: int, identity: Identity, sequence: int, size: int) -> bool:
        """Whether another processor is not so far behind that this one is out of its reach.

        If it is, and it is not on a smaller ring than this one, it is this one whose stored sequence is wrong.
        """
        context = self._context
        if sequence >= context.ring_sequence - LEAP_MAX:
            return True
        context.counters.add("dropped_sequence_jump")
        if not self._sequence_limits.proves(sender, identity.incarnation, BEHIND, context.now):
            return False
        members = len(self._installed.ring.members)
        text = (
            f"processor {sender}, of {size}, is at ring sequence {sequence}, and this one, of {members}, at "
            f"{context.ring_sequence}: more than 2**32 apart, so that the two cannot be on one ring"
        )
        if size >= members:
            failure = RingError(
                f"{text}. The ring_sequence that this processor began with was damaged where it was stored: begin "
                "with the one that another member has stored, or with 0"
            )
            self.failure = Depart("ring sequence", failure)
        else:
            begin = f"Begin the other one with ring_sequence={context.ring_sequence}"
            context.notices.add("ring_sequence", f"{text}. {begin}")
        return False


def end_near_the_last(context: Context) -> Depart:
    """The ring sequence has come to the end of what can be used."""
    failure = RingError(
        f"the ring sequence has come to {context.ring_sequence}, and {SEQUENCE_END} is the end of what can be "
        "used, which no honest ring reaches: begin all processors of the cluster with ring_sequence=0"
    )
    return Depart("ring sequence", failure)
