"""What is remembered of other processors, so that late copies of their datagrams are known.

The network keeps copies for seconds. A join or a beacon of a ring that is gone must not break the ring that is there,
so every datagram of membership carries the sender's incarnation and a rising serial.
"""

from __future__ import annotations

from ringproto._core.wire_membership import Identity

_PROOFS = 3
"""So many rising words in a row show that an incarnation lives although another one was heard after it."""


class Peers:
    """Which incarnation of each processor lives, and its latest word; for a bounded number of them.

    An incarnation that was never heard of is believed at its first word: it is a processor that was started anew. It
    may also be the late copy of a life before, so who was followed by another incarnation is not dead for good, but
    must prove that it lives, by words that rise while the other one is silent.
    """

    __slots__ = ("_claims", "_living", "_max", "_serials")

    def __init__(self, max_: int) -> None:
        self._living: dict[int, int] = {}
        # Of each incarnation, living or not, its highest serial.
        self._serials: dict[tuple[int, int], int] = {}
        # Of a processor, the incarnation that proves that it lives, and the words that it has said.
        self._claims: dict[int, tuple[int, int]] = {}
        self._max = max_

    def news(self, node: int, identity: Identity) -> bool:
        """Whether this comes later than all that was heard of this processor; if so it is remembered."""
        life = node, identity.incarnation
        serial = self._serials.pop(life, None)
        self._serials[life] = identity.serial if serial is None else max(serial, identity.serial)
        if len(self._serials) > 2 * self._max:
            del self._serials[next(iter(self._serials))]
        if serial is not None and identity.serial <= serial:
            return False
        living = self._living.get(node)
        if serial is not None and living is not None and living != identity.incarnation and not self._proves(*life):
            return False
        self._claims.pop(node, None)
        self._living.pop(node, None)
        self._living[node] = identity.incarnation
        if len(self._living) > self._max:
            forgotten = next(iter(self._living))
            del self._living[forgotten]
            self._claims.pop(forgotten, None)
        return True

    def incarnation(self, node: int) -> int | None:
        """The incarnation that lives."""
        return self._living.get(node)

    def _proves(self, node: int, incarnation: int) -> bool:
        claimant, words = self._claims.get(node, (incarnation, 0))
        words = words + 1 if claimant == incarnation else 1
        self._claims[node] = incarnation, words
        return words >= _PROOFS
