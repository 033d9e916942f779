"""Forming a ring: what a processor does while a ring forms, in commit and recovery (Totem, sections 5.2 and 6).

Those who agreed pass a commit token round twice, then the token of the new ring turns and carries what they lack of the
old ones, until all have it and the ring is installed; ``formation.py`` has one such attempt. The one with the smallest
id leads. What ends the attempt, a loss or a join or a leave, leads back to gather, in ``gathering.py``.

While a ring forms, the old one stays as it was: a formation that fails costs nothing but time, except that packets of
the old ring may have been recovered, which is always right.
"""

from __future__ import annotations

from ringproto._core.context import Context
from ringproto._core.membership.commit_token import Assembler, CommitToken, empty_entry
from ringproto._core.membership.formation import Formation
from ringproto._core.membership.gathering import LEFT_IN_ORDER, SEQUENCE_END, Gathering
from ringproto._core.ring.ring import RingState
from ringproto._core.states import State
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import Acknowledgement, CommitPart, Entry, Identity, Join, Leave
from ringproto._core.wire.regular import Kind, Packet, Phase, Token, ring_from_bytes
from ringproto.types import RingId

_OPERATIONAL = State.OPERATIONAL  # to look a member of an enum up costs more than most of what follows
_TOKEN_LOSS = int(Timer.TOKEN_LOSS)
_TOKEN_RETRANSMIT = int(Timer.TOKEN_RETRANSMIT)
_COPIES_BEFORE_A_STANDSTILL = 2
"""How many copies of the first token of a ring a processor sends that is known to stand still next. At a loss of 15 %
one of 300 such tokens is lost with all copies."""


