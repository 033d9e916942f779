"""One processor in a process of its own: lines of JSON on its standard input tell it what to do.

Its only argument is its setup. It keeps a log of everything that the rules of order and barrier speak of, written out
often enough that little is lost when it is killed. It leaves when its input ends, and so when who started it is gone.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import socket
import sys
from pathlib import Path
from typing import Any

import trio

from ringproto import Config, Guarantee, Message, Priority, Recovery, RegularConfiguration, Ring, open_ring
from ringproto.testing.judge.transcript import record_from_audit, record_to_line
from ringproto.transports import Transport, open_multicast_udp, open_unicast_udp

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

FLUSH_EVERY_S = 0.02
STATE_MESSAGES = 5
"""How many recovery messages stand for the state, at every change."""


class HostsFile(trio.abc.HostnameResolver):
    """Host names as a JSON file has them, which is read at each look-up."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def getaddrinfo(  # type: ignore[override]
        self, host: str, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        table = json.loads(self._path.read_text())
        if name not in table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (table[name], port))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


class Worker:
    def __init__(self, setup: dict[str, Any]) -> None:
        self.node: int = setup["node"]
        self.life: int = setup["life"]
        self.setup = setup
        self.audit: list[tuple[Any, ...]] = []
        self.log = Path(setup["log"]).open("w")  # noqa: SIM115
        self.frozen = False
        self.loading = False
        self.accepted = 0
        self.delivered = 0
        self.stated = 0
        self.order = hashlib.sha256()
        """Of everything that was delivered in the present configuration."""
        self.complete = False

    async def open_transport(self) -> Transport:
        wire = self.setup["wire"]
        if "hosts" in wire:
            trio.socket.set_custom_hostname_resolver(HostsFile(wire["hosts"]))
        if wire["kind"] == "unicast":
            peers = {int(node): (host, port) for node, (host, port) in wire["peers"].items()}
            return await open_unicast_udp(self.node, peers)
        return await open_multicast_udp(self.node, wire["group"], wire["port"], interface=wire["interface"])

    @trio.lowlevel.enable_ki_protection  # or an interrupt between the two writes an entry twice
    def flush(self) -> None:
        if self.frozen:
            self.audit.clear()
            return
        self.log.writelines(record_to_line(record_from_audit(entry)) + "\n" for entry in self.audit)
        self.audit.clear()
        self.log.flush()

    async def keep_log(self) -> None:
        while True:
            self.flush()
            await trio.sleep(FLUSH_EVERY_S)

    async def recover(self, recovery: Recovery) -> None:
        """The first of those who came together sends the state."""
        if self.setup["stands_still_s"]:
            # As a large state is encoded: no other thread runs either.
            ctypes.PyDLL(None).usleep(int(1e6 * self.setup["stands_still_s"]))
        if recovery.transitional.members[0] == self.node:
            for _ in range(STATE_MESSAGES):
                self.stated += 1
                await recovery.send(self.payload(f"s{self.stated}", 500))

    def payload(self, name: str, size: int) -> bytes:
        return f"{self.node}.{self.life}.{name}|".encode() + bytes(size)

    async def load(self, ring: Ring) -> None:
        number = 0
        while True:
            if not self.loading:
                await trio.sleep(0.01)
                continue
            number += 1
            sender = ring.sender(Priority(1 + number % 2), Guarantee.SAFE if number % 5 == 0 else Guarantee.AGREED)
            size = 20_000 if number % 40 == 0 else 100 * (number % 7)
            await sender.send(self.payload(str(number), size))
            self.accepted += 1
            await trio.sleep(self.setup["gap_s"])

    async def read(self, ring: Ring) -> None:
        while True:
            for event in await ring.events.receive_batch():
                if isinstance(event, Message):
                    self.delivered += 1
                    self.order.update(b"%d %d %d " % (event.seq, event.sender, len(event.payload)) + event.payload)
                elif isinstance(event, RegularConfiguration):
                    self.order = hashlib.sha256(str(event.ring_id).encode())

    def status(self, ring: Ring) -> dict[str, Any]:
        numbers = ring.statistics()
        return {
            "members": ring.configuration.members,
            "ring": str(ring.configuration.ring_id),
            "waiting_for": sorted(ring.waiting_for),
            "accepted": self.accepted,
            "delivered": self.delivered,
            "order": self.order.hexdigest(),
            "queued": sum(int(numbers[f"queue_{priority.name.lower()}"]) for priority in Priority),
            "ring_sequence": ring.ring_sequence,
            "statistics": numbers,
        }

    async def obey(self, ring: Ring) -> None:
        """Read commands until the one to leave, or until the input ends."""
        lines = b""
        stream = trio.lowlevel.FdStream(sys.stdin.fileno())
        async for chunk in stream:
            lines += chunk
            while b"\n" in lines:
                line, _, lines = lines.partition(b"\n")
                command, value = json.loads(line)
                if command == "leave":
                    answer(True)
                    return
                if command == "load":
                    self.loading = value
                elif command == "freeze":
                    self.flush()
                    self.frozen = True
                answer(self.status(ring))

    async def run(self) -> None:
        config = Config.lan(**self.setup["config"])
        transport = await self.open_transport()
        arguments = {
            "config": config,
            "ring_sequence": self.setup["ring_sequence"],
            "audit": self.audit,
            "driver": self.setup["wire"].get("driver", self.setup["driver"]),
        }
        try:
            async with open_ring(transport, recover=self.recover, **arguments) as ring:
                answer("open")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.keep_log)
                    nursery.start_soon(self.load, ring)
                    nursery.start_soon(self.read, ring)
                    await self.obey(ring)
                    nursery.cancel_scope.cancel()
        finally:
            self.flush()


def answer(value: Any) -> None:
    print(json.dumps(value), flush=True)


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Control-C and nothing else; a nursery, such as that of the body here, makes a group of it."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_interrupt, error.exceptions))
    return isinstance(error, KeyboardInterrupt)


if __name__ == "__main__":
    try:
        trio.run(Worker(json.loads(sys.argv[1])).run)
    except BaseException as error:
        if not is_interrupt(error):
            raise
        sys.exit(130)
