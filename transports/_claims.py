"""The claimed sender of a datagram, read from its first bytes, so that a transport can name a misconfigured processor.

A transport carries bytes and need not know their meaning. But if a datagram comes from an unexpected address, an
operator wants to know which node it claims to come from. The claim is at fixed offsets at the front of every datagram
of a ring (docs/wire.md, the envelope), and of every datagram that is cut into segments. It is only a claim: nothing
here is authenticated. A claim may cause only messages, counters and look-ups of names.
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
"""Number of bytes that are read from the front of a datagram."""


class Claim(NamedTuple):
    """The node that a datagram claims to come from."""

    node: int
    """Node id, 1 or more."""
    cluster: int
    """The number that identifies the name of the cluster."""
    is_sender: bool
    """Whether ``node`` sent the datagram. A packet (DATA) names its originator, also when another node sends it
    again."""


def claim_of(head: bytes) -> Claim | None:
    """Return the claim of a datagram that begins with ``head``, or ``None`` if it has no readable claim.

    ``head`` may be longer than :data:`HEAD_SIZE`. Only the first segment of a datagram has a claim.
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
