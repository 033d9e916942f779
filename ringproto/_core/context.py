"""The context of a processor: what its parts share, and what outlives the states that it goes through.

It has the settings, the present time, the timers, what is to be sent, the counters and notices, the log of the audit,
and the way of messages from the application and to it. It decides nothing.
"""

from __future__ import annotations

from typing import Any

from ringproto._core.barrier import Barrier
from ringproto._core.counters import Counters
from ringproto._core.entropy import Entropy
from ringproto._core.notices import Notices
from ringproto._core.packets.delivery import Delivery
from ringproto._core.packets.packing import Outbox
from ringproto._core.timers import Timers
from ringproto._core.wire.membership import Acknowledgement, MembershipCodec
from ringproto._core.wire.regular import Codec
from ringproto.config import Config
from ringproto.events import RegularConfiguration
from ringproto.types import RingId


class Context:
    """What all parts of one processor use.

    Args:
        node: its id.
        config: as :meth:`Config.fitted` returns it.
        datagram_size: the largest datagram, in bytes.
        entropy: where its random numbers come from.
        now: seconds on the caller's clock.
        ring_sequence: the highest one that stable storage kept.
        audit: the log, if there is to be one.
        origin: packets, messages and rotations of each ring are counted from here.
    """

    __slots__ = (
        "audit",
        "barrier",
        "codec",
        "config",
        "counters",
        "datagram_size",
        "delivery",
        "drains",
        "entropy",
        "incarnation",
        "leaving",
        "membership_codec",
        "node",
        "notices",
        "now",
        "origin",
        "outbox",
        "requests_max",
        "ring_sequence",
        "timers",
        "transmits",
    )

    def __init__(
        self,
        node: int,
        config: Config,
        datagram_size: int,
        entropy: Entropy,
        now: float,
        ring_sequence: int,
        audit: list[tuple[Any, ...]] | None,
        origin: int = 0,
    ) -> None:
        self.node = node
        self.config = config
        self.datagram_size = datagram_size
        self.entropy = entropy
        self.now = now
        self.audit = audit
        self.origin = origin
        self.requests_max = min(config.retransmits_max, (datagram_size - 128) // 8)
        """Most retransmission requests in a token."""
        self.incarnation = entropy.next()
        """The number of this life of the processor."""
        self.ring_sequence = ring_sequence + 1
        """The highest ring sequence known."""
        self.codec = Codec(config.cluster_hash, node)
        self.membership_codec = MembershipCodec(self.codec)
        self.counters = Counters()
        self.notices = Notices()
        self.timers = Timers()
        self.transmits: list[tuple[int, bytes]] = []
        """What is to be sent: (node id, datagram), node id 0 for all others."""
        self.leaving = False
        """Whether the application has asked to leave."""
        self.drains = False
        """Whether it leaves only when what was accepted is sent."""
        self.record("START", node, self.incarnation)
        # EVS: the first configuration of a processor is itself alone (M6).
        first = RingId(self.ring_sequence, node, entropy.next())
        configuration = RegularConfiguration(first, (node,), (node,), (), config.quorum <= 1)
        self.barrier = Barrier(configuration)
        self.outbox = Outbox(config, self.barrier)
        self.delivery = Delivery(config, configuration, self.barrier, audit)

    def record(self, *record: Any) -> None:
        """A line of the log."""
        if self.audit is not None:
            self.audit.append(record)

    def transmit(self, destination: int, datagram: bytes, count: str) -> None:
        """Send this to a processor, or to all others if ``destination`` is 0, and count it under this name."""
        self.transmits.append((destination, datagram))
        self.counters.add(count)

    def acknowledge(self, destination: int, ring: bytes, what: int, copy: int, number: int) -> None:
        """Tell the predecessor that a token or commit token is here."""
        acknowledgement = Acknowledgement(destination, ring, what, copy, number)
        datagram = self.membership_codec.encode_acknowledgement(acknowledgement)
        self.transmit(destination, datagram, "acknowledgements_sent")

    def is_busy(self) -> bool:
        """Whether members are recovering: who cannot receive would come back before they have ended, and be left out
        again, each time."""
        configuration = self.delivery.configuration
        return configuration.primary and not self.barrier.complete and len(configuration.members) > 1

    def is_drained(self) -> bool:
        """Whether nothing that was accepted has to be sent before this processor leaves."""
        return not (self.drains and (any(map(len, self.outbox.queues)) or self.barrier.unblock_due))
