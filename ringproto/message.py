"""A message of the ordered stream. The other events are in ``events.py``.

One is made for every message at every member, so it is compiled, holds numbers of C and is nothing that the garbage
collector has to look at: as a named tuple, which the other events are, it took seven times as long to make.
"""

from __future__ import annotations

from typing import Any

import cython

from ringproto.types import Guarantee, Priority, RingId

__all__ = ["Message"]


@cython.final
@cython.no_gc
@cython.cclass
class Message:
    """A message at its place in the total order. Nobody changes one that is made.

    It has the fields of a named tuple, ``_fields``, ``_replace()`` and ``__match_args__``, but is no tuple. ``settled``
    is none of these fields: two messages are equal, and have one hash, whether they are settled or not, because one
    message may be settled at one member and not at another. Its text and its copies, pickled ones too, have it.

    Args:
        payload: what was sent.
        sender: node id of the processor that sent it.
        priority: the send queue that it came from.
        guarantee: what it was sent with.
        ring_id: the ring it was sent on. In a transitional configuration that is the ring that just ended.
        seq: its place in that ring's order: strictly rising from message to message and the same at every member.
        settled: whether a write that it carries may be acknowledged, if the quorum is more than half of all processors;
            with a quorum of at most half it says nothing across partitions, because both sides go on and the merge
            loses one of them. It is true for a ``SAFE`` message of ``HIGH`` or ``LOW`` that is delivered in a regular
            configuration after its ``RecoveryComplete``. Every member of that configuration has then received it, and
            every member that does not crash delivers it before its next regular configuration or, if it leaves, before
            its stream ends. It is false for every ``AGREED`` or ``RECOVERY`` message, and for every message after a
            transitional configuration: what becomes of those is undecided until the next ``RecoveryComplete``. A
            message that was received is not yet applied and not yet on a disk: see ``docs/acknowledging.md``.
    """

    __slots__ = ("guarantee", "payload", "priority", "ring_id", "sender", "seq", "settled")
    __match_args__ = ("payload", "sender", "priority", "guarantee", "ring_id", "seq")
    _fields = __match_args__

    def __init__(
        self,
        payload: bytes,
        sender: int,
        priority: Priority,
        guarantee: Guarantee,
        ring_id: RingId,
        seq: int,
        settled: bool = False,
    ) -> None:
        self.payload = payload
        self.sender = sender
        self.priority = priority
        self.guarantee = guarantee
        self.ring_id = ring_id
        self.seq = seq
        self.settled = settled

    def _replace(self, **changes: Any) -> Message:
        """The same message with some fields changed; ``settled`` may be among them, and stays as it is if it is not."""
        return Message(**{name: getattr(self, name) for name in (*self._fields, "settled")} | changes)

    def _values(self) -> tuple[Any, ...]:
        return (self.payload, self.sender, self.priority, self.guarantee, self.ring_id, self.seq)

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Message) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        values = zip(self._fields, self._values(), strict=True)
        return f"Message({', '.join([f'{name}={value!r}' for name, value in values])}, settled={self.settled})"

    def __reduce__(self) -> tuple[type[Message], tuple[Any, ...]]:
        return Message, (*self._values(), self.settled)


def new_message(
    payload: bytes, sender: int, priority: Priority, guarantee: Guarantee, ring_id: RingId, seq: int, settled: bool
) -> Message:
    """As ``Message(...)``, which costs as much as all else that is done to deliver one."""
    message = Message.__new__(Message)
    message.payload = payload
    message.sender = sender
    message.priority = priority
    message.guarantee = guarantee
    message.ring_id = ring_id
    message.seq = seq
    message.settled = settled
    return message
