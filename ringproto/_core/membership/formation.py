"""A ring that is being formed: its commit token, then its recovery (Totem, sections 5.2 and 6).

The old ring stays as it was until the new one is installed. A formation that fails is thrown away.
"""

from __future__ import annotations

from ringproto._core.membership.commit_token import CommitToken
from ringproto._core.membership.recovery import Exchange
from ringproto._core.ring.ring import RingState, Visit
from ringproto._core.wire.membership import Entry, MembershipCodec
from ringproto._core.wire.regular import Codec, Packet, Phase, Token


class Formation:
    """One attempt to form one ring, from the first sight of its commit token to its installation."""

    __slots__ = ("_exchange", "commit", "datagrams", "ring")

    def __init__(self, ring: RingState, commit: CommitToken) -> None:
        self.ring = ring
        self.commit = commit
        """The commit token as it was passed on last."""
        self.datagrams: list[bytes] = []
        """The same as it was sent."""
        self._exchange: Exchange | None = None

    def pass_on(self, token: CommitToken, codec: MembershipCodec, size: int) -> None:
        """Make the commit token for the successor: one hop more."""
        self.commit = token._replace(hop=token.hop + 1)
        self.repeat(0, codec, size)

    def repeat(self, copy: int, codec: MembershipCodec, size: int) -> None:
        """Make the datagrams of the commit token that was passed on, for this copy."""
        commit = self.commit
        self.datagrams = codec.encode_commit(self.ring.successor, commit.ring, commit.hop, commit.entries, size, copy)

    def reject_reason(self, token: CommitToken, mine: Entry) -> str | None:
        """Why a commit token on its second rotation is not the right one; ``None`` if it is."""
        if token.ring != self.ring.name or token.hop <= self.commit.hop:
            return "dropped_late_copy"
        # For how long it asks to be waited for may have grown since.
        entries = [entry._replace(patience=mine.patience) for entry in token.entries if entry.node == mine.node]
        if token.members != self.ring.members or not token.complete or mine not in entries:
            return "dropped_implausible"
        return None

    def starts_token(self, token: CommitToken, node: int) -> bool:
        """Whether the representative has the commit token back for the second time, and the ring does not turn yet."""
        return (
            token.ring == self.ring.name
            and token.hop > self.commit.hop
            and self.ring.representative == node
            and self.ring.token_seq == 0
        )

    def recover(self, token: CommitToken, old: RingState, node: int, codec: Codec) -> None:
        """Recovery begins, from what the complete commit token says of the old rings."""
        self._exchange = Exchange(token.entries, old.name, old.window, node, codec)

    def is_stranger(self, packet: Packet, old: RingState) -> bool:
        """Whether who originated this packet was on none of the rings that it may be from, as far as is known here."""
        if not packet.old_ring:
            return packet.sender not in self.ring.members
        return packet.old_ring == old.name and packet.sender not in old.members

    @property
    def exchange(self) -> Exchange:
        """The recovery of the old ring's packets."""
        assert self._exchange is not None, "the formation is not in recovery"
        return self._exchange

    def advance(self, token: Token, node: int) -> Token:
        """The representative leads: when nobody was incomplete for a whole rotation the next phase begins."""
        if self.ring.representative != node:
            return token
        if not token.incomplete:
            self.ring.phase += 1
        return token._replace(incomplete=False)

    def visit(self, token: Token, codec: Codec) -> Visit:
        """The token is here and the ring is not installed yet."""
        visit = self.ring.visit(token, self.exchange, 0, codec)
        self.ring.window.release(self.ring.stable)
        return visit

    @property
    def promised(self) -> bool:
        """Whether this processor has just said that it has everything, so that others may install."""
        ring = self.ring
        return ring.phase == Phase.RECEIVED and not self.exchange.unready(ring, ring.forwarded_seq)
