"""The ordered stream: everything a processor tells its application, in one sequence.

Messages, changes of configuration and the completion of the barrier have one place each in one order (Moser et al.,
Extended Virtual Synchrony, ICDCS 1994). An application that read them from separate channels could not know what came
first.
"""

from __future__ import annotations

from typing import NamedTuple, Union

from ringproto.message import Message
from ringproto.types import RingId

__all__ = ["Event", "Message", "RecoveryComplete", "RegularConfiguration", "TransitionalConfiguration"]


class TransitionalConfiguration(NamedTuple):
    """The members of the last regular configuration that go on together to the next one.

    Messages that follow it, up to the next :class:`RegularConfiguration`, were sent in the configuration that ends
    and could not be delivered there with its guarantees (EVS, section 2). None of them is ``settled``: whether they
    happened is undecided until the next :class:`RecoveryComplete`.
    """

    ring_id: RingId
    """The ring that it ends."""
    members: tuple[int, ...]
    """Node ids, sorted."""


class RegularConfiguration(NamedTuple):
    """A new ring is installed. Until its :class:`RecoveryComplete` only ``RECOVERY`` messages are sent in it."""

    ring_id: RingId
    members: tuple[int, ...]
    """Node ids, sorted."""
    joined: tuple[int, ...]
    """Members that the regular configuration before it did not have, sorted."""
    left: tuple[int, ...]
    """Members of the regular configuration before it that this one does not have, sorted."""
    primary: bool
    """Whether it has ``Config.quorum`` members. If not, its barrier never completes."""


class RecoveryComplete(NamedTuple):
    """Every member of the configuration has unblocked: ``HIGH`` and ``LOW`` flow from here on."""

    ring_id: RingId
    seq: int
    """The place of the last unblock in the ring's order, the same at every member."""
    members: tuple[int, ...]


Event = Union[Message, TransitionalConfiguration, RegularConfiguration, RecoveryComplete]
