"""Datagrams larger than the network's frames: they are cut into *segments*, and joined again.

A ring's work for a datagram hardly depends on the size of the datagram. The kernel's work for a segment is nearly zero
if it accepts a run of segments as one message (``UDP_SEGMENT``, ``UDP_GRO``). So a datagram of the ring may be several
frames long. A datagram that fits into a segment is sent unchanged, unless its first byte is the mark of a segment. Any
other datagram is cut into segments, each with a header before its piece:

    byte  0     mark, 0
    byte  1     place of this segment, from 0
    byte  2     number of segments of the datagram
    bytes 3-5   number of the datagram, one more for each that the sender cuts, big endian
    bytes 6-7   size of the piece; any bytes after the piece are padding

All pieces of a datagram but the last have one size, so the offset of each is known in any order of arrival. Only the
last piece may be shorter, and may be followed by padding. The kernel takes a run as one message only if its segments
have one size, so a last segment that is only slightly shorter than the others is padded.

Cutting copies nothing: the cutter makes headers, and the sender points into the datagram. Joining copies a piece once,
to its offset in the memory that becomes the datagram.

A header alone, with a count of 0, is a *notice* from one transport to another: byte 1 is its kind, and bytes 6-7 are a
number. A ring does not see it.

A lost segment loses its datagram. A receiver joins at most one datagram of each sender at any time. This bounds the
memory that an attacker or a bad network can make a receiver use.
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
"""The first byte of a segment."""
HEADER_SIZE = 8
SEGMENTS_MAX = 255
PADDING_MAX = 64
"""Maximum number of padding bytes: a last segment that lacks more bytes is not padded."""
LATE_MAX = 64
"""A segment whose number is at most this many numbers behind the current one is a late copy. With a greater distance
its sender has restarted."""

NOTICE_MTU = 1
"""Kind of a notice: the largest packets that reach its sender have this number of bytes."""
NOTICE_ASK = 2
"""Kind of a notice: the recipient multicasts an answer."""
NOTICE_ANSWER = 3
"""Kind of a notice: the answer to a ``NOTICE_ASK``. Its arrival is its only information."""
NOTICES_MAX = 16
"""Maximum number of notices that are kept until the transport reads them."""

# C copies of the constants above (see _segments.pxd).
_MARK = MARK
_HEADER = HEADER_SIZE

_NUMBERS = 2**24 - 1
_KIND_MIN = NOTICE_MTU
_KIND_MAX = NOTICE_ANSWER


def notice(kind: int, number: int = 0) -> bytes:
    """Return the bytes of a notice; ``number`` is 0 to 65,535."""
    return bytes([MARK, kind, 0, 0, 0, 0]) + number.to_bytes(2, "big")


def extent(head: bytes, length: int) -> tuple[int, int, int]:
    """Return which piece of a datagram of ``length`` bytes follows this header: its start, its size, and its padding in
    bytes.

    Without a header the result is 0, ``length``, 0.

    Raises:
        ValueError: the header does not belong to a segment of such a datagram.
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
        # The first number is random: a restarted processor must not continue the numbers of its former incarnation.
        self._number = int.from_bytes(os.urandom(3), "big")

    def cut(self, datagram: bytes, size_max: int = 0) -> list[bytes]:
        """Return the headers of the segments of a datagram that is not sent unchanged. The bytes of the datagram are
        not copied.

        ``size_max`` is the size of the largest segment in bytes, if it differs from the usual one; 0 means the usual
        one.
        """
        self._number = number = (self._number + 1) & _NUMBERS
        piece = (size_max or self.size) - _HEADER
        size = len(datagram)
        count = (size + piece - 1) // piece
        heads = [room.head(place, count, number, piece) for place in range(count - 1)]
        heads.append(room.head(count - 1, count, number, size - (count - 1) * piece))
        return heads


