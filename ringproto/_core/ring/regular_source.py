"""What an installed ring sends: packets filled from the application's queues."""

from __future__ import annotations

from typing import Any

from ringproto._core.packets.packing import Outbox
from ringproto._core.ring.ring import RingState, Source
from ringproto._core.wire.regular import DATA_OVERHEAD, Codec, Packet


class RegularSource(Source):
    """The application's messages and the unblock, as packets of the ring."""

    __slots__ = ("_audit", "_codec", "_outbox", "_room")

    def __init__(self, outbox: Outbox, codec: Codec, datagram_size: int, audit: list[tuple[Any, ...]] | None) -> None:
        self._outbox = outbox
        self._codec = codec
        self._room = datagram_size - DATA_OVERHEAD
        self._audit = audit

    def backlog(self, low_max: int) -> int:
        return self._outbox.backlog(self._room, low_max)

    def unready(self, ring: RingState, seq: int) -> bool:
        return False

    def next_packet(self, ring: RingState, seq: int, message_seq: int) -> tuple[Packet, int] | None:
        if not self._outbox.ready():
            return None
        congestion = ring.congestion
        contents = self._outbox.fill(self._room, congestion.low_room())
        if contents.low:
            congestion.spent_low(contents.low)
        elif not contents.chunks:
            return None
        if contents.high:
            congestion.note_high()
        packet = self._codec.encode_chunks(ring.name, seq, message_seq, contents.safe, contents.chunks)
        packet.ended = (contents.flags, contents.payloads)
        if self._audit is not None:
            for place, (priority, guarantee, payload) in enumerate(contents.ended, message_seq + 1):
                self._audit.append(("SEND", priority, guarantee, ring.id, place, payload))
            if contents.unblock:
                self._audit.append(("UNB_SEND", ring.id, message_seq + contents.messages()))
        return packet, message_seq + contents.messages()
