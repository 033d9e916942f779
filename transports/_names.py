"""Name look-ups: concurrent, each with a time limit, and a missing name is an ordinary answer.

The system's resolver blocks, so it runs on a thread. An abandoned look-up leaves its thread behind until the resolver
returns. So these threads have their own limiter, apart from the 40 threads that trio gives the program's own calls of
``trio.to_thread.run_sync``. A transport has at most ``LOOKUPS_AT_ONCE`` look-ups, including abandoned ones, and one
more for the name of this processor. If the program gave a resolver to trio
(``trio.socket.set_custom_hostname_resolver``), that one is used in place of the system's.
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
"""Maximum number of concurrent look-ups of one transport. Further ones wait for a free place."""
LOOKUP_S = 30.0
"""Seconds after which a look-up is abandoned. Resolvers usually give up by themselves within this time."""
OPENING_S = 5.0
"""Seconds for which opening a transport waits for the names of other processors."""


class Answer(NamedTuple):
    """The result of a look-up."""

    addresses: dict[int, list[tuple[Any, ...]]]
    """The addresses by family, in the resolver's order and in the form of the ``socket`` module."""
    failure: str
    """The reason why there are no addresses; empty if there are some."""
    error: Exception | None = None
    """The exception that the resolver raised, or ``None``."""


def is_name(host: str) -> bool:
    """Return whether ``host`` needs a resolver. An address in digits does not."""
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
    """Return whether ``host`` may resolve to another address later.

    This is true for a name. It is also true for a link-local address with the name of its interface (``fe80::1%eth0``):
    the interface gets another index when it is removed and added again.
    """
    scope = host.partition("%")[2]
    return is_name(host) or (scope != "" and not scope.isdecimal())


async def look_up(host: str, port: int, wait_s: float, limiter: trio.CapacityLimiter) -> Answer:
    """Return the addresses of a host, or the reason why there are none. Any exception of the resolver is such a reason.

    Args:
        host, port: as the user gave them.
        wait_s: maximum duration of the look-up in seconds, counted from its start.
        limiter: each look-up holds one of its tokens until it ends, also after it is abandoned. The wait for a token
            has no limit.

    Cancellation: the resolver's thread may continue for a while.
    """
    found: dict[int, list[tuple[Any, ...]]] = {}
    with trio.CancelScope() as scope:
        try:
            answers = await _ask(host, port, _Turn(limiter, scope, wait_s))
        except Exception as exc:
            # The program may have given trio a resolver (trio.socket.set_custom_hostname_resolver), which may raise
            # anything.
            return Answer({}, _reason(exc), exc)
        try:
            found = _sorted(answers)
        except Exception as exc:
            return Answer({}, f"what the resolver says cannot be read: {_reason(exc)}", exc)
    if scope.cancelled_caught:
        return Answer({}, f"no answer within {wait_s:g} s")
    return Answer(found, "" if found else "it has neither an IPv4 nor an IPv6 address")


def _sorted(answers: list[Any]) -> dict[int, list[tuple[Any, ...]]]:
    """Return the addresses by family. Raises any exception if the answers are not those of ``socket.getaddrinfo``."""
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
    """Return the address without a needless scope. Received datagrams have a scope only in link-local addresses, so the
    other addresses must have none here."""
    if len(address) != 4 or ipaddress.ip_address(str(address[0]).partition("%")[0]).is_link_local:
        return address
    return str(address[0]).partition("%")[0], address[1], address[2], 0


class _Turn:
    """The limiter of one look-up. The time limit of the look-up starts when it gets its token.

    trio releases the token on behalf of the thread, which may end after its look-up was abandoned.
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
    """Return the resolver's answer in the form of ``socket.getaddrinfo``, or raise its exception."""
    if not is_name(host):
        return socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    # trio has no other way to find out whether a resolver is set. No other task runs between these two lines.
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
    """The limiters for the look-ups of one transport."""

    own: trio.CapacityLimiter
    """For the name of this processor, which waits for no other look-up."""
    others: trio.CapacityLimiter
    """For the names of the peers."""

    @classmethod
    def make(cls) -> Limiters:
        """Return new limiters."""
        return cls(trio.CapacityLimiter(1), trio.CapacityLimiter(LOOKUPS_AT_ONCE))


async def look_up_all(hosts: Mapping[int, tuple[str, int]], needed: int, limiters: Limiters) -> dict[int, Answer]:
    """Look up the (host, port) of all nodes concurrently.

    The look-up of ``needed`` may take ``LOOKUP_S``. If it finds no address, the others are not waited for. All others
    together may take ``OPENING_S``.
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
