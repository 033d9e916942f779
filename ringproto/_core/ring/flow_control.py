"""How many packets a processor may broadcast in this visit of the token (Totem, section 4.2).

The token counts what all members broadcast in the last rotation (``fcc``) and what they have waiting (``backlog``);
each member takes its own old share out and puts its new one in. Here a member counts moreover the packets that it
holds back because its application does not read: a slow application narrows the window of all instead of contents their
memory (departure 7 in docs/protocol.md). And it says no more than one window of what it has waiting, so that who has a
few packets beside a flood gets them out (departure 19).
"""

from __future__ import annotations

from ringproto._core.wire.regular import Token

_U32_MAX = 2**32 - 1
_UNCONFIRMED = 2
_UNCONFIRMED_BY_CHANCE = 3
"""Windows of packets that may be under way to somebody. In the rotation in which a member learns that they are, the
others send at most one window more."""


class FlowControl:
    """One processor's part in the window of one ring."""

    __slots__ = ("_backlog", "_fcc", "_visit_max", "_window")

    def __init__(self, window_size: int, visit_max: int) -> None:
        self._window = window_size
        self._visit_max = visit_max
        self._fcc = 0
        self._backlog = 0

    def allowed(self, token: Token, held: int, backlog: int) -> int:
        """Packets that may be broadcast in this visit, retransmissions included."""
        others = max(0, token.fcc - self._fcc)
        room = min(self._window - others - held, self._visit_max)
        if room <= 0:
            return 0
        waiting = max(0, token.backlog - self._backlog)
        if waiting and backlog:
            # Totem's fair share of the window, by what waits; rounded up, so that nobody starves.
            backlog = min(backlog, self._window)
            room = min(room, -(-self._window * backlog // (waiting + backlog)))
        return room

    def new_allowed(self, unconfirmed: int, allowed: int, by_chance: bool) -> int:
        """Of those, the ones that may be new: none while two windows are not known to be everywhere.

        With packets that are lost ``by_chance`` it is three. What is lost is asked for a rotation later, is there after
        another one, and only then the aru rises: with two windows all would wait for that in every rotation. On the way
        to who cannot take more, more under way is only more to be lost.
        """
        windows = _UNCONFIRMED_BY_CHANCE if by_chance else _UNCONFIRMED
        return max(0, min(allowed, windows * self._window - unconfirmed))

    def settle(self, token: Token, sent: int, held: int, backlog: int) -> tuple[int, int]:
        """The new ``fcc`` and ``backlog`` of the token after this visit."""
        fcc = max(0, token.fcc - self._fcc) + sent + held
        backlog = min(backlog, self._window)
        waiting = max(0, token.backlog - self._backlog) + backlog
        self._fcc = sent + held
        self._backlog = backlog
        return min(fcc, _U32_MAX), min(waiting, _U32_MAX)
