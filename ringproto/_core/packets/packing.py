"""Messages into packets: packing and fragmentation. The way back is in ``reassembly.py``.

A packet holds chunks; a chunk is a whole message or a piece of one, with its priority, its guarantee, and whether it
begins and ends the message. A packet is filled to the last byte, and the message that does not fit goes on in the next
one. Pieces of one sender and one priority follow each other in the order, so a ``HIGH`` message may stand between the
pieces of a long ``LOW`` one.

Whoever fills a packet asks the barrier first: while it is down only ``RECOVERY`` chunks and then the unblock are put
in (B2, B5). This check stands above fragmentation, and the cursors of the queues stand below it.
"""

from __future__ import annotations

from ringproto._core.barrier import Barrier
from ringproto._core.packets.send_queue import SendQueue
from ringproto._core.wire.regular import (
    CHUNK_CONTROL,
    CHUNK_FIRST,
    CHUNK_LAST,
    CHUNK_PRIORITY,
    CHUNK_SAFE,
    CHUNK_SIZE,
    CONTROL_SIZE,
    chunk_head,
    ring_bytes,
    unblock_chunk,
)
from ringproto.config import Config
from ringproto.types import Guarantee, Priority

_BYTES_MAX = 2**40
"""More than ever wait."""

# Numbers of C (packing.pxd): what is done for every message must not make objects.
_HEAD = CHUNK_SIZE
_FIRST = CHUNK_FIRST
_LAST = CHUNK_LAST
_SAFE = CHUNK_SAFE
# A message is begun in whatever room there is: datagrams of one size go through the kernel as one run, and that is
# worth more than the chunk heads cost.
_SMALLEST_PIECE = 1


class PacketContents:
    """What was put in one packet."""

    __slots__ = ("chunks", "flags", "high", "low", "payloads", "safe", "unblock")

    def __init__(self) -> None:
        self.chunks: list[bytes | memoryview] = []
        self.flags: list[int] = []
        self.payloads: list[bytes] = []
        """The messages that end in it, the unblock too, in order."""
        self.safe = False
        """Whether one of them is to be delivered safe: then the whole packet is."""
        self.unblock = False
        """Whether it ends with the unblock."""
        self.high = False
        """Whether something of ``HIGH`` is in it."""
        self.low = 0
        """Bytes of ``LOW`` in it."""

    def add(self, flags: int, payload: bytes) -> None:
        """A message ends in it, with a chunk of these flags."""
        self.flags.append(flags)
        self.payloads.append(payload)

    @property
    def ended(self) -> list[tuple[Priority, Guarantee, bytes]]:
        """The messages of the application that end in it. For the log: it is made when it is asked for."""
        return [
            (Priority(flags & CHUNK_PRIORITY), Guarantee(bool(flags & CHUNK_SAFE)), payload)
            for flags, payload in zip(self.flags, self.payloads, strict=True)
            if not flags & CHUNK_CONTROL
        ]

    def messages(self) -> int:
        """How many places in the message order it takes."""
        return len(self.payloads)


class Outbox:
    """The three send queues and what may leave them now."""

    __slots__ = ("_barrier", "_head_bytes", "_head_flags", "_head_size", "_high_only", "_low_every", "queues")

    def __init__(self, config: Config, barrier: Barrier) -> None:
        self.queues = [SendQueue(config.send_queue_max, config.send_queue_bytes_max) for _ in Priority]
        self._barrier = barrier
        self._low_every = config.low_every
        self._high_only = 0
        # The head of the chunk that was made last.
        self._head_flags = -1
        self._head_size = 0
        self._head_bytes = b""

    def ready(self) -> bool:
        """Whether there is something that may be sent now."""
        recovery, high, low = self.queues
        if self._barrier.complete:
            return len(high) > 0 or len(low) > 0
        return len(recovery) > 0 or self._barrier.unblock_due

    def backlog(self, room: int, low_max: int = _BYTES_MAX) -> int:
        """About how many packets of ``room`` bytes wait and may be sent now, with ``low_max`` bytes of ``LOW``."""
        if not self.ready():
            return 0
        recovery, high, low = self.queues
        if not self._barrier.complete:
            return 1 + recovery.waiting() // room
        return 1 + (high.waiting() + min(low.waiting(), low_max)) // room

    def fill(self, room: int, low_room: int = _BYTES_MAX) -> PacketContents:
        """Take from the queues what goes into one packet: ``room`` bytes of chunks, of ``LOW`` at most ``low_room``.

        Where ``LOW`` has no room there may be nothing to take although something is ready.
        """
        contents = PacketContents()
        if not self._barrier.complete:
            room = self._take(Priority.RECOVERY, room, contents)
            if self._barrier.unblock_due and not len(self.queues[0]) and room >= CHUNK_SIZE + CONTROL_SIZE:
                chunk = unblock_chunk(ring_bytes(self._barrier.ring_id))
                contents.chunks.append(chunk)
                contents.add(chunk[0], chunk[CHUNK_SIZE:])
                contents.unblock = True
                self._barrier.sent()
            return contents
        if not low_room:
            contents.high = self._take(Priority.HIGH, room, contents) != room
            return contents
        # HIGH first; but when LOW was kept out of so many packets in a row, it goes first once.
        if self._high_only >= self._low_every - 1 and len(self.queues[2]):
            room = self._take_low(room, low_room, contents)
            contents.high = self._take(Priority.HIGH, room, contents) != room
            self._high_only = 0
            return contents
        left = self._take(Priority.HIGH, room, contents)
        contents.high = left != room
        waiting = len(self.queues[2]) > 0
        self._take_low(left, low_room, contents)
        if waiting and not contents.low:
            self._high_only += 1
        else:
            self._high_only = 0
        return contents

    def _take_low(self, room: int, low_room: int, contents: PacketContents) -> int:
        may = min(room, low_room)
        contents.low = may - self._take(Priority.LOW, may, contents)
        return room - contents.low

    def _take(self, priority: Priority, room: int, contents: PacketContents) -> int:
        """Move messages of one queue into ``contents``; returns the room that is left."""
        queue = self.queues[priority]
        chunks = contents.chunks
        number = int(priority)
        while len(queue):
            payload = queue.head()
            guarantee = queue.guarantee()
            offset = queue.cursor
            left = len(payload) - offset
            size = min(left, room - _HEAD)
            if size < left and size < _SMALLEST_PIECE:
                break
            flags = number
            if guarantee:
                flags |= _SAFE
            if not offset:
                flags |= _FIRST
            if size == left:
                flags |= _LAST
            chunks.append(self._head(flags, size))
            chunks.append(payload if size == len(payload) else memoryview(payload)[offset : offset + size])
            room -= _HEAD + size
            if size < left:
                queue.cursor = offset + size
                break
            queue.pop()
            contents.add(flags, payload)
            if guarantee:
                contents.safe = True
        return room

    def _head(self, flags: int, size: int) -> bytes:
        """The head of a chunk; messages of one size follow each other more often than not."""
        if flags != self._head_flags or size != self._head_size:
            self._head_flags = flags
            self._head_size = size
            self._head_bytes = chunk_head(flags, size)
        return self._head_bytes

    def abort_round(self) -> None:
        """The configuration changed: what is half sent is begun again, recovery messages of the old round are gone."""
        self.queues[0].clear()
        self.queues[1].rewind()
        self.queues[2].rewind()
