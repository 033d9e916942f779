"""The public methods of the core: one processor.

:meth:`Processor.turn` takes datagrams and the time, and returns what its driver has to do, as a :class:`Ready`.
Messages to send, the unblock and the wish to leave come by methods that only note them; the next turn acts on them. So
nothing is sent and no deadline is set by a time that is past. Time and random bits come in as arguments and nothing is
called back, so the same calls give the same answers for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ringproto._core.context import Context
from ringproto._core.entropy import Entropy
from ringproto._core.membership.membership import Membership
from ringproto._core.notices import Notice
from ringproto._core.packets.delivery import StreamChange
from ringproto._core.ring.ring import NUMBER_END
from ringproto._core.states import State
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import members_that_fit, membership_size
from ringproto._core.wire.regular import DATA, SEQUENCE_MAX, TOKEN, Malformed
from ringproto.config import Config
from ringproto.errors import ConfigError, RingError
from ringproto.events import Event, RegularConfiguration
from ringproto.types import NODE_MAX, Guarantee, Priority, RingId

_RECOVERY = Priority.RECOVERY  # to look a member of an enum up costs more than most of what is done with it
_LEFT = State.LEFT
# Numbers of C (processor.pxd): what nearly every datagram is.
_IS_DATA = DATA
_IS_TOKEN = TOKEN
_REQUESTS_MAX = 128
"""Most retransmission requests that a token of any configuration has."""


class Batch:
    """Messages to be accepted one after the other, all of which can be sent; a copy, so that they stay so.

    Args:
        payloads: the messages, in order.

    Raises:
        TypeError: something in it is not bytes.
    """

    __slots__ = ("largest", "payloads")

    def __init__(self, payloads: Iterable[bytes]) -> None:
        copied = tuple(payloads)
        largest = 0
        for payload in copied:
            if type(payload) is not bytes:
                raise _not_bytes(payload)
            if len(payload) > largest:
                largest = len(payload)
        self.payloads = copied
        self.largest = largest
        """Bytes of the largest one."""

    def __len__(self) -> int:
        return len(self.payloads)


class Ready:
    """What a turn of a processor asks of its driver. The fields are in the order in which the driver deals with them.

    The driver sends :attr:`transmits` before it tells anybody anything: the token is among them. If the turn left a
    visit of the token :attr:`unfinished`, the next turn follows. Then the driver passes on :attr:`changes` and
    :attr:`notices`, and says that :attr:`events` wait. Unless the processor has :attr:`left`, the driver then waits for
    datagrams until :attr:`next_timeout`. It ends that wait if a call of the application makes the processor want a
    turn (:attr:`Processor.wants_turn`).

    The lists are new ones for each turn; they belong to the driver.
    """

    __slots__ = ("changes", "events", "left", "next_timeout", "notices", "transmits", "unfinished")

    def __init__(
        self,
        transmits: list[tuple[int, bytes]],
        unfinished: bool,
        changes: list[StreamChange],
        notices: list[Notice],
        events: int,
        left: bool,
        next_timeout: float,
    ) -> None:
        self.transmits = transmits
        """What to send, in order: (node id, datagram), node id 0 for all others."""
        self.unfinished = unfinished
        """Whether a long visit of the token goes on: it is sent in pieces, so that the others take in the first while
        the next is made. Then another turn is due as soon as ``transmits`` are sent. A driver that does not ask comes
        to it by ``next_timeout``, which is then the next moment after this turn."""
        self.changes = changes
        """The configurations and completions that came into the stream since the last turn, beside the stream."""
        self.notices = notices
        """What somebody who runs this program should hear of, since the last turn; see ``notices.py``."""
        self.events = events
        """How many events can be taken with :meth:`Processor.take_events`."""
        self.left = left
        """Whether the processor is out of the ring, for ever. ``transmits`` has its last datagrams."""
        self.next_timeout = next_timeout
        """When the next turn is due at the latest, in seconds on the caller's clock; ``math.inf`` for never."""


