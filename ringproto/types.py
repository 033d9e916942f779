"""The nouns of the papers that every floor of the house shares.

Totem names a ring by a sequence number and the representative that formed it (Amir et al., ACM TOCS 13(4), 1995,
section 4). A representative that restarts without its storage could give one name twice; 64 random bits drawn at
each formation make that impossible in practice, so here a ring id has three parts.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = ["NODE_MAX", "Guarantee", "Priority", "RingId"]

NODE_MAX = 2**32 - 1
"""The largest node id. Ids run from 1; 0 is never a processor (on the wire it means «nobody» or «everybody»)."""


class RingId(NamedTuple):
    """The name of one ring, that is of one regular configuration.

    Ids compare by ``sequence`` first, so the ids that one processor installs rise strictly.
    """

    sequence: int
    """Rises with every formation (64 bits)."""
    representative: int
    """Node id of the member that formed the ring."""
    nonce: int
    """64 random bits drawn by the representative for this formation."""

    def __str__(self) -> str:
        return f"{self.sequence}.{self.representative}.{self.nonce:016x}"


class Priority(enum.IntEnum):
    """The three send queues of a processor; a lower number goes first."""

    RECOVERY = 0
    """State sent while the barrier is down; only from ``recover``."""
    HIGH = 1
    LOW = 2


class Guarantee(enum.IntEnum):
    """When a message may be delivered (Totem, section 2)."""

    AGREED = 0
    """In the total order, when everything before it was delivered. Its sender may be the only one that is ever given
    it, in a configuration that the others have left already."""
    SAFE = 1
    """In a regular configuration moreover not before every member has received it. What is left when the configuration
    ends is delivered after the transitional configuration, to the members of that, of which there may be one:
    ``Message.settled`` tells the two apart, and ``docs/acknowledging.md`` says when a write may be acknowledged."""
