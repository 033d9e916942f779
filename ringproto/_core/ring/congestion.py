"""How much of its turn a processor uses, from what it sees of the rotation: the windows of flow control that adapt.

Two shares of one visit grow by a constant and shrink by a factor (AIMD; Chiu and Jain, 1989). Every member sees the
same rotations, so equal senders come to equal shares without a word in the token. That of all is in packets. That of
``LOW`` is in units of 1,352 bytes, whatever a datagram has, because the time of a rotation goes with the bytes: one
full datagram of 32,000 bytes in a visit would be too much for ``HIGH``.

- What ``LOW`` may take while ``HIGH`` is in use follows the *time* of a rotation, as asynchronous traffic of a timed
  does (Grow, 1982; FDDI's target token rotation time): a ``HIGH`` message waits for about one rotation, so a
  rotation with ``LOW`` must not be long. The target is ``rotation_target_s``, or a multiple of what a rotation without
  ``LOW`` takes where that is more, or a slow network would be left almost unused.
- What all may take follows the loss that *congestion* causes. Loss is the part of what was broadcast in a rotation that
  had been broadcast before. A queue that overflows loses less when less is sent, and a link that loses at random does
  not. So a few rotations of every so many are *narrow*: all members send half of what they usually send, and what is
  lost all the same is not laid to congestion.

What a rotation takes without ``LOW`` is measured again and again: a few rotations of every so many are *light*, and in
those a visit sends one unit of ``LOW`` at most. Light and narrow rotations are the same at all members because the
token's hops tell them.
"""

from __future__ import annotations

_UNIT = 1352
"""Bytes of ``LOW`` that its share is counted in, or a whole datagram where that has less."""
_SCRAP = 64
"""What is left of the share of ``LOW`` and has fewer bytes is not worth a chunk."""
_HIGH_IN_USE_S = 1.0
"""``HIGH`` is in use for so long after a packet with some."""
_LIGHT_EVERY = 256
"""So many rotations from one measurement of the light rotation to the next."""
_LIGHT_AT = 16
"""The first measurement begins when a new ring has so many rotations behind it."""
_LIGHT = 4
"""So many rotations are light; the last two are measured."""
_OF_LIGHT = 5
"""The target is at least so many times a light rotation."""
_SMOOTHING = 4
"""The average of the rotation follows in about so many rotations."""
_OUTLIER = 4
"""A rotation counts at most as so many targets: a pause of one process says nothing about load."""
_LOW_START = 8
"""The share of ``LOW`` when ``HIGH`` comes into use for the first time, if ``visit_max`` is not less."""
_STEP = 0.5
"""Units by which the share of ``LOW`` grows in a rotation in which it was used up."""
_STEEPNESS = 4
_SHARE_AT_TARGET = 16
"""A share of so many units shrinks as fast as it grows when a rotation takes the target, and a share of another size
does so when the rotation is longer or shorter by the fourth root of the ratio. Were it a threshold, the members that
measure a little less would push out those that measure a little more."""
_LOSS_SMOOTHING = 8
_LOSS_WEIGHT = 4
"""By the loss of congestion the share settles where share x lost part is this many packets: 1 % lost does not narrow a
visit of up to 400, a receive buffer that overflows does."""
_SENT_SMOOTHING = 16
"""What a visit usually sends follows in about so many rotations: visits differ much where the window is full in every
other rotation."""
_NARROW_EVERY = 32
"""So many rotations from the beginning of one comparison to the next, if there is a reason for the next one."""
_NARROW_AT = 40
"""The first comparison may begin when a new ring has so many rotations behind it: a share that was much too large at
first has become small by then."""
_MEASURED = 8
"""So many narrow rotations are measured, when all that was sent before them is everywhere: until then, what is sent
again was lost before."""
_NARROW_MAX = 28
"""If that does not come within so many rotations, nothing was learned."""
_CONFIRM = 4
"""What is known of the loss is confirmed in every so many comparisons; in the others only what is not known yet is
looked at."""
_FELL = 0.8
"""A comparison says something if at most this part of the usual was broadcast in it."""
_CHANGE = 1.5
"""Loss that is so many times what it was at the last comparison, is a reason for the next one."""
_ALIKE = 0.5
"""What is lost in narrow rotations is laid to chance if it is at least this part of what is lost usually. Half as much
through a queue that overflowed by 1 in 2 loses nothing, and by 2 in 3 half as much."""
_RANDOM_MAX = 0.25
"""Loss of each copy beyond this is laid to congestion whatever a comparison says: where a queue loses nearly all, half
as much is still far too much, and tells nothing."""
_REPEATED_MAX = 0.65
"""The same for what is sent again, of all that is broadcast: many members send more than that again at less loss."""
_TOLERANCE = 1.1
"""Loss up to so many times what chance explains is laid to chance: what is measured in a few rotations varies."""
_WIDENING = 8
"""While chance explains what is lost, the share grows by this part of itself in a rotation, if that is more than a
packet."""
_SHARE_MIN = 8
"""Loss does not make the share less than this, if ``visit_max`` is not less."""