class Processor:
    """One processor of the ring, without I/O.

    A new one wants a turn: it has a join to send, and its first configuration is in the stream.

    Args:
        node: its id, 1 to 2**32 - 1.
        config: its settings; those in use are in the attribute of this name.
        datagram_size: the largest datagram in bytes that the transport takes; ``config.datagram_size`` may be less.
        receive_buffer: how many bytes may wait in the transport for this processor; ``None`` if it does not say.
        seed: 16 random bytes, never used before by any processor.
        now: seconds on the clock that all later calls use.
        ring_sequence: the highest ring sequence that an earlier incarnation knew, if that was stored; else 0.
        audit: a list to which everything that the rules of EVS and of the barrier speak of is appended.
        origin: what every ring counts its packets, messages and tokens from, the same at all processors; a test that
            wants a ring of years ago gives a high one.

    Raises:
        ValueError: an argument is out of its range.
    """

    __slots__ = (
        "_audit",
        "_context",
        "_least_resend_s",
        "_membership",
        "_message_size_max",
        "_retransmit_s",
        "config",
        "node",
    )

    def __init__(
        self,
        node: int,
        config: Config,
        *,
        datagram_size: int,
        receive_buffer: int | None = None,
        seed: bytes,
        now: float,
        ring_sequence: int = 0,
        audit: list[tuple[Any, ...]] | None = None,
        origin: int = 0,
    ) -> None:
        if not isinstance(node, int) or isinstance(node, bool) or not 1 <= node <= NODE_MAX:
            raise ValueError(f"a node id is a whole number from 1 to {NODE_MAX}, not {node!r}")
        if not isinstance(seed, bytes) or len(seed) != 16:
            raise ValueError(f"the seed must be 16 random bytes, not {seed!r:.60}")
        if (
            not isinstance(ring_sequence, int)
            or isinstance(ring_sequence, bool)
            or not 0 <= ring_sequence < SEQUENCE_MAX
        ):
            raise ValueError(f"ring_sequence must be a whole number from 0 to 2**62 - 1, not {ring_sequence!r}")
        if audit is not None and not isinstance(audit, list):
            raise TypeError(f"audit must be a list or None, not {type(audit).__name__}")
        if not isinstance(origin, int) or isinstance(origin, bool) or not 0 <= origin < NUMBER_END:
            raise ValueError(f"origin must be a whole number from 0 to 2**62 - 1, not {origin!r}")
        size = datagram_size if config.datagram_size is None else config.datagram_size
        if size > datagram_size:
            raise ConfigError(f"Config.datagram_size is {size}, but the transport takes at most {datagram_size} bytes")
        if not 512 <= size <= 65_000:
            if config.datagram_size is None:
                size = min(size, 65_000)
            if size < 512:
                raise ConfigError(f"datagrams must have at least 512 bytes; the transport takes {datagram_size}")
        needed = membership_size(config.members_max)
        if size < needed:
            raise ConfigError(
                f"Config.members_max is {config.members_max}, and a beacon of so many has {needed} bytes, "
                f"a datagram only {size}. Lower members_max to {members_that_fit(size)}, or send larger datagrams"
            )
        config = config.fitted(size, receive_buffer)
        self.node = node
        self.config = config
        self._audit = audit
        self._message_size_max = config.message_size_max
        self._least_resend_s = config.token_retransmit_min_s
        self._retransmit_s = config.retransmit_s
        self._context = Context(node, config, size, Entropy(seed), now, ring_sequence, audit, origin)
        self._membership = Membership(self._context)

    # A turn

    def turn(self, datagrams: Sequence[bytes], now: float) -> Ready:
        """Do everything that is due, and say what follows for the driver. This is the only call by which datagrams and
        time come in, and the only one that sends, delivers or sets a deadline.

        What was asked for since the last turn is taken up first. Then the datagrams are handled, or an unfinished visit
        of the token goes on; then the timers that are due. At the end a token that rests is called if it is needed.

        Args:
            datagrams: a batch of what came, maybe an empty one. Whatever their bytes are, nothing raises: what cannot
                be read is counted by its reason and dropped.
            now: seconds on the clock of this processor, no earlier than in any call before.

        Returns:
            What the driver has to do, in its order.
        """
        context = self._context
        membership = self._membership
        membership.note_time(now)
        membership.take_up()
        if datagrams:
            self._take_in(datagrams)
        elif membership.visit_unfinished():
            membership.continue_visit()
        if context.timers.first() <= now:
            membership.extend_overdue_timers(self._least_resend_s, self._retransmit_s)
            membership.handle_timeouts()
        membership.leave_when_drained()
        membership.want_token()
        membership.watch_consumer()
        ready = Ready.__new__(Ready)
        ready.transmits = context.transmits
        context.transmits = []
        ready.unfinished = membership.visit_unfinished()
        ready.changes = context.delivery.take_changes()
        ready.notices = context.notices.take() if context.notices.waiting else []
        ready.events = context.delivery.count()
        ready.left = membership.state is _LEFT
        ready.next_timeout = context.timers.first()
        return ready

    def _take_in(self, datagrams: Sequence[bytes]) -> None:
        """Handle a batch: the data before the tokens, however the network mixed them."""
        context = self._context
        membership = self._membership
        codec = context.codec
        tokens = []
        data_came = False
        for datagram in datagrams:
            try:
                kind, sender = codec.open(datagram)
                body: Any
                if kind == _IS_DATA:
                    data_came = True
                    body = codec.decode_data(datagram)
                elif kind == _IS_TOKEN:
                    tokens.append((sender, codec.decode_token(datagram, _REQUESTS_MAX)))
                    continue
                else:
                    body = context.membership_codec.decode(kind, datagram, self.config.members_max)
            except Malformed as error:
                context.counters.add(f"dropped_{error.args[0]}")
                continue
            membership.handle(kind, sender, body)
        if data_came:
            membership.deliver_arrivals()
        for sender, token in tokens:
            membership.handle(_IS_TOKEN, sender, token)

    @property
    def wants_turn(self) -> bool:
        """Whether a turn would send or deliver something, or move a deadline, because of what was asked for since the
        last one. Then the driver calls :meth:`turn` soon, and does not wait for datagrams or for ``next_timeout``."""
        return self._membership.wants_turn()

    # What is asked for between turns

    def submit(self, payload: bytes, priority: Priority, guarantee: Guarantee) -> bool:
        """Accept a ``HIGH`` or ``LOW`` message; ``False``, with nothing changed, when that queue is full.

        Raises:
            TypeError, ValueError: the payload is not bytes, is too large, or the priority is ``RECOVERY``.
            RingError: the processor is leaving or has left.
        """
        if priority == _RECOVERY:
            raise ValueError("RECOVERY messages are sent by the recover function, with recovery.send()")
        if self.leaving:
            raise RingError("the processor has left the ring, or is leaving it; nothing more can be sent")
        return self._accept(payload, priority, guarantee)

    def submit_batch(self, batch: Batch, first: int, priority: Priority, guarantee: Guarantee) -> int:
        """Accept messages from place ``first`` on, in order, until their queue is full; returns how many.

        Raises:
            TypeError, ValueError, RingError: as :meth:`submit`, with nothing accepted.
        """
        if not isinstance(batch, Batch):
            raise TypeError(f"submit_batch() takes a Batch, not {type(batch).__name__}")
        if priority == _RECOVERY:
            raise ValueError("RECOVERY messages are sent by the recover function, with recovery.send()")
        if self.leaving:
            raise RingError("the processor has left the ring, or is leaving it; nothing more can be sent")
        self.check_batch(batch)
        queue = self._context.outbox.queues[priority]
        payloads = batch.payloads
        place = first
        while place < len(payloads):
            payload = payloads[place]
            if not queue.put(payload, guarantee):
                break
            if self._audit is not None:
                self._audit.append(("SUBMIT", priority, guarantee, payload))
            place += 1
        if place > first:
            self._membership.note_queued()
        return place - first

    def submit_recovery(self, ring_id: RingId, payload: bytes, guarantee: Guarantee) -> bool:
        """Accept a ``RECOVERY`` message of one round; ``False``, with nothing changed, when that queue is full.

        Raises:
            RingError: that round is over: the configuration changed, or this processor has unblocked.
            TypeError, ValueError: as :meth:`submit`.
        """
        if self.left:
            raise RingError("the processor has left the ring; nothing more can be sent")
        if not self._context.barrier.may_recover(ring_id):
            raise RingError(
                f"the recovery round of ring {ring_id} is over: the configuration changed or this processor unblocked"
            )
        return self._accept(payload, _RECOVERY, guarantee)

    def _accept(self, payload: bytes, priority: Priority, guarantee: Guarantee) -> bool:
        context = self._context
        self._check(payload)
        if not context.outbox.queues[priority].put(payload, guarantee):
            return False
        if self._audit is not None:
            self._audit.append(("SUBMIT", priority, guarantee, payload))
        self._membership.note_queued()
        return True

    def check_payload(self, payload: object) -> None:
        """Raise TypeError or ValueError unless this can be sent."""
        self._check(payload)

    def check_batch(self, batch: Batch) -> None:
        """Raise ValueError unless all of it can be sent."""
        if batch.largest > self._message_size_max:
            raise self._too_large(batch.largest)

    def _check(self, payload: object) -> None:
        # Not a subclass: what it says of itself may change from one question to the next.
        if type(payload) is not bytes:
            raise _not_bytes(payload)
        if len(payload) > self._message_size_max:
            raise self._too_large(len(payload))

    def _too_large(self, size: int) -> ValueError:
        return ValueError(f"a payload of {size} bytes is above Config.message_size_max ({self._message_size_max})")

    def unblock(self, ring_id: RingId, now: float) -> None:
        """All recovery messages of this round were submitted. Nothing happens if the round is over.

        If the process stood still until ``now``, that was in its recovery. The unblock is sent by a turn.
        """
        self._membership.unblock(ring_id, now)

    def leave(self, now: float, *, drain: bool = True) -> None:
        """Leave: from now on no message is accepted. The turns that follow wait until what was sent is at every member,
        at most ``leave_timeout_s`` from ``now``, and tell the ring.

        With ``drain`` what was accepted is sent first, within the same bound; without, it is dropped. A
        processor leaves once: a second call does nothing, also with another ``drain``.
        """
        self._membership.note_leave(now, drain)

    def take_events(self, limit: int) -> list[Event]:
        """At most ``limit`` events, oldest first. What was held back because they waited is delivered by a turn."""
        events = self._context.delivery.take(limit)
        if events:
            self._membership.note_taken()
        return events

    # How it is

    @property
    def rotation_s(self) -> float:
        """A smoothed rotation of the token with its rests, in seconds; 0.0 on a ring of one, where it says nothing."""
        ring = self._membership.ring
        return ring.rotation_s if len(ring.members) > 1 else 0.0

    @property
    def consumer_deadline(self) -> float:
        """When this processor leaves because its application takes no events; ``math.inf`` while it need not."""
        return self._context.timers.deadline(Timer.SLOW_CONSUMER)

    @property
    def next_timeout(self) -> float:
        """When a turn is due, in seconds on the caller's clock; ``math.inf`` for never. It is that of the last
        :class:`Ready`: only a turn changes it."""
        return self._context.timers.first()

    @property
    def state(self) -> str:
        """gather, commit, recovery, operational or left."""
        return self._membership.state.value

    @property
    def left(self) -> bool:
        """Whether it is out of the ring, for ever."""
        return self._membership.state is _LEFT

    @property
    def leaving(self) -> bool:
        """Whether it takes no more messages: it leaves, or is out."""
        return self._context.leaving or self.left

    @property
    def failure(self) -> RingError | None:
        """Why it is out of the ring; ``None`` if it left as it was asked to."""
        return self._membership.failure

    @property
    def configuration(self) -> RegularConfiguration:
        """The last regular configuration in the stream."""
        return self._context.delivery.configuration

    @property
    def waiting_for(self) -> frozenset[int]:
        """The members of the configuration that have not unblocked."""
        return self._context.barrier.waiting_for

    @property
    def complete(self) -> bool:
        """Whether the barrier of the configuration is complete."""
        return self._context.barrier.complete

    @property
    def ring_sequence(self) -> int:
        """The highest ring sequence known: what stable storage keeps."""
        return self._context.ring_sequence

    def statistics(self) -> dict[str, int | float]:
        """Counters (they only rise) and gauges."""
        context = self._context
        ring = self._membership.ring
        values: dict[str, int | float] = dict(context.counters.values)
        for name, count in (
            ("rotations", ring.rotations),
            ("packets_sent", ring.sent),
            ("retransmissions", ring.retransmitted),
        ):
            values[name] = values.get(name, 0) + count
        values["messages_delivered"] = context.delivery.messages
        values["messages_unreadable"] = context.delivery.reassembler.dropped
        values["rotation_s"] = ring.rotation_s
        values["token_patience_s"] = self._membership.token_patience_s()
        values["events_waiting"] = context.delivery.pending
        values["events_waiting_bytes"] = context.delivery.bytes
        values["packets_held"] = context.delivery.held
        values["window_packets"] = ring.window.high - ring.window.released
        for priority in Priority:
            queue = context.outbox.queues[priority]
            values[f"queue_{priority.name.lower()}"] = len(queue)
            values[f"queue_{priority.name.lower()}_bytes"] = queue.bytes
        return values


def _not_bytes(payload: object) -> TypeError:
    kind = type(payload).__name__
    if isinstance(payload, bytes):
        kind = f"the subclass {kind}"
    return TypeError(f"a payload must be bytes, not {kind}; convert it with bytes(...)")
