"""Which processors live, as far as they have proven it.

The network keeps copies of datagrams for minutes, and a join or a beacon of a processor that is dead must not break the
ring that is there. So every datagram of membership carries the sender's incarnation and a rising serial, and a word
counts only if it comes from an incarnation that is known to live: because it has lately answered a *challenge*, a
number that was drawn here and that no old copy can have, or because it is on the ring with this processor. Who is not
known to live is asked, and what it said is kept until it has answered.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import NamedTuple

from ringproto._core.wire.membership import Beacon, Identity, Join

_CLAIMS_EACH = 4
"""Most incarnations of one node id that are asked at the same time: copies of some dead ones, and one that lives."""
_AGAIN = 4
"""So often an incarnation is asked once more after its last word, which it may have said on a link that loses most."""
_AGAIN_AT_ONCE = 8
"""Of more than so many that are to be asked once more at a time it is those who were new last."""


class Freshness(enum.Enum):
    """What is to be made of a word of a processor."""

    NEWS = "news"
    """It lives, and this is later than all that was heard of it."""
    LATE = "late"
    """A copy of something that was heard, or older."""
    UNPROVEN = "unproven"
    """It may be dead: it was asked, or is to be asked later."""


class PendingDatagram(NamedTuple):
    """What a processor said, kept until it has proven that it lives."""

    kind: int
    body: Join | Beacon


class _ProvenIncarnation:
    """The incarnation of a processor that was proven to live last."""

    __slots__ = ("asked_at", "drawn_at", "heard_at", "incarnation", "nonce", "serial")

    def __init__(self, incarnation: int, serial: int, now: float) -> None:
        self.incarnation = incarnation
        self.serial = serial
        self.heard_at = now
        self.asked_at = -math.inf
        self.nonce = 0
        """The challenge that it was sent because its serials went back, or because another claims its id; 0: none."""
        self.drawn_at = -math.inf
        """When that was drawn."""


class _Candidate:
    """An incarnation that is not known to live."""

    __slots__ = ("again", "asked_at", "made_at", "nonce", "serial", "word")

    def __init__(self, nonce: int, now: float) -> None:
        self.again = 0
        self.nonce = nonce
        self.made_at = now
        self.asked_at = -math.inf
        self.serial = -1
        self.word: PendingDatagram | None = None


class Peers:
    """What is known of the lives of a bounded number of processors; who was heard longest ago is forgotten first.

    Args:
        max_: most processors that are known.
        proof_s: seconds for which who has proven that it lives, and was not heard since, is believed.
        spacing_s: seconds between two challenges to one incarnation.
        draw: gives a number of 64 random bits.
    """

    __slots__ = ("_claims", "_draw", "_lives", "_max", "_proof_s", "_spacing_s")

    def __init__(self, max_: int, proof_s: float, spacing_s: float, draw: Callable[[], int]) -> None:
        self._max = max_
        self._proof_s = proof_s
        self._spacing_s = spacing_s
        self._draw = draw
        self._lives: dict[int, _ProvenIncarnation] = {}
        self._claims: dict[tuple[int, int], _Candidate] = {}

    def incarnation(self, node: int) -> int | None:
        """The incarnation that was proven to live last."""
        life = self._lives.get(node)
        return None if life is None else life.incarnation

    def is_proven(self, node: int, identity: Identity, now: float, *, present: bool) -> bool:
        """Whether this incarnation is known to live, whatever it says."""
        life = self._lives.get(node)
        if life is None or life.incarnation != identity.incarnation:
            return False
        return present or now - life.heard_at < self._proof_s

    def hear(self, node: int, identity: Identity, now: float, *, present: bool) -> Freshness:
        """A word came. ``present``: this incarnation is on the ring with this processor."""
        life = self._lives.get(node)
        if life is not None and life.incarnation == identity.incarnation and identity.serial <= life.serial:
            return Freshness.LATE
        if life is None or not self.is_proven(node, identity, now, present=present):
            return Freshness.UNPROVEN
        life.serial = identity.serial
        life.heard_at = now
        self._lives[node] = self._lives.pop(node)  # heard last
        return Freshness.NEWS

    def doubt(self, node: int) -> None:
        """It was left out: what it says from now on counts only when it has proven anew that it lives."""
        life = self._lives.get(node)
        if life is not None:
            life.heard_at = -math.inf

    def is_on_ring(self, node: int, incarnation: int, now: float) -> None:
        """A ring with this incarnation is installed: it is the one that is known, whoever else has proven that it
        lives while the ring formed."""
        if self.incarnation(node) != incarnation:
            self.believe(node, incarnation, 0, now)

    # Challenges

    def claim(self, node: int, identity: Identity, word: PendingDatagram | None, now: float) -> int:
        """An incarnation that is not known to live has spoken: keep what it said, if that is to be kept.

        Returns:
            The nonce to challenge it with, or 0 if it was asked a moment ago.
        """
        key = node, identity.incarnation
        claim = self._claims.get(key)
        if claim is None or now - claim.made_at >= self._proof_s:
            claim = self._claims[key] = _Candidate(self._draw() or 1, now)
            self._bound_claims(node)
        if word is not None and identity.serial > claim.serial:
            claim.serial = identity.serial
            claim.word = word
            claim.again = _AGAIN
        if now - claim.asked_at < self._spacing_s:
            return 0
        claim.asked_at = now
        return claim.nonce

    def unanswered(self, now: float) -> list[tuple[int, int, int]]:
        """Node, incarnation and nonce of those who are asked once more, because no answer came.

        Two incarnations that claim one id are asked by a broadcast, so not again and again.
        """
        due = [
            (key, claim)
            for key, claim in self._claims.items()
            if claim.again
            and now - claim.made_at < self._proof_s
            and now - claim.asked_at >= self._spacing_s
            and self.incarnation(key[0]) in (None, key[1])
        ][-_AGAIN_AT_ONCE:]
        for _, claim in due:
            claim.again -= 1
            claim.asked_at = now
        return [(*key, claim.nonce) for key, claim in due]

    def ask(self, node: int, now: float, spacing_s: float) -> int:
        """Have the incarnation that was known to live prove it once more; the nonce, or 0 if it was asked less than
        ``spacing_s`` ago."""
        life = self._lives.get(node)
        if life is None or now - life.asked_at < max(spacing_s, self._spacing_s):
            return 0
        if not life.nonce or now - life.drawn_at >= self._proof_s:
            life.nonce = self._draw() or 1
            life.drawn_at = now
        life.asked_at = now
        return life.nonce

    def lives_on(self, node: int, incarnation: int, nonce: int, serial: int, now: float) -> bool:
        """Whether this answers :meth:`ask`. Then the serial that it says holds: nobody is silenced by a number."""
        life = self._lives.get(node)
        if life is None or life.incarnation != incarnation or not nonce or life.nonce != nonce:
            return False
        if now - life.drawn_at >= self._proof_s:
            return False  # a copy, maybe: who gave this answer lived then
        life.nonce = 0
        life.serial = min(life.serial, serial)
        life.heard_at = now
        return True

    def answers(self, node: int, incarnation: int, nonce: int, now: float) -> bool:
        """Whether this answers the challenge to an incarnation that was not known to live, and in time."""
        claim = self._claims.get((node, incarnation))
        return claim is not None and claim.nonce == nonce and now - claim.made_at < self._proof_s

    def believe(self, node: int, incarnation: int, serial: int, now: float) -> PendingDatagram | None:
        """It has proven that it lives, with a serial: it is the one that is known from now on.

        Returns:
            The last thing that it said, if that was kept and is not above the serial that it proved.
        """
        claim = self._claims.pop((node, incarnation), None)
        word = claim.word if claim is not None and claim.serial <= serial else None
        said = (
            claim.serial - 1 if claim is not None and word is not None else 0
        )  # so that it is news when it is handled
        life = self._lives.pop(node, None)
        if life is not None and life.incarnation == incarnation:
            said = max(said, min(life.serial, serial))
        self._lives[node] = _ProvenIncarnation(incarnation, said, now)
        if len(self._lives) > self._max:
            del self._lives[next(iter(self._lives))]
        return word

    def dismiss(self, node: int, incarnation: int) -> None:
        """Another one has its place: forget what this incarnation said, and ask it anew when it speaks again."""
        self._claims.pop((node, incarnation), None)

    def _bound_claims(self, node: int) -> None:
        mine = [key for key in self._claims if key[0] == node]
        if len(mine) > _CLAIMS_EACH:
            del self._claims[mine[0]]
        if len(self._claims) > self._max:
            del self._claims[next(iter(self._claims))]
