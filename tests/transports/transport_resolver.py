"""A resolver of host names for tests, which answers as it is told to and remembers when it was asked."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import trio

Host = list[str] | float | Exception | Callable[[], Any]


class Resolver(trio.abc.HostnameResolver):
    """A table of host names.

    A host has addresses, or a function that gives the whole answer; a number means no answer for so many seconds, and
    then that there is none; an exception is raised. A host that is not in the table is not known.
    """

    def __init__(self, table: dict[str, Any], takes_s: float = 0.0) -> None:
        self.table: dict[str, Host] = table
        self.takes_s = takes_s
        self.asked: list[tuple[str, float]] = []
        self.at_once_max = 0
        self._at_once = 0

    def times(self, host: str, since: float) -> list[int]:
        """When this host was asked for, in seconds, to the next one."""
        return [round(time - since) for name, time in self.asked if name == host]

    async def getaddrinfo(  # type: ignore[override]
        self, host: str, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append((name, trio.current_time()))
        self._at_once += 1
        self.at_once_max = max(self.at_once_max, self._at_once)
        try:
            await trio.sleep(self.takes_s)
            return await self._answer(name, port)
        finally:
            self._at_once -= 1

    async def _answer(self, name: str, port: int) -> Any:
        found = self.table.get(name, 0.0)
        if isinstance(found, Exception):
            raise found
        if callable(found):
            return found()
        if isinstance(found, float):
            await trio.sleep(found)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = []
        for address in found:
            if ":" in address:
                answers.append((socket.AF_INET6, socket.SOCK_DGRAM, 17, "", (address, port, 0, 0)))
            else:
                answers.append((socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, port)))
        return answers

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


def installed(table: dict[str, Any], takes_s: float = 0.0) -> Resolver:
    """A resolver that trio uses from now on, in this run of it."""
    resolver = Resolver(table, takes_s)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver
