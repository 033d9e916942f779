"""Forming a ring: what a processor does in the states commit and recovery (Totem, sections 5.2 and 6).

Those who agreed pass a commit token round twice, then the token of the new ring turns and carries what they lack of the
old ones, until all have it and the ring is installed; ``formation.py`` has the rules of one such attempt. The one with
the smallest id leads. What ends the attempt, a loss or a join or a leave, leads back to gather.

While a ring forms, the old one stays as it was: a formation that fails costs nothing but time, except that packets of
the old ring may have been recovered, which is always right.
"""

from __future__ import annotations

from typing import Any

from ringproto._core.context import Context
from ringproto._core.membership.changes import Change, Gather, Handlers, Install, Recover
from ringproto._core.membership.commit_token import CommitToken
from ringproto._core.membership.consensus import Consensus
from ringproto._core.membership.formation import Formation
from ringproto._core.membership.installed import InstalledRing
from ringproto._core.membership.listening import Listening
from ringproto._core.membership.patience import Patience
from ringproto._core.membership.reasons import Reasons
from ringproto._core.membership.ring_ends import LEFT_IN_ORDER, end_by_token, gather_without, note_token_loss
from ringproto._core.ring.token_passing import TokenPassing
from ringproto._core.states import Input
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import Acknowledgement, CommitPart, Entry, Join, Leave
from ringproto._core.wire.regular import Kind, Packet, Phase, Token


