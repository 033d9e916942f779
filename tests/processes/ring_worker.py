"""One processor in a process of its own, for the tests of this folder: it sends, recovers, and writes its transcript.

Settings come as JSON in the first argument. Each regular configuration and completion is a line of JSON on the output;
the transcript goes into a file, flushed after every batch of events, so that a SIGKILL costs at most a torn tail. The
end of the input makes it leave in an orderly way.
"""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

import trio

from ringproto import Config, Guarantee, Priority, Recovery, RecoveryComplete, RegularConfiguration, Ring, open_ring
from ringproto.testing.transcript import record_from_audit, record_to_line
from ringproto.transports import Transport, open_multicast_udp, open_unicast_udp

SENDERS = [(priority, guarantee) for priority in (Priority.HIGH, Priority.LOW) for guarantee in Guarantee]


async def open_transport(settings: dict[str, Any]) -> Transport:
    if settings["kind"] == "unicast":
        peers = {int(node): (host, port) for node, (host, port) in settings["peers"].items()}
        return await open_unicast_udp(settings["node"], peers)
    return await open_multicast_udp(
        settings["node"], settings["group"], settings["port"], interface=settings["interface"]
    )


class Worker:
    def __init__(self, settings: dict[str, Any], log: TextIO) -> None:
        self.node = settings["node"]
        self.config = Config.lan(**settings["config"])
        self.log = log
        self.audit: list[tuple[Any, ...]] = []
        self.count = 0

    def flush(self) -> None:
        for entry in self.audit:
            self.log.write(record_to_line(record_from_audit(entry)) + "\n")
        self.audit.clear()
        self.log.flush()

    def payload(self, filler: int) -> bytes:
        self.count += 1
        return f"{self.node}.{self.incarnation}.{self.count}|".encode() + bytes(filler)

    async def recover(self, recovery: Recovery) -> None:
        for _ in range(3):
            await recovery.send(self.payload(2000))

    async def run(self, transport: Transport) -> None:
        async with open_ring(transport, config=self.config, recover=self.recover, audit=self.audit) as ring:
            self.incarnation = self.audit[0][2]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.read, ring)
                nursery.start_soon(self.send, ring)
                await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)
                nursery.cancel_scope.cancel()
        self.flush()

    async def read(self, ring: Ring) -> None:
        while True:
            for event in await ring.events.receive_batch():
                if isinstance(event, (RegularConfiguration, RecoveryComplete)):
                    kind = type(event).__name__
                    print(json.dumps({"event": kind, "ring": str(event.ring_id), "members": event.members}), flush=True)
            self.flush()

    async def send(self, ring: Ring) -> None:
        senders = [ring.sender(priority, guarantee) for priority, guarantee in SENDERS]
        while True:
            for number, sender in enumerate(senders):
                await sender.send(self.payload((0, 100, 1500, 9000)[(self.count + number) % 4]))
            await trio.sleep(0.004)


async def main() -> None:
    settings = json.loads(sys.argv[1])
    with open(settings["log"], "w") as log:
        await Worker(settings, log).run(await open_transport(settings))


trio.run(main)
