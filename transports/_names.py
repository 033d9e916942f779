"""Looking names up: all side by side, each for a bounded time, and a name that is not there is an answer like others.

The system's resolver blocks, so trio runs it on a thread, and a look-up that is given up keeps its thread until the
resolver comes back. So only ``LOOKUPS_AT_ONCE`` run at a time, which is less than the number of threads that trio has
for a program.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

import trio

__all__ = ["FAMILIES", "LOOKUPS_AT_ONCE", "LOOKUP_S", "OPENING_S", "Answer", "is_name", "look_up", "look_up_all"]

FAMILIES: dict[int, str] = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}

LOOKUPS_AT_ONCE = 16
"""Most look-ups of one transport at a time; more wait for their turn."""
LOOKUP_S = 30.0
"""How long one look-up may take, in seconds. Resolvers usually give up within this time themselves."""
OPENING_S = 5.0
"""How long opening a transport waits for the names of others, in seconds."""


class Answer(NamedTuple):
    """What came of a look-up."""

    addresses: dict[int, list[tuple[Any, ...]]]
    """The addresses by their family, in the order of the resolver, as the ``socket`` module has them."""
    failure: str
    """Why there are none; empty if there are some."""
    error: Exception | None = None
    """What the resolver raised."""


def is_name(host: str) -> bool:
    """Whether it takes a resolver to find the address of ``host``, which is not so for an address in digits."""
    try:
        ipaddress.ip_address(host)
        return False
    except ValueError:
        pass
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)  # such as 127.1
    except (OSError, UnicodeError):
        return True
    return False


async def look_up(host: str, port: int, wait_s: float) -> Answer:
    """The addresses of a host, or why there are none. Whatever a resolver raises is such a reason.

    Cancellation: the resolver's thread may go on for a while.
    """
    found: dict[int, list[tuple[Any, ...]]] = {}
    with trio.move_on_after(wait_s) as scope:
        try:
            answers = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except Exception as exc:
            # A program may have a resolver of its own, trio.socket.set_custom_hostname_resolver, with its own faults.
            return Answer({}, _reason(exc), exc)
        for family, _, _, _, address in answers:
            if family in FAMILIES and address not in found.setdefault(int(family), []):
                found[int(family)].append(address)
    if scope.cancelled_caught:
        return Answer({}, f"no answer within {wait_s:g} s")
    return Answer(found, "" if found else "it has neither an IPv4 nor an IPv6 address")


async def look_up_all(hosts: Mapping[int, tuple[str, int]], needed: int) -> dict[int, Answer]:
    """Look up the (host, port) of all nodes side by side.

    That of ``needed`` gets ``LOOKUP_S``, and without an address of it the others are not waited for. All others
    together get ``OPENING_S``.
    """
    answers: dict[int, Answer] = {}
    limiter = trio.CapacityLimiter(LOOKUPS_AT_ONCE)
    deadline = trio.current_time() + OPENING_S

    async def one(node: int) -> None:
        host, port = hosts[node]
        answers[node] = Answer({}, f"no answer within {OPENING_S:g} s")
        if node == needed or not is_name(host):
            answers[node] = await look_up(host, port, LOOKUP_S)
            if node == needed and not answers[node].addresses:
                nursery.cancel_scope.cancel()
            return
        with trio.move_on_at(deadline):
            async with limiter:
                answers[node] = await look_up(host, port, LOOKUP_S)

    async with trio.open_nursery() as nursery:
        for node in hosts:
            nursery.start_soon(one, node)
    return answers


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