class Forming:
    """One attempt to form one ring with those that agreed.

    Args:
        context: of the processor.
        listening: what it takes in.
        installed: the ring that it installed last.
        reasons: why that ring ended.
        patience: how long members are waited for that stand still.
        consensus: what was agreed on.
        passing: the token of the new ring.
        token: the commit token, with this processor's entry.
    """

    def __init__(
        self,
        context: Context,
        listening: Listening,
        installed: InstalledRing,
        reasons: Reasons,
        patience: Patience,
        consensus: Consensus,
        passing: TokenPassing,
        token: CommitToken,
    ) -> None:
        self._context = context
        self._listening = listening
        self._installed = installed
        self._reasons = reasons
        self._patience = patience
        self._consensus = consensus
        self.passing = passing
        self._formation = Formation(passing.ring, token)
        self._in_commit = True

    def handlers(self) -> Handlers:
        """What each input calls in the present one of the two states."""
        both: Handlers = {
            Input.JOIN: self.join,
            Input.LEAVE: self.leave,
            Input.ACKNOWLEDGEMENT: self.acknowledged,
            Input.TOKEN_LOSS: self.token_loss,
            Input.TOKEN_RETRANSMIT: self.retransmit,
        }
        if self._in_commit:
            return {**both, Input.COMMIT: self.second_commit}
        return {
            **both,
            Input.DATA: self.data,
            Input.TOKEN: self.token,
            Input.COMMIT: self.third_commit,
            Input.STANDSTILL: self.standstill,
        }

    # Commit

    def begin_commit(self, token: CommitToken) -> None:
        """The first rotation of the commit token."""
        self._end_gathering()
        self.pass_commit(token)

    def _end_gathering(self) -> None:
        self._context.timers.clear(Timer.JOIN)
        self._context.timers.clear(Timer.CONSENSUS)

    def pass_commit(self, token: CommitToken) -> None:
        """Send the commit token to the successor."""
        context, formation = self._context, self._formation
        formation.pass_on(token, context.membership_codec, context.datagram_size)
        self.passing.hop.begin_acknowledged(formation.ring.successor, context.now, context.config.retransmit_s)
        self._send_commit("commit_tokens_sent")
        context.timers.set(Timer.TOKEN_LOSS, context.now + context.config.token_timeout_s)

    def _send_commit(self, count: str) -> None:
        context = self._context
        for datagram in self._formation.datagrams:
            context.transmit(self._formation.ring.successor, datagram, count)
        context.timers.set(Timer.TOKEN_RETRANSMIT, context.now + self.passing.hop.wait_s)

    def acknowledge_commit(self, sender: int, part: CommitPart) -> None:
        """Tell the predecessor that the commit token is here, so that it need not send it again."""
        self._context.acknowledge(sender, part.ring, Kind.COMMIT, part.copy, part.hop)

    def _acknowledge_known(self, sender: int, part: CommitPart) -> None:
        """A commit token came again that was passed on before: the acknowledgement was lost, or is on its way."""
        if part.ring == self._formation.ring.name and part.hop >= self._formation.commit.hop - 1:
            self.acknowledge_commit(sender, part)

    def second_commit(self, sender: int, part: CommitPart) -> Change | None:
        """The commit token on its second rotation, in commit."""
        token = self._listening.take_commit(part)
        if token is None:
            return None
        reject_reason = self._formation.reject_reason(token, self.entry())
        if reject_reason is not None:
            self._context.counters.add(reject_reason)
            self._acknowledge_known(sender, part)
            return None
        self.acknowledge_commit(sender, part)
        return Recover(token)

    def third_commit(self, sender: int, part: CommitPart) -> Change | None:
        """The commit token in recovery: back at the representative for the second time it starts the regular one."""
        token = self._listening.take_commit(part)
        if token is None:
            return None
        if self._formation.starts_token(token, self._context.node):
            self.acknowledge_commit(sender, part)
            return self.start_token()
        self._context.counters.add("dropped_late_copy")
        self._acknowledge_known(sender, part)
        return None

    def entry(self) -> Entry:
        """What this processor says of its old ring in the commit token."""
        return make_entry(self._context, self._installed, self._patience)

    # In both states

    def join(self, sender: int, join: Join) -> Change | None:
        """A member that does not take part in this formation any more ends it; others wait until it is done."""
        if not self._listening.hears_join(sender, join):
            return self._listening.failure
        ring = self._formation.ring
        # A member that has not had the commit token and says other sets than those agreed on will not take it either.
        gone = join.ring_sequence >= ring.id.sequence or (self._in_commit and not self._consensus.same(join))
        if sender in ring.members and gone:
            return Gather(ring.members, join=(sender, join))
        self._context.counters.add("ignored")
        return None

    def leave(self, sender: int, leave: Leave) -> Change | None:
        """A member leaves."""
        # A processor that is not on the ring that forms was given up before, maybe as others had heard of its leave.
        members = self._formation.ring.members
        if self._listening.hears_leave(sender, leave, self._formation.commit.entries) and sender in members:
            return gather_without(self._context, self._reasons, members, sender, LEFT_IN_ORDER)
        return self._listening.failure

    def acknowledged(self, sender: int, acknowledgement: Acknowledgement) -> Change | None:
        """The successor has the token, or the commit token, that was passed on to it."""
        passing = self.passing
        if passing.concerns(sender, acknowledgement):
            if passing.ring.forwarded_token is not None:
                passing.acknowledged(acknowledgement)
            else:
                passing.acknowledged_as(acknowledgement, Kind.COMMIT, self._formation.commit.hop)
        return None

    def retransmit(self, sender: int, body: Any) -> Change | None:
        """Nothing was heard of the token, or of the commit token: once more, and the next time sooner."""
        context, passing = self._context, self.passing
        if passing.ring.forwarded_token is not None:
            passing.retransmit()
        elif not passing.leaves_it_to_the_loss():
            passing.hop.repeat(context.now, context.config.token_retransmit_min_s)
            self._formation.repeat(passing.hop.copy, context.membership_codec, context.datagram_size)
            self._send_commit("commit_tokens_retransmitted")
        return None

    def token_loss(self, sender: int, body: Any) -> Change | None:
        """No token came in time: agree once more."""
        note_token_loss(self._context, self._reasons, self.passing)
        return Gather(self._formation.ring.members)

    # Recovery

    def begin_recovery(self, token: CommitToken) -> None:
        """The complete commit token is here: the exchange of the old rings' packets is planned."""
        self._in_commit = False
        self._formation.recover(token, self._installed.ring, self._context.node, self._context.codec)
        self._end_gathering()

    def start_token(self) -> Change | None:
        """The commit token came back to the representative for the second time: the regular token starts."""
        change = self._take(self._formation.ring.first_token())
        return self._pump() if change is None else change

    def data(self, sender: int, packet: Packet) -> Change | None:
        """A packet of the new ring, which may carry one of the old ring."""
        formation, counters = self._formation, self._context.counters
        ring = formation.ring
        if packet.ring != ring.name:
            counters.add("dropped_other_ring")
        elif ring.token_seq == 0 and ring.representative == self._context.node:
            counters.add("dropped_implausible")  # the ring has no token yet, so nobody can have sent on it
        elif formation.is_stranger(packet, self._installed.ring):
            counters.add("dropped_stranger")
        elif ring.misplaced(packet):
            counters.add("dropped_implausible")
        elif not ring.window.insert(packet):
            counters.add("duplicates")
        else:
            if packet.seq > ring.forwarded_seq:
                # A member after this one had the token, so it is not lost between this one and its successor.
                self._context.timers.clear(Timer.TOKEN_RETRANSMIT)
            if packet.old_ring:
                formation.exchange.receive(packet)
        return None

    def token(self, sender: int, token: Token) -> Change | None:
        """The token of the new ring."""
        passing = self.passing
        if not passing.accepts(token):
            passing.answer_copy(sender, token)
            return None
        passing.acknowledge(sender, token)
        change = self._take(token)
        return self._pump() if change is None else change

    def _pump(self) -> Change | None:
        """Alone on the ring: let the token go round until the ring is installed."""
        passing = self.passing
        while passing.own_token is not None:
            token, passing.own_token = passing.own_token, None
            change = self._take(token)
            if change is not None:
                return change
        return None

    def _take(self, token: Token) -> Change | None:
        """Totem, section 6; the representative leads through the phases (departure 3 in docs/protocol.md)."""
        formation, passing = self._formation, self.passing
        passing.note(token)
        if passing.ends_ring(token):
            return end_by_token(self._context, self._reasons, passing, token)
        token = formation.advance(token, self._context.node)
        if formation.ring.phase == Phase.INSTALLED:
            return Install(token)
        visit = formation.visit(token, self._context.codec)
        if formation.promised:
            self._installed.obligations = formation.exchange.deliver_set
            # The member before this one may have installed the ring and stand still in its recovery. If the token that
            # it passed on is lost, it sends it again only then.
            passing.wait(max(entry.patience for entry in formation.commit.entries))
        passing.pass_on(visit)
        return None

    def standstill(self, sender: int, body: Any) -> Change | None:
        """The ring may wait for a member that stands still; this process runs."""
        self.passing.standstill()
        return None

    def install(self) -> None:
        """The rest of the old ring, the transitional and the regular configuration (Totem, section 6)."""
        context, listening, installed = self._context, self._listening, self._installed
        delivery, counters, connectivity = context.delivery, context.counters, listening.connectivity
        peers = listening.admission.peers
        formation, consensus = self._formation, self._consensus
        old, ring, exchange = installed.ring, formation.ring, formation.exchange
        delivery.end_ring(old.window, old.id, exchange.high_delivered, exchange.transitional, exchange.deliver_set)
        delivery.install(ring.id, ring.members, len(ring.members) >= context.config.quorum)
        context.outbox.abort_round()
        left_out = {node: listening.admission.incarnation_of(node) for node in sorted(consensus.fail_set)}
        connectivity.mark(left_out, context.now, consensus.planned)
        connectivity.lift(ring.members)
        for node in sorted({*old.members, *consensus.fail_set}.difference(ring.members)):
            peers.doubt(node)
        # What the exchange carried was taken out as it came; there is nothing in it to deliver on the new ring.
        delivery.delivered = ring.window.released
        counters.add("configurations")
        counters.add("recovered", exchange.recovered)
        counters.add("rotations", old.rotations)
        counters.add("packets_sent", old.sent)
        counters.add("retransmissions", old.retransmitted)
        entries = formation.commit.entries
        installed.install(ring, entries)
        for entry in entries:
            if entry.node != context.node:
                peers.is_on_ring(entry.node, entry.incarnation, context.now)
        self._patience.begin(entries)
        self.passing.called = True  # the others install when they see this token, so it does not rest here first
        text, fields = self._reasons.take(delivery.configuration)
        context.notices.add("configuration", text, warning=False, **fields)


def make_entry(context: Context, installed: InstalledRing, patience: Patience) -> Entry:
    """What a processor says of its old ring in the commit token."""
    return Entry(
        context.node,
        context.incarnation,
        True,
        installed.ring.name,
        installed.ring.window.aru,
        context.delivery.delivered,
        tuple(sorted(installed.obligations)),
        patience.asks,
    )
