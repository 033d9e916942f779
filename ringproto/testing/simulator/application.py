"""The simulated application of one processor: what it sends, how it recovers, how it reads its events.

Every payload begins with ``node.life.counter|``, so that no two messages of a run are equal and the judge can tell
them apart; what follows is filler that depends on the counter, so that a message put together from fragments of two
others is noticed. For each regular configuration that it reads, the application sends some recovery messages and then
unblocks, at once, late or never, as :class:`Habits` say. It may also raise in the middle of that, and it may answer
messages from the place where it reads them. It keeps count of what it sent and got, so that the cluster
can tell when all is delivered without looking into the processor.
"""

from __future__ import annotations

import dataclasses
import random as random_module
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ringproto.errors import RingError
from ringproto.events import Event, Message, RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.types import Guarantee, Priority, RingId

if TYPE_CHECKING:
    from ringproto.testing.simulator.host import Host

__all__ = ["Application", "Habits", "SimulationError"]


class SimulationError(AssertionError):
    """The processor broke a rule of its face, for example by wanting to be woken again and again at one time."""


ANSWER = b"answer"
FILLER = random_module.Random(1995).randbytes(1 << 16)


@dataclasses.dataclass(kw_only=True, slots=True)
class Habits:
    """How an application behaves; the default does what is right, at once. Sizes are in bytes."""

    recovery_messages_max: int = 0
    """In each configuration it sends from none to so many recovery messages."""
    recovery_size_max: int = 2000
    late_unblock: float = 0.0
    """How probable it is that it unblocks late, by up to ``late_unblock_s``."""
    late_unblock_s: float = 0.1
    stands_still_s: float = 0.0
    """In each recovery its process does nothing else for so long before it unblocks, as one that encodes a large
    state."""
    hold: bool = False
    """It does not unblock until it is released (``Cluster.release``)."""
    raises: float = 0.0
    """How probable it is that its recovery function raises: the processor leaves without draining its queues."""
    flood: int = 0
    """So many small recovery messages it sends in its next configuration with others, once."""
    reads_first: int = 256
    """It takes at most so many events when it begins to read, and then all that are there."""
    replies: float = 0.0
    """How probable it is that it answers a message while it reads it. Answers are not answered."""