class Forming(Gathering):
    """One processor, as far as it forms a ring with those it has found."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._entropy = context.entropy
        self._datagram_size = context.datagram_size
        self._assembler = Assembler()
        self._obligations: frozenset[int] = frozenset()
        self._ever_joined = False

    # Commit

    def _form(self, members: tuple[int, ...]) -> None:
        """All agree and this processor has the smallest id: it is the representative."""
        if self.ring_sequence + 1 >= SEQUENCE_END:
            self._end_near_the_last()
            return
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
            self._admission.incarnation,
            True,
            self.ring.name,
            self.ring.window.aru,
            self.delivery.delivered,
            tuple(sorted(self._obligations)),
            self._patience.asks,
        )

    def _enter_commit(self, formation: Formation, token: CommitToken) -> None:
        self._go(State.COMMIT)
        self._formation = formation
        self.timers.clear(Timer.JOIN)
        self.timers.clear(Timer.CONSENSUS)
        self._pass_commit(formation, token)

    def _pass_commit(self, formation: Formation, token: CommitToken) -> None:
        formation.pass_on(token, self.membership_codec, self._datagram_size)
        self._hop.begin_acknowledged(formation.ring.successor, self.now, self.config.retransmit_s)
        self._send_commit(formation, "commit_tokens_sent")
        self.timers.set(_TOKEN_LOSS, self.now + self.config.token_timeout_s)

    def _send_commit(self, formation: Formation, count: str) -> None:
        for datagram in formation.datagrams:
            self._transmit(formation.ring.successor, datagram, count)
        self.timers.set(_TOKEN_RETRANSMIT, self.now + self._hop.wait_s)

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

    def _is_of_the_living(self, sender: int, token: CommitToken) -> bool:
        """Whether who passed this commit token on is known to live; if not it is asked, and the token comes again."""
        peers = self._admission.peers
        for entry in token.entries:
            if entry.node == sender and entry.filled:
                identity = Identity(entry.incarnation, 0, self._admission.limits)
                if peers.is_proven(sender, identity, self.now, present=self._is_present(sender, identity)):
                    return True
                self._challenge(sender, entry.incarnation, peers.claim(sender, identity, None, self.now))
        return False

    def _acknowledge_commit(self, sender: int, part: CommitPart) -> None:
        """Tell the predecessor that the commit token is here, so that it need not send it again."""
        self._acknowledge(sender, part.ring, Kind.COMMIT, part.copy, part.hop)

    def _acknowledge_known(self, sender: int, part: CommitPart, formation: Formation) -> None:
        """A commit token came again that was passed on before: the acknowledgement was lost, or is on its way."""
        if part.ring == formation.ring.name and part.hop >= formation.commit.hop - 1:
            self._acknowledge_commit(sender, part)

    def _acknowledge(self, sender: int, ring: bytes, what: int, copy: int, number: int) -> None:
        acknowledgement = Acknowledgement(sender, ring, what, copy, number)
        datagram = self.membership_codec.encode_acknowledgement(acknowledgement)
        self._transmit(sender, datagram, "acknowledgements_sent")

    def _acknowledge_token(self, sender: int, token: Token) -> None:
        """Tell the predecessor that the token is here: if it asks for that, or as it has sent it again."""
        if token.acknowledge or token.copy:
            self._acknowledge(sender, token.ring, Kind.TOKEN, token.copy, token.token_seq)

    def _acknowledged(self, sender: int, acknowledgement: Acknowledgement) -> None:
        """The successor has the token, or the commit token, that was passed on to it."""
        formation = self._formation
        ring = self.ring if formation is None else formation.ring
        if acknowledgement.destination != self.node:
            self.counters.add("dropped_not_for_me")
            return
        if acknowledgement.ring != ring.name or sender != ring.successor:
            self.counters.add("dropped_other_ring")
            return
        self._note_sign(sender)
        token = ring.forwarded_token
        if token is not None:
            expected = (int(Kind.TOKEN), token.token_seq)
        else:
            expected = (int(Kind.COMMIT), self._forming.commit.hop)
        if (acknowledgement.what, acknowledgement.number) == expected:
            self._hop.acknowledged(acknowledgement.copy, self.now)
            self._unanswered = 0
            self._sign_at = self.now
            if formation is None:
                self._watch_successor()
            else:
                self.timers.clear(_TOKEN_RETRANSMIT)
        else:
            self.counters.add("duplicates")

    def _watch_successor(self) -> None:
        """The successor has shown that it has the token. It may die before it passes the token on; so it is sent the
        token once more if nothing is heard of that for half of the token timeout. A live one answers (departure 18)."""
        if self.timers.is_set(_TOKEN_RETRANSMIT):  # else the token went on, and this comes late
            wait_s = self._token_timeout_s / 2
            self._hop.arrived(wait_s)
            self.timers.set(_TOKEN_RETRANSMIT, self.now + wait_s)

    def _commit_in_gather(self, sender: int, part: CommitPart) -> None:
        token = self._commit_token(part)
        if token is None:
            return
        ring_id = ring_from_bytes(token.ring)
        members = token.members
        consensus = self._consensus
        if not self._commit_in_reach(ring_id.sequence):
            return
        if ring_id.sequence <= self.ring_sequence:
            self.counters.add("dropped_late_copy")
        elif self.node not in members or ring_id.representative != members[0] or members[0] == self.node:
            self.counters.add("dropped_not_for_me")
        elif not consensus.fail_set.isdisjoint(members) or not set(consensus.alive).issubset(members):
            # Who formed this does not know yet what I know; it will hear my join.
            self.counters.add("dropped_other_membership")
        elif not self._is_of_the_living(sender, token):
            self.counters.add("dropped_unproven")
        else:
            self.ring_sequence = ring_id.sequence
            ring = self._new_ring(ring_id, members)
            token = token.filled(self._entry())
            self._acknowledge_commit(sender, part)
            self._enter_commit(Formation(ring, token), token)

    def _commit_in_commit(self, sender: int, part: CommitPart) -> None:
        token = self._commit_token(part)
        if token is None:
            return
        formation = self._forming
        reject_reason = formation.reject_reason(token, self._entry())
        if reject_reason is not None:
            self.counters.add(reject_reason)
            self._acknowledge_known(sender, part, formation)
        else:
            self._acknowledge_commit(sender, part)
            self._enter_recovery(formation, token)
            self._pass_commit(formation, token)

    def _commit_in_recovery(self, sender: int, part: CommitPart) -> None:
        token = self._commit_token(part)
        if token is None:
            return
        if self._forming.starts_token(token, self.node):
            self._acknowledge_commit(sender, part)
            self._start_token(self._forming)
        else:
            self.counters.add("dropped_late_copy")
            self._acknowledge_known(sender, part, self._forming)

    def _leave_while_forming(self, sender: int, leave: Leave) -> None:
        # Who is not on the ring that forms was given up before, maybe because others had heard of its leave.
        if self._is_leaving(sender, leave) and sender in self._forming.ring.members:
            self._gather_without(sender, self._forming.ring, LEFT_IN_ORDER)

    def _join_while_forming(self, sender: int, join: Join) -> None:
        """A member that does not take part in this formation any more ends it; others wait until it is done."""
        if not self._hears_join(sender, join):
            return
        ring = self._forming.ring
        # Who has not had the commit token and says other sets than those agreed on will not take it either.
        gone = join.ring_sequence >= ring.id.sequence or (self.state is State.COMMIT and not self._consensus.same(join))
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
        elif formation.is_stranger(packet, self.ring):
            self.counters.add("dropped_stranger")
        elif formation.ring.misplaced(packet):
            self.counters.add("dropped_implausible")
        elif not formation.ring.window.insert(packet):
            self.counters.add("duplicates")
        else:
            if packet.seq > formation.ring.forwarded_seq:
                # Somebody after me had the token, so it is not lost between me and my successor.
                self.timers.clear(_TOKEN_RETRANSMIT)
            if packet.old_ring:
                formation.exchange.receive(packet)

    def _token_in_recovery(self, sender: int, token: Token) -> None:
        formation = self._forming
        if self._accepts(formation.ring, token):
            self._acknowledge_token(sender, token)
            self._take_forming_token(formation, token)
            self.pump()
        else:
            self._answer_copy(sender, formation.ring, token)

    def _answer_copy(self, sender: int, ring: RingState, token: Token) -> None:
        """A copy of a token that was accepted before: who sent it must learn that it came, or sends it on and on."""
        known = token.ring == ring.name and sender in ring.members
        if known and token.token_seq == ring.token_seq and token.destination == self.node:
            self._acknowledge(sender, token.ring, Kind.TOKEN, token.copy, token.token_seq)

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
            self._prepare_to_stand_still(ring)
            return
        visit = formation.visit(token, self.codec)
        if formation.promised:
            self._obligations = formation.exchange.deliver_set
            # The member before this one may have installed the ring and stand still in its recovery. If the token that
            # it passed on is lost, it sends it again only then.
            self._wait_for_token(max(entry.patience for entry in formation.commit.entries))
        self._pass_token(ring, visit)

    def _prepare_to_stand_still(self, ring: RingState) -> None:
        """This processor has installed the ring and passed the token on. If it is known to stand still next, it sends
        copies now, because it could only send them when it runs again.

        The others will stand still as well, each when the token has come to it, and the ring waits for one standstill.
        """
        passed_on = self._own_token is None and self._resting is None
        if self._patience.asks > 1 and passed_on and ring.forwarded is not None:
            for _ in range(_COPIES_BEFORE_A_STANDSTILL):
                self._transmit(ring.successor, ring.forwarded, "tokens_retransmitted")

    def _enter_operational(self, formation: Formation) -> None:
        """Install: the rest of the old ring, the transitional and the regular configuration (Totem, section 6)."""
        old, ring, exchange = self.ring, formation.ring, formation.exchange
        self.delivery.end_ring(old.window, old.id, exchange.high_delivered, exchange.transitional, exchange.deliver_set)
        self.delivery.install(ring.id, ring.members, len(ring.members) >= self.config.quorum)
        self.outbox.abort_round()
        consensus = self._consensus
        self._connectivity.mark(
            {node: self._admission.incarnation_of(node) for node in sorted(consensus.fail_set)},
            self.now,
            consensus.planned,
        )
        self._connectivity.lift(ring.members)
        for node in sorted({*old.members, *consensus.fail_set}.difference(ring.members)):
            self._admission.peers.doubt(node)
        # What the exchange carried was taken out as it came; there is nothing in it to deliver on the new ring.
        self.delivery.delivered = ring.window.released
        self.counters.add("configurations")
        self.counters.add("recovered", exchange.recovered)
        self.counters.add("rotations", old.rotations)
        self.counters.add("packets_sent", old.sent)
        self.counters.add("retransmissions", old.retransmitted)
        self.ring = ring
        entries = formation.commit.entries
        self._incarnations = {entry.node: entry.incarnation for entry in entries}
        for entry in entries:
            if entry.node != self.node:
                self._admission.peers.is_on_ring(entry.node, entry.incarnation, self.now)
        self._patience.begin(entries)
        self._obligations = frozenset()
        self._formation = None
        self._called = True  # the others install when they see this token, so it does not rest here first
        self._woke = False
        self._ever_joined = self._ever_joined or len(ring.members) > 1
        text, fields = self._reasons.take(self.delivery.configuration)
        self.notices.add("configuration", text, warning=False, **fields)
        self._go(State.OPERATIONAL)
        self._installed()

    # Alone on a ring, while it forms and afterwards

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

    # What the class above does

    def _installed(self) -> None:
        """The new ring is installed and the processor operational. Membership says what follows from it."""
