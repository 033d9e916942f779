"""A process with one transport, driven by lines of JSON on its standard input; see namespaces.py."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

import trio
from transport_openers import multicast_opener

from ringproto.testing.transport_contract import CONTRACT
from ringproto.transports import BlockingTransport, Transport, TransportError, open_multicast_udp, open_unicast_udp


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Commands:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.transport: Transport | None = None
        # Whether a thread sends and receives, as with driver="thread".
        self.blocking = False
        self.log = Lines()
        logging.getLogger("ringproto").addHandler(self.log)
        logging.getLogger("ringproto").setLevel(logging.INFO)

    async def name(self) -> str:
        return repr(self.transport)

    async def logged(self) -> list[str]:
        return self.log.lines

    async def open_multicast(self, **arguments: Any) -> str:
        node, group, port = arguments.pop("node"), arguments.pop("group"), arguments.pop("port")
        self.transport = await open_multicast_udp(node, group, port, **arguments)
        return repr(self.transport)

    async def open_unicast(self, node: int, peers: dict[str, tuple[str, int]], **arguments: Any) -> str:
        table = {int(peer): (host, port) for peer, (host, port) in peers.items()}
        self.transport = transport = await open_unicast_udp(node, table, **arguments)
        self.nursery.start_soon(transport.run_background)
        return repr(self.transport)

    async def open_often(self, times: int, **arguments: Any) -> list[str]:
        """Open and close; returns every error but ``TransportError``."""
        errors = []
        for _ in range(times):
            try:
                await self.open_multicast(**dict(arguments))
                assert self.transport is not None
                await self.transport.aclose()
            except TransportError:
                pass
            except Exception as exc:
                errors.append(f"{type(exc).__name__}: {exc}")
        return errors

    async def begin_blocking(self) -> None:
        assert isinstance(self.transport, BlockingTransport)
        self.transport.begin_blocking()
        self.blocking = True

    async def send(self, transmits: list[tuple[int, str]]) -> None:
        assert self.transport is not None
        datagrams = [(destination, text.encode()) for destination, text in transmits]
        if self.blocking:
            assert isinstance(self.transport, BlockingTransport)
            await trio.to_thread.run_sync(self.transport.send_blocking, datagrams)
        else:
            await self.transport.send(datagrams)

    async def receive(self, count: int, patience_s: float) -> list[str]:
        assert self.transport is not None
        got: list[bytes] = []
        if self.blocking:
            assert isinstance(self.transport, BlockingTransport)
            deadline = time.monotonic() + patience_s
            while len(got) < count and (left_s := deadline - time.monotonic()) > 0.0:
                got += await trio.to_thread.run_sync(self.transport.receive_blocking, left_s)
        with trio.move_on_after(patience_s):
            while len(got) < count and not self.blocking:
                got += await self.transport.receive()
        return [datagram.decode() for datagram in got]

    async def statistics(self) -> dict[str, int]:
        assert self.transport is not None
        return self.transport.statistics()

    async def check_multicast(self, check: str, group: str, interface: str, port: int) -> None:
        (chosen,) = (one for one in CONTRACT if one.__name__ == check)
        await chosen(multicast_opener(group, interface, port))


async def main() -> None:
    async with trio.open_nursery() as nursery:
        await serve(Commands(nursery))
        nursery.cancel_scope.cancel()


async def serve(commands: Commands) -> None:
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        command, arguments = json.loads(line)
        try:
            answer = {"result": await getattr(commands, command)(**arguments)}
        except Exception as exc:
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), flush=True)
    if commands.transport is not None:
        await commands.transport.aclose()


trio.run(main)
