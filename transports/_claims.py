"""What the first bytes of a datagram say of its sender, so that a transport can name who does not fit.

A transport carries bytes and need not know what they are. When a datagram comes from where none should, though, an
operator wants to know whose it claims to be, and that stands at fixed places at the front of every datagram of a ring
(docs/wire.md, the envelope), also of one that is cut into segments. It is a claim: nothing here is authenticated, and
nothing but messages, counters and look-ups of names may come of it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ringproto.transports._segments import HEADER_SIZE as SEGMENT_HEADER_SIZE
from ringproto.transports._segments import MARK

__all__ = ["HEAD_SIZE", "Claim", "claim_of"]

_ENVELOPE = struct.Struct("!BBBBQI")
_VERSION = 1
_DATA = 1
_TYPES = range(1, 12)

HEAD_SIZE = SEGMENT_HEADER_SIZE + _ENVELOPE.size
"""How many bytes of a datagram are looked at."""


class Claim(NamedTuple):
    """Whose a datagram says it is."""

    node: int
    """Node id, 1 or more."""
    cluster: int
    """The number that stands for the name of the cluster."""
    is_sender: bool
    """Whether ``node`` is who sent it; a packet (DATA) names who originated it, whoever sends it again."""


def claim_of(head: bytes) -> Claim | None:
    """The claim of a datagram that begins with ``head``; ``None`` if it makes none that can be read.

    ``head`` may be longer than :data:`HEAD_SIZE`. A segment other than the first of its datagram makes no claim.
    """
    if head[:1] == bytes([MARK]):
        if head[1:2] != b"\0":
            return None
        head = head[SEGMENT_HEADER_SIZE:]
    if len(head) < _ENVELOPE.size:
        return None
    version, kind, _, _, cluster, node = _ENVELOPE.unpack_from(head)
    if version != _VERSION or kind not in _TYPES or node == 0:
        return None
    return Claim(node, cluster, kind != _DATA)