class Application:
    """What runs on one incarnation of a processor."""

    __slots__ = (
        "accepted",
        "asked",
        "completed",
        "configuration",
        "counter",
        "delivered",
        "events",
        "failed",
        "held",
        "host",
        "last_seq",
        "life",
        "pending",
        "random",
        "recovery_accepted",
        "recovery_returned",
        "refused",
        "returned",
        "transitional",
        "unreturned_bytes",
    )

    def __init__(self, host: Host, random: random_module.Random, life: int) -> None:
        self.host = host
        self.random = random
        self.life = life
        self.counter = 0
        self.accepted = 0
        """HIGH and LOW messages that the processor took."""
        self.returned = 0
        """Of these, how many came back in the order."""
        self.unreturned_bytes = 0
        """The length of the payloads of those that did not come back yet."""
        self.recovery_accepted = 0
        """RECOVERY messages that the processor took in this round."""
        self.recovery_returned = 0
        """Of these, how many came back in the order."""
        self.refused = 0
        """Submissions for which the queue was full."""
        self.delivered = 0
        """Messages of any processor."""
        self.last_seq = 0
        """The place of the last message in the order of the last configuration."""
        self.failed = False
        """Whether its recovery function raised. Nothing it reads moves it any more."""
        self.asked: set[RingId] = set()
        """The rounds in which it unblocked."""
        self.configuration: RegularConfiguration | None = None
        self.completed: RingId | None = None
        self.events: list[Event] = []
        """All that it was given. The judge holds them against what the processor says that it delivered."""
        self.pending: deque[tuple[bytes, Guarantee]] = deque()
        """Recovery messages of this round that are not accepted yet."""
        self.held: RingId | None = None
        """The round in which it still has to unblock."""
        self.transitional = False
        """Whether it has read a transitional configuration and not yet the regular one after it."""

    def payload(self, size: int) -> bytes:
        """A new payload of about ``size`` bytes, or as long as a message may be, unlike every other of the run."""
        size = min(size, self.host.config.message_size_max)
        self.counter += 1
        head = b"%d.%d.%d|" % (self.host.node, self.life, self.counter)
        missing = size - len(head)
        if missing <= 0:
            return head
        start = self.counter * 7919 % 60_000
        if missing <= 5000:
            return head + FILLER[start : start + missing]
        whole = FILLER[start:] + FILLER * (missing // len(FILLER) + 1)
        return head + whole[:missing]

    def submit(self, payload: bytes, priority: Priority, guarantee: Guarantee) -> bool:
        """Hand a message to the processor; False when its queue is full."""
        processor = self.host.processor
        accepted = processor is not None and processor.submit(payload, priority, guarantee)
        if accepted:
            self.accepted += 1
            self.unreturned_bytes += len(payload)
        else:
            self.refused += 1
        return accepted

    def outstanding(self) -> tuple[int, int]:
        """How many messages it has still to be given of its own, or to send before it unblocks, and about how many
        bytes these have."""
        recovering = self.recovery_accepted - self.recovery_returned + len(self.pending)
        # The sizes of those that the processor took already are not kept.
        most = self.host.habits.recovery_size_max if recovering else 0
        return self.accepted - self.returned + recovering, self.unreturned_bytes + recovering * most

    # Events

    def take(self, events: Sequence[Event]) -> None:
        """Read what the processor has to say, in order."""
        self.events.extend(events)
        for event in events:
            if isinstance(event, Message):
                self.delivered += 1
                self.last_seq = event.seq
                self._check_settled(event)
                if event.sender == self.host.node:
                    if event.priority is Priority.RECOVERY:
                        self.recovery_returned += 1
                    else:
                        self.returned += 1
                        self.unreturned_bytes -= len(event.payload)
                elif self.host.habits.replies:
                    self._reply(event)
            elif isinstance(event, RegularConfiguration):
                before = self.configuration
                self.host.end_round(unblocked=before is not None and before.ring_id in self.asked)
                self.configuration = event
                self.last_seq = 0
                self.transitional = False
                self._recover(event)
            elif isinstance(event, TransitionalConfiguration):
                self.transitional = True
            elif isinstance(event, RecoveryComplete):
                if self.held == event.ring_id:
                    raise SimulationError(
                        f"the barrier of {event.ring_id} is complete, and node {self.host.node} has not unblocked in it"
                    )
                self.completed = event.ring_id

    def _check_settled(self, message: Message) -> None:
        """Hold ``settled`` against the stream up to the message: the events alone say what it has to be."""
        configuration = self.configuration
        regular = configuration is not None and not self.transitional and self.completed == configuration.ring_id
        right = regular and message.guarantee is Guarantee.SAFE and message.priority is not Priority.RECOVERY
        if message.settled is not right:
            raise SimulationError(
                f"node {self.host.node} was given a message with settled={message.settled} where the stream says "
                f"{right}: {message}"
            )

    def _reply(self, message: Message) -> None:
        if ANSWER in message.payload[:64] or self.random.random() >= self.host.habits.replies:
            return
        try:
            self.submit(self.payload(0) + ANSWER, Priority.HIGH, Guarantee.AGREED)
        except RingError:
            return  # it is leaving
        self.host.note("sent while reading")

    def _recover(self, configuration: RegularConfiguration) -> None:
        habits = self.host.habits
        random = self.random
        if self.failed:
            return
        if habits.raises and random.random() < habits.raises:
            self.failed = True
            self.pending.clear()
            self.held = None
            self.host.fail()
            return
        self.pending.clear()
        self.recovery_accepted = self.recovery_returned = 0
        self.held = configuration.ring_id
        if habits.recovery_messages_max:
            for _ in range(random.randint(0, habits.recovery_messages_max)):
                payload = self.payload(int(habits.recovery_size_max * random.random() ** 3))
                self.pending.append((payload, Guarantee.SAFE if random.random() < 0.3 else Guarantee.AGREED))
        if habits.flood and len(configuration.members) > 1:
            self.host.note("flood of recovery messages")
            self.pending.extend((self.payload(0), Guarantee.AGREED) for _ in range(habits.flood))
            habits.flood = 0
        if habits.hold:
            return
        if habits.stands_still_s:
            self.host.pause(habits.stands_still_s)
            self.host.later(habits.stands_still_s, self._late_unblock, configuration.ring_id)
            return
        if habits.late_unblock and random.random() < habits.late_unblock:
            late_s = habits.late_unblock_s * random.random()
            self.host.later(late_s, self._late_unblock, configuration.ring_id)
            return
        self.unblock()

    def _late_unblock(self, ring_id: RingId, _: object) -> None:
        if self.held == ring_id and self.host.application is self:
            self.unblock()
            self.host.flush()

    def unblock(self) -> None:
        """Send what is left of the recovery messages, and then unblock; goes on at the next step if a queue is full."""
        processor = self.host.processor
        if processor is None or self.held is None or self.configuration is None:
            return
        pending = self.pending
        try:
            while pending:
                payload, guarantee = pending[0]
                if not processor.submit_recovery(self.held, payload, guarantee):
                    self.host.impatient = True
                    return
                pending.popleft()
                self.recovery_accepted += 1
        except RingError:
            pending.clear()  # the round is over, although its end was not read yet
        else:
            if self.held == processor.configuration.ring_id:
                self.asked.add(self.held)
            # Otherwise that round is over, too, and this does nothing.
            processor.unblock(self.held, self.host.local_now())
        self.held = None
