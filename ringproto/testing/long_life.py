"""A long life in a short time: the token of a ring goes on with a number as if it had gone round for years.

Ten million idle rotations teach a simulator nothing but the number at their end. A token is told from older ones by
that number alone, so a single token that is numbered higher on its way ages the whole ring: each member takes it for
the next one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ringproto.testing.datagrams import TOKEN, intact, sealed

if TYPE_CHECKING:
    from ringproto.testing.cluster import Cluster

__all__ = ["AGES", "HOPS_MAX", "age", "hops_of"]

HOPS_MAX = 2**63 - 1
"""The last number that a token may have (docs/wire.md)."""
AGES = (10**7, 2**31 - 20, 2**32 - 20, HOPS_MAX - 200, HOPS_MAX - 3)
"""Numbers at which something could happen: each is soon passed, and the last ones are the end of a ring."""

_number = struct.Struct(">Q")
_AT = 40
"""Where a token has its number."""


def hops_of(token: bytes) -> int:
    """The number of a token."""
    return int(_number.unpack_from(token, _AT)[0])


def age(cluster: Cluster, hops: int) -> None:
    """The next token that is sent, of whichever ring, has the number ``hops`` unless its own is higher.

    It takes the place of ``cluster.filter`` until then, and puts back what was there. Not for a network on which a
    token is so late that it is sent again: of one token that is there with two numbers, members make two.

    Raises:
        ValueError: a token cannot have this number.
    """
    if not 0 < hops <= HOPS_MAX:
        raise ValueError(f"a token's number is from 1 to {HOPS_MAX}, not {hops}")
    before = cluster.filter

    def renumber(time: float, source: int, destination: int, datagram: bytes) -> bool | bytes:
        kept: bool | bytes = True if before is None else before(time, source, destination, datagram)
        if kept is False:
            return False
        token = datagram if kept is True else kept
        assert isinstance(token, bytes)
        if token[1:2] != bytes((TOKEN,)) or not intact(token):
            return kept
        cluster.filter = before
        if hops_of(token) >= hops:
            return kept
        cluster.note("token numbered as after a long life")
        return sealed(token[:_AT] + _number.pack(hops) + token[_AT + _number.size :])

    cluster.filter = renumber
