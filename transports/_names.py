"""Looking names up: all side by side, each for a bounded time, and a name that is not there is an answer like others.

The system's resolver blocks, so it runs on a thread, and a look-up that is given up leaves its thread behind until the
resolver comes back. So these threads are counted apart from those of the program's own calls of
``trio.to_thread.run_sync``, of which trio has 40 at a time: a transport has ``LOOKUPS_AT_ONCE``, those that were given
up included, and one more for the own name. A resolver that the program gave to trio
(``trio.socket.set_custom_hostname_resolver``) is asked in place of the system's.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import trio

from ringproto.transports._addresses import IPV4_SIZE, IPV6_SIZE, pack_address

__all__ = [
    "FAMILIES",
    "LOOKUPS_AT_ONCE",
    "LOOKUP_S",
    "OPENING_S",
    "Answer",
    "Limiters",
    "is_name",
    "look_up",
    "look_up_all",
    "may_move",
]

FAMILIES: dict[int, str] = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}

_PACKED = {socket.AF_INET: IPV4_SIZE, socket.AF_INET6: IPV6_SIZE}

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


def may_move(host: str) -> bool:
    """Whether ``host`` may lead to another address later: a name does, and so does a link-local address with the name
    of its interface (``fe80::1%eth0``), whose index is another one when the interface was taken out and put in again.
    """
    scope = host.partition("%")[2]
    return is_name(host) or (scope != "" and not scope.isdecimal())


async def look_up(host: str, port: int, wait_s: float, limiter: trio.CapacityLimiter) -> Answer:
    """The addresses of a host, or why there are none. Whatever a resolver raises is such a reason.

    Args:
        host, port: as a user gave them.
        wait_s: seconds that the look-up may take, once it has begun.
        limiter: whose tokens look-ups hold until they end, also those that were given up. Waiting for one takes as long
            as it takes.

    Cancellation: the resolver's thread may go on for a while.
    """
    found: dict[int, list[tuple[Any, ...]]] = {}
    with trio.CancelScope() as scope:
        try:
            answers = await _ask(host, port, _Turn(limiter, scope, wait_s))
        except Exception as exc:
            # A program may have a resolver of its own, trio.socket.set_custom_hostname_resolver, with its own faults.
            return Answer({}, _reason(exc), exc)
        try:
            found = _sorted(answers)
        except Exception as exc:
            return Answer({}, f"what the resolver says cannot be read: {_reason(exc)}", exc)
    if scope.cancelled_caught:
        return Answer({}, f"no answer within {wait_s:g} s")
    return Answer(found, "" if found else "it has neither an IPv4 nor an IPv6 address")


def _sorted(answers: list[Any]) -> dict[int, list[tuple[Any, ...]]]:
    """The addresses by their family. Raises whatever comes of answers that are not those of ``socket.getaddrinfo``."""
    found: dict[int, list[tuple[Any, ...]]] = {}
    for family, _, _, _, given in answers:
        if family in FAMILIES:
            address = _without_needless_scope(given)
            if len(pack_address(address)) != _PACKED[family]:
                raise ValueError(f"{given!r} is no {FAMILIES[family]} address")
            if address not in found.setdefault(int(family), []):
                found[int(family)].append(address)
    return found


def _without_needless_scope(address: tuple[Any, ...]) -> tuple[Any, ...]:
    """Only link-local addresses have a scope where datagrams come in, so the others must have none here."""
    if len(address) != 4 or ipaddress.ip_address(str(address[0]).partition("%")[0]).is_link_local:
        return address
    return str(address[0]).partition("%")[0], address[1], address[2], 0


class _Turn:
    """The limiter of one look-up, whose time begins when it has its token.

    The token is given back by whoever trio says has it: the thread, which may end after its look-up was given up.
    """

    def __init__(self, limiter: trio.CapacityLimiter, scope: trio.CancelScope, wait_s: float) -> None:
        self._limiter = limiter
        self._scope = scope
        self._wait_s = wait_s

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await self._limiter.acquire_on_behalf_of(borrower)
        self._scope.deadline = trio.current_time() + self._wait_s

    def release_on_behalf_of(self, borrower: object) -> None:
        self._limiter.release_on_behalf_of(borrower)


async def _ask(host: str, port: int, turn: _Turn) -> list[Any]:
    """What the resolver says, as ``socket.getaddrinfo`` gives it, or raises."""
    if not is_name(host):
        return socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    # The only way to find out whether there is one; nothing else runs between these two lines.
    resolver = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(resolver)
    if resolver is None:
        return await trio.to_thread.run_sync(
            functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_DGRAM),
            abandon_on_cancel=True,
            limiter=cast("trio.CapacityLimiter", turn),
        )
    borrower = object()
    await turn.acquire_on_behalf_of(borrower)
    try:
        return await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    finally:
        turn.release_on_behalf_of(borrower)


class Limiters(NamedTuple):
    """Of the look-ups of one transport."""

    own: trio.CapacityLimiter
    """Of the own name, which waits for no other."""
    others: trio.CapacityLimiter
    """Of the names of the peers."""

    @classmethod
    def make(cls) -> Limiters:
        """New ones."""
        return cls(trio.CapacityLimiter(1), trio.CapacityLimiter(LOOKUPS_AT_ONCE))


async def look_up_all(hosts: Mapping[int, tuple[str, int]], needed: int, limiters: Limiters) -> dict[int, Answer]:
    """Look up the (host, port) of all nodes side by side.

    That of ``needed`` gets ``LOOKUP_S``, and without an address of it the others are not waited for. All others
    together get ``OPENING_S``.
    """
    answers: dict[int, Answer] = {}
    deadline = trio.current_time() + OPENING_S

    async def one(node: int) -> None:
        host, port = hosts[node]
        answers[node] = Answer({}, f"no answer within {OPENING_S:g} s")
        if node == needed or not is_name(host):
            answers[node] = await look_up(host, port, LOOKUP_S, limiters.own)
            if node == needed and not answers[node].addresses:
                nursery.cancel_scope.cancel()
            return
        with trio.move_on_at(deadline):
            answers[node] = await look_up(host, port, LOOKUP_S, limiters.others)

    async with trio.open_nursery() as nursery:
        for node in hosts:
            nursery.start_soon(one, node)
    return answers


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
