"""What a processor begins with."""

from __future__ import annotations

from typing import Any, NamedTuple

from ringproto._core.entropy import Entropy
from ringproto.config import Config


class Context(NamedTuple):
    """What is known before the first datagram, for all the modules of a processor."""

    node: int
    config: Config
    """As :meth:`Config.fitted` returns it."""
    datagram_size: int
    """The largest datagram, in bytes."""
    entropy: Entropy
    now: float
    ring_sequence: int
    """The highest one that stable storage kept."""
    audit: list[tuple[Any, ...]] | None
    """The log, if there is to be one."""
    origin: int = 0
    """Packets, messages and rotations of each ring are counted from here."""
