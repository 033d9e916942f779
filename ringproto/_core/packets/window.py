"""The packets of one ring at one processor: what arrived, what is missing, what may be forgotten.

A ring buffer over packet sequence numbers. ``aru`` (all received up to) is Totem's ``my_aru``. A packet is kept until
it is known that every member has it (Totem, section 4.1) and it was delivered here, so ``released`` follows both.
"""

from __future__ import annotations

from ringproto._core.wire.regular import Packet


class Window:
    """Packets ``released + 1`` to ``high`` of one ring, with gaps after ``aru``; the first is ``origin + 1``."""

    __slots__ = ("_mask", "_slots", "aru", "capacity", "high", "released")

    def __init__(self, capacity: int, origin: int = 0) -> None:
        size = 1
        while size < capacity:
            size *= 2
        self._slots: list[Packet | None] = [None] * size
        self._mask = size - 1
        self.capacity = size
        self.released = origin
        self.aru = origin
        self.high = origin

    def insert(self, packet: Packet) -> bool:
        """Take in a packet; ``False`` if it is known already, or too far ahead to be kept (it will be asked for)."""
        seq = packet.seq
        if seq <= self.aru or seq > self.released + self.capacity:
            return False
        slot = seq & self._mask
        if self._slots[slot] is not None:
            return False
        self._slots[slot] = packet
        if seq > self.high:
            self.high = seq
        if seq == self.aru + 1:
            aru = seq
            while aru < self.high and self._slots[(aru + 1) & self._mask] is not None:
                aru += 1
            self.aru = aru
        return True

    def get(self, seq: int) -> Packet | None:
        """The packet with this number, if it is here."""
        if seq <= self.released or seq > self.high:
            return None
        return self._slots[seq & self._mask]

    def missing(self, last: int, limit: int) -> list[int]:
        """The first ``limit`` numbers up to ``last`` that did not arrive."""
        gaps: list[int] = []
        seq = self.aru + 1
        last = min(last, self.released + self.capacity)
        while seq <= last and len(gaps) < limit:
            if seq > self.high or self._slots[seq & self._mask] is None:
                gaps.append(seq)
            seq += 1
        return gaps

    def release(self, seq: int) -> bool:
        """Forget everything up to ``seq``, which every member has; ``True`` if there was something to forget."""
        last = min(seq, self.aru)
        if last <= self.released:
            return False
        for number in range(self.released + 1, last + 1):
            self._slots[number & self._mask] = None
        self.released = last
        return True