def sendings(loss: float, receivers: int) -> float:
    """How often a packet is broadcast, in the mean, until so many receivers have it, if each copy is lost by itself
    with this probability (below 1).

    The k-th repetition is needed if one of them has lost k copies: the sum over k of 1 - (1 - loss^k)^receivers.
    """
    total, lost = 0.0, 1.0
    while lost > 1e-9:
        total += 1.0 - (1.0 - lost) ** receivers
        lost *= loss
    return total


class Congestion:
    """The shares of one processor on one ring.

    Args:
        visit_max: packets that a visit may ever send.
        datagram_size: bytes of a full one.
        target_s: seconds that a rotation with ``LOW`` may take while ``HIGH`` is in use; ``None``: no matter how long.
        members: of the ring.
    """

    __slots__ = (
        "_compared",
        "_high_until",
        "_light_s",
        "_light_sample_s",
        "_loss",
        "_low",
        "_low_cut",
        "_low_left",
        "_low_max",
        "_narrow",
        "_narrow_began",
        "_narrow_broadcast",
        "_narrow_new",
        "_narrow_rotations",
        "_narrow_sent",
        "_random",
        "_random_max",
        "_rotation_s",
        "_share",
        "_target_s",
        "_unit",
        "_usual_broadcast",
        "_usual_repeated",
        "_usual_sent",
        "_visit_max",
        "now",
    )

    def __init__(self, visit_max: int, datagram_size: int, target_s: float | None, members: int) -> None:
        self._visit_max = visit_max
        self._target_s = target_s
        self._unit = min(_UNIT, datagram_size)
        self._low_max = visit_max * datagram_size / self._unit
        self.now = 0.0
        """When the token last came."""
        self._high_until = 0.0
        self._share = float(visit_max)
        self._low = min(float(_LOW_START), self._low_max)
        self._low_left = int(self._low_max * self._unit)
        self._low_cut = False
        self._rotation_s = 0.0
        self._light_s = 0.0
        self._light_sample_s = 0.0
        self._loss = 0.0
        # Of the narrow rotations that are under way: the share, 0 if there are none; the number of the first; packets
        # that are new since then; and what was measured.
        self._narrow = 0
        self._narrow_began = 0
        self._narrow_sent = 0
        self._narrow_new = 0
        self._narrow_broadcast = 0
        self._narrow_rotations = 0
        # In the other rotations: packets broadcast by all, those of them that were not new, those of a visit of this
        # processor.
        self._usual_broadcast = 0.0
        self._usual_repeated = 0.0
        self._usual_sent = 0.0
        # The loss that is a reason for a comparison, and as much of it as was found to be chance.
        self._compared = 0.0
        self._random = 0.0
        self._random_max = min(_REPEATED_MAX, 1.0 - 1.0 / sendings(_RANDOM_MAX, max(1, members - 1)))

    def share(self) -> int:
        """Packets that may be broadcast in a visit."""
        return min(int(self._share), self._narrow) if self._narrow else int(self._share)

    def by_chance(self) -> bool:
        """Whether packets are lost that would be lost as well if less was sent."""
        return self._random > 0.0

    def note_sent(self, packets: int) -> None:
        """So many packets were broadcast in a visit that is over."""
        if not self._narrow:
            self._usual_sent += (packets - self._usual_sent) / _SENT_SMOOTHING

    def low_share(self) -> int:
        """Bytes of ``LOW`` that may be sent in a visit."""
        return int((self._low if self._gives_way() else self._low_max) * self._unit)

    def _gives_way(self) -> bool:
        return self._target_s is not None and self.now < self._high_until

    def low_room(self) -> int:
        """Bytes of ``LOW`` that may still be sent in this visit. That there are none is remembered until the next
        rotation: the share was used up."""
        if self._low_left >= _SCRAP:
            return self._low_left
        self._low_cut = True
        return 0

    def spent_low(self, size: int) -> None:
        """So many bytes of ``LOW`` are in a packet of this visit."""
        self._low_left -= size

    def note_high(self) -> None:
        """A packet has ``HIGH`` in it."""
        self._high_until = self.now + _HIGH_IN_USE_S

    def begin_visit(self, rotation: int) -> None:
        """The token is here, in the rotation with this number."""
        light = self._gives_way() and (rotation - _LIGHT_AT) % _LIGHT_EVERY < _LIGHT
        self._low_left = self._unit if light else self.low_share()

    def note_rotation(self, rotation: int, took_s: float, new: int, broadcast: int, behind: int) -> None:
        """A rotation of a ring that is not idle is over.

        Args:
            rotation: the number of the one that begins.
            took_s: seconds from the last visit to this one; 0 if the token may have rested meanwhile.
            new: packets that were numbered in it.
            broadcast: packets that were broadcast in it.
            behind: packets that are not known to be everywhere.
        """
        if not broadcast:
            # On a ring that forms, before the first measurement.
            if took_s:
                self._light_s = min(took_s, self._light_s) if self._light_s else took_s
            return
        self._compare(rotation, new, broadcast, behind)
        if not self._narrow:
            self._note_loss(new, broadcast)
        elif not self.by_chance():
            self._follow(self._loss)  # until it is known better
        if took_s and self._target_s is not None and self._gives_way():
            self._note_time(rotation, took_s, self._target_s)

    def _note_loss(self, new: int, broadcast: int) -> None:
        """The share after a rotation that was not narrow."""
        repeated = max(0, broadcast - new) / broadcast
        self._loss += (repeated - self._loss) / _LOSS_SMOOTHING
        self._usual_broadcast += (broadcast - self._usual_broadcast) / _LOSS_SMOOTHING
        self._usual_repeated += (max(0, broadcast - new) - self._usual_repeated) / _LOSS_SMOOTHING
        congestion = self._loss
        if self.by_chance():
            congestion = self._usual_repeated / self._usual_broadcast - _TOLERANCE * self._random
        self._follow(congestion if repeated else 0.0)

    def _follow(self, congestion: float) -> None:
        """The share after a rotation of which this part was lost by congestion."""
        grows = 1.0
        if congestion > 0.0:
            self._share = max(float(self._share_min()), self._share - self._share * congestion / _LOSS_WEIGHT)
        elif self.by_chance():
            grows = max(1.0, self._share / _WIDENING)
        self._share = min(float(self._visit_max), self._share + grows)

    def _share_min(self) -> int:
        return min(_SHARE_MIN, self._visit_max)

    def _compare(self, rotation: int, new: int, broadcast: int, behind: int) -> None:
        """Begin, measure or end the narrow rotations, which tell how much of the loss is chance."""
        if self._narrow:
            self._narrow_sent += new
            if self._narrow_rotations or behind <= self._narrow_sent:
                self._narrow_new += new
                self._narrow_broadcast += broadcast
                self._narrow_rotations += 1
            if self._narrow_rotations >= _MEASURED or rotation - self._narrow_began >= _NARROW_MAX:
                self._narrow = 0
                self._conclude()
            return
        place = rotation - _NARROW_AT
        if place < 0 or place % _NARROW_EVERY:
            return
        if self._usual_repeated < _LOSS_WEIGHT:
            # No visit would be made smaller by that.
            self._random = self._compared = 0.0
        elif place // _NARROW_EVERY % _CONFIRM == 0 or self._usual_repeated > self._compared * self._usual_broadcast:
            self._narrow = max(self._share_min(), int(self._usual_sent / 2))
            self._narrow_began = rotation
            self._narrow_sent = self._narrow_new = self._narrow_broadcast = self._narrow_rotations = 0

    def _conclude(self) -> None:
        usual = self._usual_broadcast * self._narrow_rotations
        if self._narrow_rotations < _MEASURED or self._narrow_broadcast > _FELL * usual:
            # Nothing was learned, and what was known is less and less true.
            self._random /= 2
            return
        usual_loss = self._usual_repeated / self._usual_broadcast
        lost = max(0, self._narrow_broadcast - self._narrow_new) / self._narrow_broadcast
        by_chance = usual_loss <= self._random_max and lost >= _ALIKE * usual_loss
        self._random = lost if by_chance else 0.0
        self._compared = _CHANGE * usual_loss

    def _note_time(self, rotation: int, took_s: float, target_s: float) -> None:
        cut, self._low_cut = self._low_cut, False
        place = (rotation - _LIGHT_AT) % _LIGHT_EVERY
        if place < _LIGHT:
            if place == _LIGHT - 2:
                self._light_sample_s = took_s
            elif place == _LIGHT - 1:
                sample_s = min(took_s, self._light_sample_s)
                self._light_s = min(sample_s, (self._light_s + sample_s) / 2)
            return
        target_s = max(target_s, _OF_LIGHT * self._light_s)
        self._rotation_s += (min(took_s, _OUTLIER * target_s) - self._rotation_s) / _SMOOTHING
        excess = (self._rotation_s / target_s) ** _STEEPNESS
        low = self._low - self._low * min(0.5, excess * _STEP / _SHARE_AT_TARGET)
        self._low = min(self._low_max, max(1.0, low + _STEP * cut))
