"""From packets in order to the stream of events (Totem, section 4.3, and the steps of EVS at a change).

While a ring is installed a packet is delivered when all before it were and, if a message in it is to be safe, when
every member has it. When the ring has ended, :meth:`Delivery.end_ring` delivers the rest: first what may still be
delivered in the regular configuration, then the transitional configuration, then what is left of its members.

Events wait here until the application takes them. When too many wait, delivery stops and the packets stay in the
window; how many are held back goes into flow control. A change of configuration does not wait: its events are bounded
by what the window can hold.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from ringproto._core.barrier import Barrier
from ringproto._core.packets.reassembly import Reassembler, unblocked_ring
from ringproto._core.packets.window import Window
from ringproto._core.wire.regular import CHUNK_CONTROL, CHUNK_PRIORITY, CHUNK_SAFE, Packet
from ringproto.config import Config
from ringproto.events import Event, RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.message import Message, new_message
from ringproto.types import Guarantee, Priority, RingId

_CONTROL = CHUNK_CONTROL  # numbers of C (delivery.pxd)
_PRIORITY = CHUNK_PRIORITY
_SAFE = CHUNK_SAFE
_MEANING = CHUNK_PRIORITY | CHUNK_SAFE
_MEANINGS = [
    (Priority(min(flags & CHUNK_PRIORITY, 2)), Guarantee.SAFE if flags & CHUNK_SAFE else Guarantee.AGREED)
    for flags in range(_MEANING + 1)
]
"""Priority and guarantee by the flags of a chunk. Priority 3 never comes: such a datagram is malformed."""
_WIDER = 8


class StreamChange(NamedTuple):
    """A configuration or completion of the stream once more, for who drives this processor.

    Events are counted from the beginning of the stream, so that the driver can tell how far the application is.
    """

    event: TransitionalConfiguration | RegularConfiguration | RecoveryComplete
    last_message: int
    """The number of the last message before it, 0 if there is none."""
    last_completion: int
    """The number of the last completion before it, 0 if there is none."""
    last_unblocked: int = 0
    """Of a completion: the member whose unblock was the last."""


class Delivery:
    """The ordered stream of one processor."""

    __slots__ = (
        "_audit",
        "_barrier",
        "_changes",
        "_emitted",
        "_events",
        "_events_bytes_max",
        "_events_max",
        "_last_completion",
        "_last_message",
        "_transitional",
        "bytes",
        "configuration",
        "delivered",
        "held",
        "messages",
        "reassembler",
    )

    def __init__(
        self, config: Config, configuration: RegularConfiguration, barrier: Barrier, audit: list[tuple[Any, ...]] | None
    ) -> None:
        self._audit = audit
        self._barrier = barrier
        self._events: deque[Event] = deque()
        self._changes: list[StreamChange] = []
        self._emitted = 0
        self._last_message = 0
        self._last_completion = 0
        self._transitional = False
        self._events_max = config.events_max
        self._events_bytes_max = config.events_bytes_max
        self.reassembler = Reassembler(config.message_size_max)
        self.bytes = 0
        self.messages = 0
        self.delivered = 0
        """The last packet of the ring that was delivered."""
        self.held = 0
        """Packets that could be delivered, had the application read."""
        self.configuration = configuration
        self._put("CONF", configuration)

    @property
    def pending(self) -> int:
        return len(self._events)

    @property
    def full(self) -> bool:
        """Whether delivery stops until the application reads."""
        return self.is_full()

    def is_full(self) -> bool:
        """As :attr:`full`, which is slower to ask."""
        return len(self._events) >= self._events_max or self.bytes >= self._events_bytes_max

    def raise_limits(self) -> None:
        """The processor leaves and its application may read no more: that must not hold up what is still to be sent."""
        self._events_max *= _WIDER
        self._events_bytes_max *= _WIDER

    def take(self, limit: int) -> list[Event]:
        """The oldest events."""
        events = self._events
        if len(events) <= limit:
            everything = list(events)
            events.clear()
            self.bytes = 0
            return everything
        taken: list[Event] = []
        while events and len(taken) < limit:
            event = events.popleft()
            if isinstance(event, Message):
                message = event
                self.bytes -= len(message.payload)
            taken.append(event)
        return taken

    def count(self) -> int:
        """As :attr:`pending`, which is slower to ask."""
        return len(self._events)

    def take_changes(self) -> list[StreamChange]:
        """The configurations and completions since the last call, as a list that is the caller's."""
        changes = self._changes
        self._changes = []
        return changes

    def deliver(self, window: Window, ring_id: RingId, stable: int) -> bool:
        """Deliver what may be delivered in the regular configuration; ``True`` if something was."""
        seq = self.delivered + 1
        last = window.aru
        while seq <= last and not self.is_full():
            packet = window.get(seq)
            if packet is None or (packet.safe and seq > stable):
                break
            self._deliver_packet(packet, ring_id)
            seq += 1
        progress = seq - 1 > self.delivered
        self.delivered = seq - 1
        self.held = last - self.delivered if self.is_full() else 0
        return progress

    def end_ring(
        self,
        window: Window,
        ring_id: RingId,
        high_delivered: int,
        members: tuple[int, ...],
        deliver_set: frozenset[int],
    ) -> None:
        """Deliver what is left of a ring, with the transitional configuration at its place.

        All members of the transitional configuration have the same packets, the same ``high_delivered`` (the highest
        packet that one of them delivered) and the same ``deliver_set``, so they deliver the same here (E4).
        """
        seq = self.delivered + 1
        while True:
            packet = window.get(seq)
            if packet is None or (packet.safe and seq > high_delivered):
                break
            self._deliver_packet(packet, ring_id)
            seq += 1
        self._put("CONF", TransitionalConfiguration(ring_id, members))
        self._transitional = True
        hole = False
        while seq <= window.high:
            packet = window.get(seq)
            if packet is None:
                hole = True
            elif not hole or packet.sender in deliver_set:
                self._deliver_packet(packet, ring_id)
            seq += 1
        self.reassembler.clear()
        self.held = 0

    def install(self, ring_id: RingId, members: tuple[int, ...], primary: bool) -> None:
        """Put a regular configuration in the stream; the barrier's next round begins."""
        before = set(self.configuration.members)
        configuration = RegularConfiguration(
            ring_id,
            members,
            tuple(node for node in members if node not in before),
            tuple(node for node in self.configuration.members if node not in members),
            primary,
        )
        aborted = self._barrier.install(configuration)
        if aborted is not None and self._audit is not None:
            self._audit.append(("ABORT", aborted))
        self.configuration = configuration
        self._transitional = False
        self._put("CONF", configuration)

    def _deliver_packet(self, packet: Packet, ring_id: RingId) -> None:
        if packet.old_ring:
            return  # it carried a packet of an old ring, and that was taken out when it came
        sender = packet.sender
        seq = packet.message_seq
        size = 0
        messages: list[Message] = []
        settling = self._is_settling()
        reassembler = self.reassembler
        reassembler.begin(packet)
        while reassembler.next():
            seq += 1
            payload = reassembler.payload
            if payload is None:
                continue
            if reassembler.flags & _CONTROL:
                self._add(messages, size)
                messages = []
                size = 0
                self._deliver_unblock(sender, unblocked_ring(payload), ring_id, seq)
                settling = self._is_settling()
                continue
            flags = reassembler.flags
            meaning = _MEANINGS[flags & _MEANING]
            # RECOVERY is the priority 0.
            settled = settling and (flags & _SAFE) != 0 and (flags & _PRIORITY) != 0
            message = new_message(payload, sender, meaning[0], meaning[1], ring_id, seq, settled)
            messages.append(message)
            size += len(payload)
            if self._audit is not None:
                self._audit.append(("DELV", message))
        self._add(messages, size)

    def _is_settling(self) -> bool:
        """Whether a safe message that is delivered now is settled (see :class:`Message`)."""
        return self._barrier.complete and not self._transitional

    def _add(self, messages: list[Message], size: int) -> None:
        """Put messages in the stream, whose payloads have so many bytes together."""
        count = len(messages)
        if count:
            self._events.extend(messages)
            self._emitted += count
            self._last_message = self._emitted
            self.bytes += size
            self.messages += count

    def _deliver_unblock(self, sender: int, named: RingId, ring_id: RingId, seq: int) -> None:
        if named != ring_id:
            return
        if self._audit is not None:
            self._audit.append(("UNB_DELV", sender, ring_id, seq))
        complete = self._barrier.deliver_unblock(sender, ring_id, seq)
        if complete is not None:
            self._put("DONE", complete, sender)

    def _put(
        self,
        record: str,
        event: RegularConfiguration | TransitionalConfiguration | RecoveryComplete,
        last_unblocked: int = 0,
    ) -> None:
        self._events.append(event)
        self._emitted += 1
        self._changes.append(StreamChange(event, self._last_message, self._last_completion, last_unblocked))
        if record == "DONE":
            self._last_completion = self._emitted
        if self._audit is not None:
            self._audit.append((record, event))
