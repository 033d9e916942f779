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

All pieces of a datagram but the last have one size, so each has its place whatever comes first. Only the last piece may
be shorter, and be followed by padding. A run goes through the kernel as one only if its segments have one size, so a
last segment that is just a little shorter than the others is filled up.

Nothing is copied to be cut: the cutter makes headers, and the sender points into the datagram. A piece is copied once
to be joined, to its place in the memory that becomes the datagram.

A header alone, with a count of 0, is a *notice*, which one transport gives another: byte 1 is its kind, and bytes 6-7 a
number. A ring does not see it.

A lost segment loses its datagram. One datagram of each sender is in the making at any time, so what an attacker or a
bad network can make a receiver keep is bounded.
"""

from __future__ import annotations

import os
from collections import Counter

import ringproto.transports._room as room

__all__ = [
    "HEADER_SIZE",
    "MARK",
    "NOTICE_ANSWER",
    "NOTICE_ASK",
    "NOTICE_MTU",
    "SEGMENTS_MAX",
    "Cutter",
    "Joiner",
    "extent",
    "notice",
]

MARK = 0
"""What a segment begins with."""
HEADER_SIZE = 8
SEGMENTS_MAX = 255
PADDING_MAX = 64
"""A last segment is filled up if it lacks no more than this, in bytes."""
LATE_MAX = 64
"""Up to so many numbers back a segment is a late copy; further back it is of a sender that started anew."""

NOTICE_MTU = 1
"""Kind of a notice: packets of so many bytes are the largest that reach its sender."""
NOTICE_ASK = 2
"""Kind of a notice: who gets it multicasts an answer."""
NOTICE_ANSWER = 3
"""Kind of a notice: the answer to one that asked. That it arrives is all it says."""
NOTICES_MAX = 16
"""Most notices that are kept until they are looked at."""

# The same once more as numbers of C (_segments.pxd).
_MARK = MARK
_HEADER = HEADER_SIZE

_NUMBERS = 2**24 - 1
_KIND_MIN = NOTICE_MTU
_KIND_MAX = NOTICE_ANSWER


def notice(kind: int, number: int = 0) -> bytes:
    """A notice as it goes over the network; ``number`` is 0 to 65,535."""
    return bytes([MARK, kind, 0, 0, 0, 0]) + number.to_bytes(2, "big")


def extent(head: bytes, length: int) -> tuple[int, int, int]:
    """Which piece of a datagram of ``length`` bytes follows this header: where it begins, its size, zeros behind it.

    No header is 0, the whole datagram, 0.

    Raises:
        ValueError: the header is not of a segment of such a datagram.
    """
    if not head:
        return 0, length, 0
    if len(head) != HEADER_SIZE:
        raise ValueError(f"the header of a segment has {HEADER_SIZE} bytes, not {len(head)}")
    place, count, size = head[1], head[2], head[6] << 8 | head[7]
    if place < count - 1:
        start, padding = place * size, 0
    else:
        start = length - size
        lacks = start // (count - 1) - size if count > 1 else 0
        padding = lacks if 0 < lacks <= PADDING_MAX else 0
    if start < 0 or start + size > length:
        raise ValueError(f"no segment of a datagram of {length} bytes begins with {head.hex()}")
    return start, size, padding


class Cutter:
    """Cuts the datagrams of one processor.

    Args:
        size: bytes of the largest segment, header included.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        # A processor that starts anew does not go on where the last one with its address was.
        self._number = int.from_bytes(os.urandom(3), "big")

    def cut(self, datagram: bytes, size_max: int = 0) -> list[bytes]:
        """The headers of the segments of a datagram that does not go as it is. Its bytes stay where they are.

        ``size_max`` are the bytes of the largest segment, if it is another than usual.
        """
        self._number = number = (self._number + 1) & _NUMBERS
        piece = (size_max or self.size) - _HEADER
        size = len(datagram)
        count = (size + piece - 1) // piece
        heads = [room.head(place, count, number, piece) for place in range(count - 1)]
        heads.append(room.head(count - 1, count, number, size - (count - 1) * piece))
        return heads


class _Partial:
    """The datagram that a sender began last, in the making or done."""

    __slots__ = ("count", "missing", "number", "piece", "rest", "room", "seen", "tail")

    def __init__(self) -> None:
        self.number = 0
        self.count = 0
        self.missing = 0
        self.piece = 0
        """Bytes of each piece but the last, 0 as long as none of them came."""
        self.rest = 0
        """Bytes of the last piece, 0 as long as it did not come."""
        self.room: bytearray | None = None
        """Where the pieces go, once their size is known."""
        self.tail: bytes | None = None
        """The last piece, when it came before all others: it has no place yet."""
        self.seen = bytearray(SEGMENTS_MAX)

    def begin(self, number: int, count: int) -> None:
        """Make another datagram."""
        self.number = number
        self.count = self.missing = count
        self.piece = self.rest = 0
        self.room = self.tail = None
        for place in range(count):
            self.seen[place] = 0

    def finish(self) -> bytes:
        """The datagram, when nothing is missing."""
        joined: bytes | None
        if self.room is None:
            joined, self.tail = self.tail, None  # there is one piece only
        else:
            joined = room.finished(self.room, (self.count - 1) * self.piece + self.rest)
            self.room = None
        assert joined is not None
        return joined


