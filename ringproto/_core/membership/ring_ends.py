"""How a ring ends: what its members find in its token, or in its absence (Totem, section 5.1).

Each function returns with whom the members gather then, and says why in the reasons.
"""

from __future__ import annotations

from ringproto._core.context import Context
from ringproto._core.membership.changes import Gather
from ringproto._core.membership.reasons import Reasons
from ringproto._core.ring.token_passing import TokenPassing
from ringproto._core.wire.regular import Token

LEFT_IN_ORDER = "left in an orderly way"
"""The reason of a member that said that it leaves."""
_UNANSWERED_MIN = 2
_UNANSWERED_PART = 0.5
"""A successor that was sent as many copies of the token, and gave no sign for this part of the token timeout, is
suspected to be dead when the ring breaks."""


def gather_without(context: Context, reasons: Reasons, members: tuple[int, ...], node: int, why: str) -> Gather:
    """A member is known to be gone: nobody need wait for it, not even the last one."""
    reasons.gone((node,), why)
    reasons.ended(f"member {node} {why}")
    rest = tuple(member for member in members if member != node)
    return Gather(members, (node,), alone_at_once=rest == (context.node,))


def end_by_token(context: Context, reasons: Reasons, passing: TokenPassing, token: Token) -> Gather:
    """The token says that this ring must end, in recovery as when it is installed.

    Its numbers have come to their end, or a member has held the aru up for too long and is left out.
    """
    ring = passing.ring
    if ring.exhausted(token):
        context.counters.add("rings_worn_out")
        reasons.ended("the numbers of the ring had come to their end")
        return Gather(ring.members, alone_at_once=len(ring.members) == 1)
    deaf = ring.slowest_member(context.now, passing.fail_to_receive_s)
    context.counters.add("failures_to_receive")
    members, limit_s = ring.members, passing.fail_to_receive_s
    return gather_without(context, reasons, members, deaf, f"failed to receive for {limit_s:g} s")


def note_token_loss(context: Context, reasons: Reasons, passing: TokenPassing) -> None:
    """No token came in time."""
    context.counters.add("token_losses")
    reasons.ended(f"no token came for {passing.timeout_s:g} s")


def gather_from_broken_ring(passing: TokenPassing, *, informed: bool = False) -> Gather:
    """A live successor answers each copy of the token (departure 18). One that answered none, and does not answer the
    first join either, is given up without waiting for the consensus timeout, and the others hear of it."""
    ring = passing.ring
    suspect = ring.successor if passing.is_unanswered(_UNANSWERED_MIN, _UNANSWERED_PART) else 0
    alone_at_once = suspect != 0 and len(ring.members) == 2
    return Gather(ring.members, alone_at_once=alone_at_once, informed=informed, suspect=suspect)
