"""Argument checks for all transports.

Each check raises before anything changes. Its error says what was wrong and what would be right.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ringproto.types import NODE_MAX

__all__ = ["YIELD_EVERY", "check_node", "check_seconds", "check_whole", "is_node", "refuse_transmit"]

YIELD_EVERY = 512
"""Number of datagrams sent without a wait after which a transport lets other tasks run."""


def is_node(value: Any) -> bool:
    """Return whether ``value`` is a valid node id."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= NODE_MAX


def check_node(value: Any, what: str = "node") -> int:
    """Return ``value`` if it is a valid node id.

    Raises:
        ValueError: it is not.
    """
    if not is_node(value):
        raise ValueError(f"{what} must be a node id, a whole number from 1 to {NODE_MAX}, not {value!r}")
    return int(value)


def check_whole(value: Any, what: str, least: int, greatest: int) -> int:
    """Return ``value`` if it is a whole number from ``least`` to ``greatest``.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= greatest:
        raise ValueError(f"{what} must be a whole number from {least} to {greatest}, not {value!r}")
    return value


def check_seconds(value: Any, what: str, least: float, greatest: float) -> float:
    """Return ``value`` as a float if it is a number of seconds from ``least`` to ``greatest``.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= greatest:
        raise ValueError(f"{what} must be seconds, from {least} to {greatest}, not {value!r}")
    return float(value)


def refuse_transmit(destination: Any, datagram: Any, size_max: int) -> NoReturn:
    """Raise for a (destination, datagram) pair that ``send`` does not take. Either of the two may be wrong.

    Raises:
        TypeError: the datagram is not ``bytes``.
        ValueError: the size of the datagram is wrong, or the destination is not valid.
    """
    if not isinstance(datagram, bytes):
        raise TypeError(f"a datagram must be bytes, not {type(datagram).__name__}")
    if not 1 <= len(datagram) <= size_max:
        raise ValueError(f"a datagram must have 1 to {size_max} bytes (datagram_size_max), not {len(datagram)}")
    raise ValueError(
        f"a destination must be 0 (every other processor) or a node id from 1 to {NODE_MAX}, not {destination!r}"
    )