class Joiner:
    """Puts together what comes in by one socket.

    Args:
        size_max: bytes of the largest datagram.
        senders_max: how many senders may have one in the making. None has more than ``size_max`` bytes of room.
        counts: where what is dropped is counted by name.
    """

    def __init__(self, size_max: int, senders_max: int, counts: Counter[str]) -> None:
        self._size_max = size_max
        self._senders_max = senders_max
        self._counts = counts
        self._partials: dict[bytes, _Partial] = {}
        self.oversized = 0
        """Datagrams of more than ``size_max`` bytes that came whole."""
        self.notices: list[tuple[bytes, int, int]] = []
        """Origin, kind and number of the notices that came. Who looks at them empties the list."""

    def add(self, origin: bytes, datagram: bytes, whole: list[bytes]) -> None:
        """Take in a datagram of the network, and append the one of the ring that it is or makes whole, if any.

        ``origin`` says from whom it came.
        """
        if datagram[0] != _MARK and len(datagram) <= self._size_max:
            whole.append(datagram)
        else:
            self.take(origin, datagram, len(datagram), whole)

    def take(self, origin: bytes, data: bytes, size: int, whole: list[bytes]) -> None:
        """As :meth:`add`, of ``size`` bytes at ``data``, one at least, which are copied once."""
        if data[0] == _MARK:
            joined = self._join(origin, data, size)
            if joined is not None:
                whole.append(joined)
        elif size > self._size_max:
            self.oversized += 1
        else:
            whole.append(data[:size])

    def _join(self, origin: bytes, data: bytes, size: int) -> bytes | None:
        """Add a segment; the datagram, if that was the last piece that it lacked."""
        space = size - _HEADER
        if space <= 0:
            return self._take_notice(origin, data, size)
        place = data[1]
        count = data[2]
        number = data[3] << 16 | data[4] << 8 | data[5]
        length = data[6] << 8 | data[7]
        before = count - 1
        last = place == before
        if place >= count or not 0 < length <= space or (length < space and not last):
            return self._drop("drops_bad_segment")
        partial = self._partials.get(origin)
        if partial is None or partial.number != number:
            if partial is not None and 0 < (partial.number - number) & _NUMBERS <= LATE_MAX:
                return self._drop("drops_late_segment")
            if (before + length if last else before * length + 1) > self._size_max:
                return self._drop("drops_bad_segment")
            partial = self._begin(origin, partial, number, count)
        elif not partial.missing:
            return self._drop("drops_late_segment")
        elif count != partial.count:
            return self._drop("drops_bad_segment")
        elif partial.seen[place]:
            return self._drop("drops_late_segment")
        fits = self._put_last(partial, data, length) if last else self._put(partial, place, data, length)
        if not fits:
            return self._drop("drops_bad_segment")
        partial.seen[place] = 1
        partial.missing -= 1
        return None if partial.missing else partial.finish()

    def _take_notice(self, origin: bytes, data: bytes, size: int) -> bytes | None:
        """Keep a notice, if it is one."""
        known = size == _HEADER and data[2] == 0 and _KIND_MIN <= data[1] <= _KIND_MAX
        if not known or len(self.notices) >= NOTICES_MAX:
            return self._drop("drops_bad_segment")
        self.notices.append((origin, data[1], data[6] << 8 | data[7]))
        return None

    def _put(self, partial: _Partial, place: int, data: bytes, length: int) -> bool:
        """Put a piece that is not the last one to its place; ``False`` if it has not the size of the others."""
        if not partial.piece:
            # The first of them says where each has its place, and how much room they take.
            before = partial.count - 1
            rest = partial.rest
            if rest > length or before * length + max(rest, 1) > self._size_max:
                return False
            partial.piece = length
            partial.room = room.empty(before * length + rest if rest else min(partial.count * length, self._size_max))
            if partial.tail is not None:
                room.put(partial.room, before * length, partial.tail, 0, rest)
                partial.tail = None
        elif length != partial.piece:
            return False
        assert partial.room is not None
        room.put(partial.room, place * length, data, _HEADER, length)
        return True

    def _put_last(self, partial: _Partial, data: bytes, length: int) -> bool:
        """Put the last piece behind the others; ``False`` if it is larger than those, or too large."""
        if partial.room is None:
            partial.tail = data[_HEADER : _HEADER + length]
        else:
            behind = (partial.count - 1) * partial.piece
            if length > partial.piece or behind + length > self._size_max:
                return False
            room.put(partial.room, behind, data, _HEADER, length)
        partial.rest = length
        return True

    def _begin(self, origin: bytes, partial: _Partial | None, number: int, count: int) -> _Partial:
        """Another datagram takes the place of the one that this sender began last, if there is one."""
        partials = self._partials
        if partial is not None:
            del partials[origin]
        elif len(partials) >= self._senders_max:
            partial = partials.pop(next(iter(partials)))  # the one that began longest ago
        else:
            partial = _Partial()
        if partial.missing:
            self._counts["drops_incomplete"] += 1
        partial.begin(number, count)
        partials[origin] = partial  # and is now the one that began last
        return partial

    def _drop(self, count: str) -> bytes | None:
        """Count a segment that nothing comes of."""
        self._counts[count] += 1
        return None
