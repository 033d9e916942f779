"""Datagrams that nobody honest sends, with a checksum that is right.

What a network damages is nearly always found out by the checksum, so everything behind it would never be tried. A
forged datagram is a real one with one thing changed so that every receiver has to refuse it: an unknown version, kind,
suite or flag, a sender 0 or the receiver's own id, counts and numbers out of all bounds, a body cut short or
lengthened, a ring that nobody has. It never says anything that could be true. A protocol against crashes need not
withstand lies, and a simulator that told some would blame it wrongly.
"""

from __future__ import annotations

import random as random_module
import struct
from collections.abc import Callable

from ringproto.testing.simulator.wire_reader import (
    ACKNOWLEDGEMENT,
    BEACON,
    CHALLENGE,
    COMMIT,
    DATA,
    JOIN,
    LEAVE,
    REFUSE,
    RESPONSE,
    TOKEN,
    WAKE,
    sealed,
)

__all__ = ["forge"]

_EXTREMES = (2**63, 2**63 + 1, 2**64 - 1)


def _put(datagram: bytes, at: int, form: str, number: int) -> bytes:
    """The datagram with a number written over its bytes at one place."""
    packed = struct.pack(form, number)
    return datagram[:at] + packed + datagram[at + len(packed) :]


def _version(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    return _put(datagram, 0, ">B", random.choice((0, 2, 255)))


def _kind(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    return _put(datagram, 1, ">B", random.choice((0, 12, 128, 255)))


def _suite(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    return _put(datagram, 2, ">B", random.randint(1, 255))


def _flags(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    if datagram[1] in (TOKEN, COMMIT):  # there the flags are the number of a copy, and may be anything
        return _suite(random, datagram, receiver)
    return _put(datagram, 3, ">B", random.randint(4, 255))


def _cluster(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    return _put(datagram, 4, ">B", datagram[4] ^ random.randint(1, 255))


def _sender(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    return _put(datagram, 12, ">I", 0)


def _short(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    """One byte less: no body has room for that. (More could make a data packet of fewer messages.)"""
    return datagram[:-1]


def _long(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    """One byte more: a chunk head needs three."""
    return datagram + b"\0"


def _header_only(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    return datagram[: 20 + random.randint(0, 8)]


ENVELOPE: tuple[Callable[[random_module.Random, bytes, int], bytes], ...] = (
    _version,
    _kind,
    _suite,
    _flags,
    _cluster,
    _sender,
    _short,
    _long,
    _header_only,
)
"""What can be wrong with every kind of datagram."""

_PLACES: dict[int, tuple[tuple[int, str, tuple[int, ...]], ...]] = {
    # (place, form, numbers of which none can be right)
    DATA: (
        (36, ">Q", (0, *_EXTREMES)),  # packet number
        (44, ">Q", _EXTREMES),  # message number
    ),
    TOKEN: (
        (40, ">Q", _EXTREMES),  # token_seq
        (48, ">Q", _EXTREMES),  # seq
        (56, ">Q", _EXTREMES),  # message_seq
        (64, ">Q", (2**62, *_EXTREMES)),  # aru, above seq
        (84, ">B", (3, 255)),  # phase
        (86, ">H", (2**15, 2**16 - 1)),  # requests
    ),
    JOIN: (
        (44, ">Q", (2**63 - 1, *_EXTREMES)),  # ring sequence
        (52, ">H", (2**15, 2**16 - 1)),  # processors
        (54, ">H", (2**15, 2**16 - 1)),  # of these given up
        (56, ">I", (0,)),  # the first processor
    ),
    BEACON: (
        (72, ">H", (2**15, 2**16 - 1)),  # members
        (74, ">H", (2**15, 2**16 - 1)),  # heard
        (76, ">H", (2**15, 2**16 - 1)),  # put off
    ),
    COMMIT: (
        (40, ">I", (2**31, 2**32 - 1)),  # hop
        (44, ">H", (0, 2**15, 2**16 - 1)),  # members
        (46, ">H", (2**15, 2**16 - 1)),  # first entry
        (48, ">H", (0, 2**15, 2**16 - 1)),  # entries
        (62, ">B", (65, 255)),  # filled, of the first entry
    ),
}
"""Numbers in the bodies that no state of a ring permits."""


def _number(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    places = _PLACES.get(datagram[1])
    if places is None:
        return _flags(random, datagram, receiver)
    at, form, numbers = random.choice(places)
    if len(datagram) < at + struct.calcsize(form) + 4:
        return _flags(random, datagram, receiver)
    return _put(datagram, at, form, random.choice(numbers))


def _stranger(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    """Plausible, but of a ring or a life that there is not, or in the name of who receives it."""
    kind = datagram[1]
    if kind in (JOIN, BEACON):
        return _put(datagram, 12, ">I", receiver)
    if kind == LEAVE:
        return datagram[:16] + random.randbytes(8) + datagram[24:]
    if kind == REFUSE:
        return datagram[:20] + random.randbytes(8) + datagram[28:]
    if kind == WAKE:
        return datagram[:16] + random.randbytes(20) + datagram[36:]
    if kind == ACKNOWLEDGEMENT:
        return datagram[:20] + random.randbytes(20) + datagram[40:]
    if kind == CHALLENGE:
        return datagram[:20] + random.randbytes(8) + datagram[28:]
    if kind == RESPONSE:
        return datagram[:24] + random.randbytes(8) + datagram[32:]
    if kind == TOKEN:
        return _ahead(random, datagram)
    return _kind(random, datagram, receiver)


def _ahead(random: random_module.Random, datagram: bytes) -> bytes:
    """A token of this ring that is so far ahead that it cannot be the next one."""
    seq = int.from_bytes(datagram[48:56], "big") + random.choice((2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32))
    return _put(datagram, 48, ">Q", seq)


def forge(random: random_module.Random, datagram: bytes, receiver: int) -> bytes:
    """Something that resembles ``datagram`` and that ``receiver`` must refuse, with its checksum right."""
    way = random.randrange(3)
    if way == 0:
        forged = random.choice(ENVELOPE)(random, datagram, receiver)
    elif way == 1:
        forged = _number(random, datagram, receiver)
    else:
        forged = _stranger(random, datagram, receiver)
    return sealed(forged)
