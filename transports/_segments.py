"""Datagrams larger than the network's frames: cut into *segments*, and put together again.

What a ring does for a datagram costs nearly the same whatever its size, and what the kernel does for a segment costs
nearly nothing where it takes a run of them as one (``UDP_SEGMENT``, ``UDP_GRO``). So the datagrams of the ring may be
several frames long. A datagram that fits into a segment goes as it is, unless its first byte is the mark of a segment;
any other one becomes segments, each with a header before its piece:

    byte  0     mark, 0
    byte  1     place of this segment, from 0
    byte  2     number of segments of the datagram
    bytes 3-5   number of the datagram, one more for each that the sender cuts, big endian
    bytes 6-7   size of the piece; what follows it is padding

Only the last piece may be followed by padding. A run goes through the kernel as one only if its segments have one size,
so a last segment that is just a little shorter than the others is filled up.

A lost segment loses its datagram. One datagram of each sender is in the making at any time, so what an attacker or a
bad network can make a receiver keep is bounded.
"""

from __future__ import annotations

import os
import struct
from collections import Counter

__all__ = ["HEADER_SIZE", "MARK", "SEGMENTS_MAX", "Cutter", "Joiner"]

MARK = 0
"""What a segment begins with."""
HEADER_SIZE = 8
SEGMENTS_MAX = 255
PADDING_MAX = 64
"""A last segment is filled up if it lacks no more than this, in bytes."""
LATE_MAX = 64
"""Up to so many numbers back a segment is a late copy; further back it is of a sender that started anew."""

# The same once more as numbers of C (_segments.pxd).
_HEADER = HEADER_SIZE

_NUMBERS = 2**24 - 1
_header = struct.Struct(">BBBBHH")


class Cutter:
    """Cuts the datagrams of one processor.

    Args:
        size: bytes of the largest segment, header included.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        # A processor that starts anew does not go on where the last one with its address was.
        self._number = int.from_bytes(os.urandom(3), "big")

    def cut(self, datagram: bytes) -> list[bytes]:
        """The segments of a datagram that does not go as it is."""
        self._number = number = (self._number + 1) & _NUMBERS
        high, low = number >> 16, number & 0xFFFF
        piece = self.size - HEADER_SIZE
        size = len(datagram)
        count = -(-size // piece)
        pack = _header.pack
        segments = [
            pack(MARK, place, count, high, low, piece) + datagram[place * piece : (place + 1) * piece]
            for place in range(count - 1)
        ]
        rest = size - (count - 1) * piece
        last = pack(MARK, count - 1, count, high, low, rest) + datagram[size - rest :]
        if count > 1 and piece - rest <= PADDING_MAX:
            last += bytes(piece - rest)
        segments.append(last)
        return segments


class _Partial:
    """A datagram in the making."""

    __slots__ = ("missing", "number", "pieces", "size")

    def __init__(self, number: int, count: int) -> None:
        self.number = number
        self.pieces: list[bytes | None] = [None] * count
        self.missing = count
        self.size = 0


class Joiner:
    """Puts together what comes in by one socket.

    Args:
        size_max: bytes of the largest datagram.
        senders_max: how many senders may have one in the making.
        counts: where what is dropped is counted by name.
    """

    def __init__(self, size_max: int, senders_max: int, counts: Counter[str]) -> None:
        self._size_max = size_max
        self._senders_max = senders_max
        self._counts = counts
        self._partials: dict[bytes, _Partial] = {}
        self.oversized = 0
        """Datagrams of more than ``size_max`` bytes that came whole."""

    def join(self, origins: list[bytes], datagrams: list[bytes]) -> list[bytes]:
        """The datagrams as they were sent: those that came whole, and those that are whole now, in order.

        ``origins`` says from whom each came.
        """
        mark = MARK
        size_max = self._size_max
        first = 0
        for datagram in datagrams:
            if datagram[0] == mark or len(datagram) > size_max:
                break
            first += 1
        else:
            return datagrams
        whole = datagrams[:first]
        for place in range(first, len(datagrams)):
            datagram = datagrams[place]
            if datagram[0] == mark:
                joined = self._take(origins[place], datagram)
                if joined is not None:
                    whole.append(joined)
            elif len(datagram) > size_max:
                self.oversized += 1
            else:
                whole.append(datagram)
        return whole

    def _take(self, origin: bytes, segment: bytes) -> bytes | None:
        """Add a segment; the datagram, if that was the last piece that it lacked."""
        room = len(segment) - _HEADER
        if room <= 0:
            return self._drop("drops_bad_segment")
        place = segment[1]
        count = segment[2]
        number = segment[3] << 16 | segment[4] << 8 | segment[5]
        size = segment[6] << 8 | segment[7]
        if place >= count or not 0 < size <= room or (size < room and place < count - 1):
            return self._drop("drops_bad_segment")
        partial = self._partials.get(origin)
        if partial is None or partial.number != number:
            if partial is not None:
                if 0 < (partial.number - number) & _NUMBERS <= LATE_MAX:
                    return self._drop("drops_late_segment")
                self._forget(origin)
            elif len(self._partials) >= self._senders_max:
                self._forget(next(iter(self._partials)))  # the one that began longest ago
            partial = self._partials[origin] = _Partial(number, count)
        elif not partial.missing:
            return self._drop("drops_late_segment")
        pieces = partial.pieces
        if count != len(pieces):
            return self._drop("drops_bad_segment")
        if pieces[place] is not None:
            return self._drop("drops_late_segment")
        if partial.size + size > self._size_max:
            return self._drop("drops_bad_segment")
        pieces[place] = segment[_HEADER : _HEADER + size]
        partial.size += size
        partial.missing -= 1
        if partial.missing:
            return None
        partial.pieces = []
        return b"".join(pieces)  # type: ignore[arg-type]  # none is missing

    def _forget(self, origin: bytes) -> None:
        """Another datagram takes the place of the one that this sender began last."""
        if self._partials.pop(origin).missing:
            self._counts["drops_incomplete"] += 1

    def _drop(self, count: str) -> bytes | None:
        """Count a segment that nothing comes of."""
        self._counts[count] += 1
        return None
