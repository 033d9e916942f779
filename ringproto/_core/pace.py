"""How much of its turn a processor uses, from what it sees of the rotation: the windows of flow control that adapt.

Two shares of one visit grow by a constant and shrink by a factor (AIMD; Chiu and Jain, 1989). Every member sees the
same rotations, so equal senders come to equal shares without a word in the token. That of all is in packets. That of
``LOW`` is in units of 1,352 bytes, whatever a datagram has, because the time of a rotation goes with the bytes: one
full datagram of 32,000 bytes in a visit would be too much for ``HIGH``.

- What ``LOW`` may take while ``HIGH`` is in use follows the *time* of a rotation, as asynchronous traffic of a timed
  does (Grow, 1982; FDDI's target token rotation time): a ``HIGH`` message waits for about one rotation, so a
  rotation with ``LOW`` must not be long. The target is ``rotation_target_s``, or a multiple of what a rotation without
  ``LOW`` takes where that is more, or a slow network would be left almost unused.
- What all may take follows *loss*: the part of what was broadcast in a rotation that had been broadcast before.

What a rotation takes without ``LOW`` is measured again and again: a few rotations of every so many are *light*, at the
same time at all members because the token's hops tell them, and in those a visit sends one unit of ``LOW`` at most.
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
"""By loss alone the share settles where share x lost part is this many packets: 1 % lost does not narrow a visit of up
to 400, a receive buffer that overflows does."""
_SHARE_MIN = 8
"""Loss does not make the share less than this, if ``visit_max`` is not less: a network that loses at random gains
nothing from being used less."""


class Pace:
    """The shares of one processor on one ring.

    Args:
        visit_max: packets that a visit may ever send.
        datagram_size: bytes of a full one.
        target_s: seconds that a rotation with ``LOW`` may take while ``HIGH`` is in use; ``None``: no matter how long.
    """

    __slots__ = (
        "_high_until",
        "_light_s",
        "_light_sample_s",
        "_loss",
        "_low",
        "_low_cut",
        "_low_left",
        "_low_max",
        "_rotation_s",
        "_share",
        "_target_s",
        "_unit",
        "_visit_max",
        "now",
    )

    def __init__(self, visit_max: int, datagram_size: int, target_s: float | None) -> None:
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

    def share(self) -> int:
        """Packets that may be broadcast in a visit."""
        return int(self._share)

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

    def took_low(self, size: int) -> None:
        """So many bytes of ``LOW`` are in a packet of this visit."""
        self._low_left -= size

    def note_high(self) -> None:
        """A packet has ``HIGH`` in it."""
        self._high_until = self.now + _HIGH_IN_USE_S

    def begin_visit(self, rotation: int) -> None:
        """The token is here, in the rotation with this number."""
        light = self._gives_way() and (rotation - _LIGHT_AT) % _LIGHT_EVERY < _LIGHT
        self._low_left = self._unit if light else self.low_share()

    def note_rotation(self, rotation: int, took_s: float, new: int, broadcast: int) -> None:
        """A rotation of a ring that is not idle is over.

        Args:
            rotation: the number of the one that begins.
            took_s: seconds from the last visit to this one; 0 if the token may have rested meanwhile.
            new: packets that were numbered in it.
            broadcast: packets that were broadcast in it.
        """
        if not broadcast:
            # On a ring that forms, before the first measurement.
            if took_s:
                self._light_s = min(took_s, self._light_s) if self._light_s else took_s
            return
        repeated = max(0, broadcast - new) / broadcast
        self._loss += (repeated - self._loss) / _LOSS_SMOOTHING
        if repeated:
            least = min(_SHARE_MIN, self._visit_max)
            self._share = max(float(least), self._share - self._share * self._loss / _LOSS_WEIGHT)
        self._share = min(float(self._visit_max), self._share + 1.0)
        if took_s and self._target_s is not None and self._gives_way():
            self._note_time(rotation, took_s, self._target_s)

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
