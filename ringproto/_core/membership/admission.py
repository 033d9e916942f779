"""Who speaks in datagrams of membership, and to whom this processor listens.

Every join, beacon and leave begins with an identity: incarnation, rising serial, and the limits that all processors of
a ring must agree on. A processor with other limits is not listened to at all, so it can never be half joined; it is
told why, and it stops if it never was on a ring with others (departure 15 in docs/protocol.md). Nor is one that has not
proven that it lives (``peers.py``, departure 1).
"""

from __future__ import annotations

import math

from ringproto._core.counters import Counters
from ringproto._core.entropy import Entropy
from ringproto._core.membership.peers import Freshness, Peers
from ringproto._core.wire.membership import Identity, Limits, Refuse
from ringproto.config import MUST_BE_EQUAL, Config
from ringproto.errors import RefusedError

_PROOF = 8
"""Who has proven that it lives is believed until it was silent for so many intervals of beacons."""
_ASKED_AGAIN = 0.2
"""An incarnation is challenged once in this part of the join timeout at most."""
_REFUSALS_MAX = 8
"""So many refusals may be said at once."""


class Admission:
    """This processor's own identity, and what it knows of the others'."""

    __slots__ = (
        "_counters",
        "_max",
        "_node",
        "_refusal_s",
        "_refusals",
        "_refusals_at",
        "_refused_at",
        "_spacing_s",
        "incarnation",
        "join_said_at",
        "limits",
        "peers",
        "serial",
    )

    def __init__(
        self,
        node: int,
        config: Config,
        datagram_size: int,
        incarnation: int,
        entropy: Entropy,
        counters: Counters,
    ) -> None:
        self.incarnation = incarnation
        self.limits = Limits(
            config.quorum, config.members_max, config.message_size_max, config.windows[0], datagram_size
        )
        self._node = node
        self._counters = counters
        self.serial = 0
        """The one that was said last."""
        self.join_said_at = -math.inf
        """When the last join was said."""
        self._max = 4 * config.members_max
        # So long a silence is ordinary: of beacons on an idle ring some are lost.
        proof_s = _PROOF * (config.merge_detect_s + config.hold_s)
        self.peers = Peers(self._max, proof_s, config.join_timeout_s * _ASKED_AGAIN, entropy.fork().next)
        self._refused_at: dict[int, float] = {}
        self._spacing_s = config.consensus_timeout_s
        # How many may be said at once, to all together, and when that was counted.
        self._refusal_s = config.join_timeout_s
        self._refusals = float(_REFUSALS_MAX)
        self._refusals_at = -math.inf

    def identity(self) -> Identity:
        """The head of the next datagram of membership."""
        self.serial += 1
        return Identity(self.incarnation, self.serial, self.limits)

    def suits(self, identity: Identity) -> bool:
        """Whether who speaks has the same limits; if not, that is counted."""
        if identity.limits == self.limits:
            return True
        self._counters.add("dropped_other_limits")
        return False

    def hear(self, sender: int, identity: Identity, now: float, *, present: bool) -> Freshness:
        """What to make of a word of another processor; see :meth:`Peers.hear`. What is not news is counted."""
        verdict = self.peers.hear(sender, identity, now, present=present)
        if verdict is Freshness.LATE:
            self._counters.add("dropped_late_copy")
        elif verdict is Freshness.UNPROVEN:
            self._counters.add("dropped_unproven")
        return verdict

    def incarnation_of(self, node: int) -> int | None:
        """The incarnation of another processor that was proven to live last."""
        return self.peers.incarnation(node)

    def refusal(self, sender: int, identity: Identity, members: int, now: float) -> Refuse | None:
        """What to answer to a processor with other limits.

        At most once a consensus timeout to each, and to all together once a join timeout and a few more at once, so
        that an answer is not what a stranger sends datagrams for.
        """
        if sender == self._node or identity.limits == self.limits:
            return None
        self._refusals = min(float(_REFUSALS_MAX), self._refusals + (now - self._refusals_at) / self._refusal_s)
        self._refusals_at = now
        said = self._refused_at.pop(sender, -math.inf)
        due = now - said >= self._spacing_s and self._refusals >= 1.0
        self._refusals -= due
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
