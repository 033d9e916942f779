"""Who speaks in datagrams of membership, and to whom this processor listens.

Every join, beacon and leave begins with an identity: incarnation, rising serial, and the limits that all processors of
a ring must agree on. A processor with other limits is not listened to at all, so it can never be half joined; it is
told why, and it stops if it never was on a ring with others (departure 15 in docs/protocol.md).
"""

from __future__ import annotations

import math

from ringproto._core.counters import Counters
from ringproto._core.peers import Peers
from ringproto._core.wire_membership import Identity, Limits, Refuse
from ringproto.config import MUST_BE_EQUAL, Config
from ringproto.errors import RefusedError


class Speakers:
    """This processor's own identity, and what it knows of the others'."""

    __slots__ = (
        "_counters",
        "_max",
        "_node",
        "_peers",
        "_refused_at",
        "_serial",
        "_spacing_s",
        "incarnation",
        "limits",
    )

    def __init__(self, node: int, config: Config, datagram_size: int, incarnation: int, counters: Counters) -> None:
        self.incarnation = incarnation
        self.limits = Limits(
            config.quorum, config.members_max, config.message_size_max, config.windows[0], datagram_size
        )
        self._node = node
        self._counters = counters
        self._serial = 0
        self._max = 4 * config.members_max
        self._peers = Peers(self._max)
        self._refused_at: dict[int, float] = {}
        self._spacing_s = config.consensus_timeout_s

    def identity(self) -> Identity:
        """The head of the next datagram of membership."""
        self._serial += 1
        return Identity(self.incarnation, self._serial, self.limits)

    def listens(self, sender: int, identity: Identity) -> bool:
        """Whether this is news of another processor with the same limits; if not, why not is counted."""
        if sender == self._node:
            reason = "dropped_own_id"
        elif identity.limits != self.limits:
            reason = "dropped_other_limits"
        elif not self._peers.news(sender, identity):
            reason = "dropped_late_copy"
        else:
            return True
        self._counters.add(reason)
        return False

    def incarnation_of(self, node: int) -> int | None:
        """The incarnation of another processor that was heard last."""
        return self._peers.incarnation(node)

    def refusal(self, sender: int, identity: Identity, members: int, now: float) -> Refuse | None:
        """What to answer to a processor with other limits, at most once a consensus timeout to each."""
        if sender == self._node or identity.limits == self.limits:
            return None
        said = self._refused_at.pop(sender, -math.inf)
        due = now - said >= self._spacing_s
        self._refused_at[sender] = now if due else said
        if len(self._refused_at) > self._max:
            del self._refused_at[next(iter(self._refused_at))]
        return Refuse(sender, identity.incarnation, members, self.limits) if due else None

    def refused(self, sender: int, refuse: Refuse, members: int) -> RefusedError | None:
        """The reason to stop, if a refusal is meant for this incarnation and its sender is right.

        The larger ring is right; of equals, the smaller id.
        """
        if refuse.target != self._node or refuse.target_incarnation != self.incarnation:
            self._counters.add("dropped_not_for_me")
            return None
        self._counters.add("refusals_received")
        differ = self.differences(refuse.limits)
        if not differ or (refuse.members, -sender) < (members, -self._node):
            return None
        return RefusedError(
            f"processor {sender} refuses this one: {differ}. "
            "All processors of a cluster need the same values (Config, and the transport's datagram size)"
        )

    def differences(self, limits: Limits) -> str:
        """Which limits of another processor differ, and both values; empty if none does."""
        return "; ".join(
            f"{name} is {theirs} there and {ours} here"
            for name, theirs, ours in zip(MUST_BE_EQUAL, limits, self.limits, strict=True)
            if theirs != ours
        )
