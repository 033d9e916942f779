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

    It has the fields of a named tuple, ``_fields``, ``_replace()`` and ``__match_args__``, but is no tuple.

    Args:
        payload: what was sent.
        sender: node id of the processor that sent it.
        priority: the send queue that it came from.
        guarantee: when it was delivered.
        ring_id: the ring it was sent on. In a transitional configuration that is the ring that just ended.
        seq: its place in that ring's order: strictly rising from message to message and the same at every member.
    """

    __slots__ = ("guarantee", "payload", "priority", "ring_id", "sender", "seq")
    __match_args__ = ("payload", "sender", "priority", "guarantee", "ring_id", "seq")
    _fields = __match_args__

    def __init__(
        self, payload: bytes, sender: int, priority: Priority, guarantee: Guarantee, ring_id: RingId, seq: int
    ) -> None:
        self.payload = payload
        self.sender = sender
        self.priority = priority
        self.guarantee = guarantee
        self.ring_id = ring_id
        self.seq = seq

    def _replace(self, **changes: Any) -> Message:
        """The same message with some fields changed."""
        return Message(**{**{name: getattr(self, name) for name in self._fields}, **changes})

    def _values(self) -> tuple[Any, ...]:
        return (self.payload, self.sender, self.priority, self.guarantee, self.ring_id, self.seq)

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Message) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        values = zip(self._fields, self._values(), strict=True)
        return f"Message({', '.join([f'{name}={value!r}' for name, value in values])})"

    def __reduce__(self) -> tuple[type[Message], tuple[Any, ...]]:
        return Message, self._values()


def new_message(
    payload: bytes, sender: int, priority: Priority, guarantee: Guarantee, ring_id: RingId, seq: int
) -> Message:
    """As ``Message(...)``, which costs as much as all else that is done to deliver one."""
    message = Message.__new__(Message)
    message.payload = payload
    message.sender = sender
    message.priority = priority
    message.guarantee = guarantee
    message.ring_id = ring_id
    message.seq = seq
    return message