class _PartialDatagram:
    """The latest datagram of a sender, incomplete or complete."""

    __slots__ = ("count", "missing", "number", "piece", "rest", "room", "seen", "tail")

    def __init__(self) -> None:
        self.number = 0
        self.count = 0
        self.missing = 0
        self.piece = 0
        """Bytes of each piece but the last; 0 until one of them arrives."""
        self.rest = 0
        """Bytes of the last piece; 0 until it arrives."""
        self.room: bytearray | None = None
        """The buffer for the pieces; ``None`` until their size is known."""
        self.tail: bytes | None = None
        """The last piece, if it arrived before all others: its offset is not known yet."""
        self.seen = bytearray(SEGMENTS_MAX)

    def begin(self, number: int, count: int) -> None:
        """Start another datagram."""
        self.number = number
        self.count = self.missing = count
        self.piece = self.rest = 0
        self.room = self.tail = None
        for place in range(count):
            self.seen[place] = 0

    def finish(self) -> bytes:
        """Return the datagram, once no piece is missing."""
        joined: bytes | None
        if self.room is None:
            joined, self.tail = self.tail, None  # there is one piece only
        else:
            joined = room.finished(self.room, (self.count - 1) * self.piece + self.rest)
            self.room = None
        assert joined is not None
        return joined


class Joiner:
    """Joins the datagrams that one socket receives.

    Args:
        size_max: bytes of the largest datagram.
        senders_max: maximum number of senders with an incomplete datagram. Each uses at most ``size_max`` bytes of
            buffer space.
        counts: counters of dropped segments by name.
    """

    def __init__(self, size_max: int, senders_max: int, counts: Counter[str]) -> None:
        self._size_max = size_max
        self._senders_max = senders_max
        self._counts = counts
        self._partials: dict[bytes, _PartialDatagram] = {}
        self.oversized = 0
        """Datagrams of more than ``size_max`` bytes that arrived in one part."""
        self.notices: list[tuple[bytes, int, int]] = []
        """Origin, kind and number of the notices that arrived. The reader empties the list."""

    def add(self, origin: bytes, datagram: bytes, whole: list[bytes]) -> None:
        """Take a datagram of the network. Append the datagram of the ring that it is or completes, if any, to
        ``whole``.

        ``origin`` identifies the sender.
        """
        if datagram[0] != _MARK and len(datagram) <= self._size_max:
            whole.append(datagram)
        else:
            self.take(origin, datagram, len(datagram), whole)

    def take(self, origin: bytes, data: bytes, size: int, whole: list[bytes]) -> None:
        """Do what :meth:`add` does for ``size`` bytes at ``data``, at least one. They are copied once."""
        if data[0] == _MARK:
            joined = self._join(origin, data, size)
            if joined is not None:
                whole.append(joined)
        elif size > self._size_max:
            self.oversized += 1
        else:
            whole.append(data[:size])

    def _join(self, origin: bytes, data: bytes, size: int) -> bytes | None:
        """Add a segment; return the datagram if this was its last missing piece."""
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
        """Keep a notice if it is valid; otherwise drop the segment."""
        known = size == _HEADER and data[2] == 0 and _KIND_MIN <= data[1] <= _KIND_MAX
        if not known or len(self.notices) >= NOTICES_MAX:
            return self._drop("drops_bad_segment")
        self.notices.append((origin, data[1], data[6] << 8 | data[7]))
        return None

    def _put(self, partial: _PartialDatagram, place: int, data: bytes, length: int) -> bool:
        """Copy a piece other than the last to its offset; return ``False`` if its size differs from that of the others,
        or if the datagram is too large."""
        if not partial.piece:
            # The first of these pieces determines the offset of each, and the size of the buffer.
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

    def _put_last(self, partial: _PartialDatagram, data: bytes, length: int) -> bool:
        """Copy the last piece behind the others; return ``False`` if it is larger than those, or too large."""
        if partial.room is None:
            partial.tail = data[_HEADER : _HEADER + length]
        else:
            behind = (partial.count - 1) * partial.piece
            if length > partial.piece or behind + length > self._size_max:
                return False
            room.put(partial.room, behind, data, _HEADER, length)
        partial.rest = length
        return True

    def _begin(self, origin: bytes, partial: _PartialDatagram | None, number: int, count: int) -> _PartialDatagram:
        """Start a datagram in place of the sender's former one, if there is one."""
        partials = self._partials
        if partial is not None:
            del partials[origin]
        elif len(partials) >= self._senders_max:
            partial = partials.pop(next(iter(partials)))  # the oldest one
        else:
            partial = _PartialDatagram()
        if partial.missing:
            self._counts["drops_incomplete"] += 1
        partial.begin(number, count)
        partials[origin] = partial  # now the newest one
        return partial

    def _drop(self, count: str) -> bytes | None:
        """Count a dropped segment."""
        self._counts[count] += 1
        return None
