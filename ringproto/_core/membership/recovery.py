"""Recovery: the members of an old ring make their packets equal, on the new ring (Totem, section 6).

From the complete commit token every member of the same old ring computes the same plan: who comes with it (the
transitional configuration), from which packet on they may differ, up to which one of them has delivered, and whose
messages are to be delivered behind a hole. Then each sends what it has, inside packets of the new ring, unless it saw
somebody else send it.

A processor that said that it has everything (phase RECEIVED) has promised: another member may install and deliver on
the strength of it. If it does not see the end of that recovery, it keeps the promise in the next one, and the commit
token tells the others of it, so that all who go on together deliver the same (departure 6 in docs/protocol.md).
"""

from __future__ import annotations

from ringproto._core.packets.window import Window
from ringproto._core.ring.ring import RingState, Source
from ringproto._core.wire.membership import Entry
from ringproto._core.wire.regular import Codec, Packet, Phase, old_packet


class Exchange(Source):
    """One processor's part in one recovery."""

    def __init__(
        self, entries: tuple[Entry, ...], old_ring: bytes, old_window: Window, node: int, codec: Codec
    ) -> None:
        together = [entry for entry in entries if entry.old_ring == old_ring]
        self._codec = codec
        self._old_ring = old_ring
        self._old_window = old_window
        self.transitional = tuple(entry.node for entry in together)
        self.high_delivered = max(entry.high_delivered for entry in together)
        self.deliver_set = frozenset(self.transitional).union(*(entry.obligations for entry in together))
        self.recovered = 0
        """Packets of the old ring that others had and this processor had not."""
        # What all had was released; who says less than that is wrong, and costs no time.
        low_aru = max(min(entry.aru for entry in together), old_window.released)
        # The packets to send, oldest first: a dict for its order.
        self._queue: dict[int, None] = {}
        if self.transitional != (node,):
            for seq in range(low_aru + 1, old_window.high + 1):
                if old_window.get(seq) is not None:
                    self._queue[seq] = None

    def backlog(self, low_max: int) -> int:
        return len(self._queue)

    def next_packet(self, ring: RingState, seq: int, message_seq: int) -> tuple[Packet, int] | None:
        """The next packet of the old ring that nobody has sent yet, as packet ``seq`` of the new ring."""
        if not self._queue:
            return None
        old_seq = next(iter(self._queue))
        del self._queue[old_seq]
        old = self._old_window.get(old_seq)
        assert old is not None, "a packet was released in the middle of recovery"
        return self._codec.encode_recovered(ring.name, seq, old), message_seq

    def unready(self, ring: RingState, seq: int) -> bool:
        """Whether something is still to be sent, or was sent and is missing here."""
        return bool(self._queue) or (ring.phase == Phase.RECEIVED and ring.window.aru < seq)

    def receive(self, packet: Packet) -> None:
        """A packet of the new ring carries one of an old ring."""
        if packet.old_ring != self._old_ring:
            return
        self._queue.pop(packet.old_seq, None)
        if self._old_window.insert(old_packet(packet)):
            self.recovered += 1
