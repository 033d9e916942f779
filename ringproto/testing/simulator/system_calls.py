"""What the system calls of one host do when they do not do what they should.

A send may be refused (ENOBUFS, EPERM), a batch may be taken only in part (EAGAIN, and the rest is dropped), an
interface may be down, in which case nothing goes out and nothing comes in. The driver of a processor counts such an
error and drops the datagram; the core sees a loss. A host may also run another version of the protocol: nobody
understands what it says, and it understands nobody.
"""

from __future__ import annotations

import dataclasses
import random as random_module

from ringproto.testing.simulator.wire_reader import sealed

__all__ = ["SystemCalls"]


@dataclasses.dataclass(kw_only=True, slots=True)
class SystemCalls:
    """The state of the interface of one host. The default is a sound one."""

    refused: float = 0.0
    """How probable it is that a datagram is refused."""
    cut_short: float = 0.0
    """How probable it is that of a batch only a part is taken."""
    down: bool = False
    """Whether the interface is down."""
    version: int = 1
    """What it writes into the first byte of its datagrams, and expects there."""

    def sent(self, random: random_module.Random, transmits: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """What gets out of these."""
        taken = transmits
        if self.down:
            taken = []
        elif self.cut_short and len(transmits) > 1 and random.random() < self.cut_short:
            taken = transmits[: random.randint(0, len(transmits) - 1)]
        if self.refused and taken:
            taken = [transmit for transmit in taken if random.random() >= self.refused]
        if self.version != 1:
            taken = [(to, sealed(bytes([self.version]) + datagram[1:])) for to, datagram in taken]
        return taken

    def received(self, datagram: bytes) -> bytes | None:
        """What comes in of a datagram; ``None`` for nothing."""
        if self.down:
            return None
        if self.version != 1 and datagram:
            # To a processor of version 1, which is what runs here, the others are as strange as it is to them.
            other = 1 if datagram[0] == self.version else self.version
            return sealed(bytes([other]) + datagram[1:]) if len(datagram) >= 20 else datagram
        return datagram
