"""One processor of a round of chaos, in a process of its own (``python -m ringproto.chaos.worker``).

Started by ``ringproto chaos`` and not meant to be started by hand. The setup comes as the first line; if it says so,
the ring is opened when ``{"do": "open"}`` comes, so that several are opened at once. ``{"do": "lose"}`` says which
links lose, ``{"do": "disturb"}`` what else happens on them, ``{"do": "load"}`` begins or ends the load, ``{"do":
"mark"}`` is answered with how far the processor is; the end of the input makes it leave in an orderly way. Where it is
goes back whenever that changes, so that a fault can meet it in the middle of its barrier.
"""

from __future__ import annotations

import hashlib
import sys
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import trio

from ringproto import (
    Config,
    Guarantee,
    Message,
    Priority,
    Recovery,
    RecoveryComplete,
    RegularConfiguration,
    Ring,
    open_ring,
)
from ringproto._processes.child import Pipes, run_worker, until_left
from ringproto._processes.transports import open_transport
from ringproto.chaos.faulty_transport import Disorder, LossyLinks
from ringproto.chaos.log import ChaosLog, SequenceFile
from ringproto.chaos.script import Behaviour

_LOOK_S = 0.01
_SAY_ALL_S = 0.1
_LARGE_EVERY = 40
_LARGE = 40


class _ChaosWorker:
    def __init__(self, pipes: Pipes, setup: dict[str, Any]) -> None:
        self._pipes = pipes
        self._setup = setup
        self._node: int = setup["node"]
        self._life: int = setup["life"]
        self._habits = Behaviour(**setup["habits"])
        self._config = Config(**setup["config"])
        self._random = Random(f"{setup['seed']} {self._node} {self._life}")
        self._log = ChaosLog(Path(setup["log"]))
        self._storage = SequenceFile(Path(setup["storage"])) if setup["storage"] else None
        self._ring: Ring | None = None
        self._loading: bool = setup["loading"]
        self._named = 0
        self._accepted = 0
        self._returned = 0
        self._delivered = 0
        self._completions = 0
        self._complete = False
        self._order = hashlib.sha256()

    async def run(self) -> None:
        """Be a processor until the input ends."""
        setup = self._setup
        inner = await open_transport(self._node, setup["transport"])
        links = LossyLinks(inner, self._random, self._write)
        links.lose({int(node): loss for node, loss in setup["losses"].items()})
        links.disturb(Disorder(**setup["disorder"]))
        await self._pipes.send({"ready": True})
        if not setup["opens"] and not await self._obey(None, links):
            await links.aclose()
            return
        try:
            async with open_ring(
                links,
                config=self._config,
                recover=self._recover,
                ring_sequence=self._storage.load() if self._storage else 0,
                audit=self._log.audit,
            ) as ring:
                self._ring = ring
                async with trio.open_nursery() as tasks:
                    scope = tasks.cancel_scope
                    for task in (
                        self._read_events,
                        partial(self._send_messages, Priority.HIGH),
                        partial(self._send_messages, Priority.LOW),
                    ):
                        tasks.start_soon(until_left, scope, partial(task, ring))
                    tasks.start_soon(self._say_where, ring)
                    await self._obey(ring, links)
                    scope.cancel()
        finally:
            self._write()
            self._log.close()

    def _write(self) -> None:
        """What others may hear of next is on the disk first."""
        ring = self._ring
        if ring is not None and self._storage is not None:
            self._storage.store(ring.ring_sequence)
        self._log.write(None if ring is None else ring.waiting_for)

    # The application

    def _payload(self, kind: str, size: int) -> bytes:
        """A message with a name of its own."""
        self._named += 1
        return f"{self._node}.{self._life}.{kind}{self._named}|".encode() + self._random.randbytes(size)

    async def _recover(self, recovery: Recovery) -> None:
        habits, random = self._habits, self._random
        messages = habits.recovery_messages
        all_at_once = random.random() < 0.5
        pause_s = random.uniform(1.0, 1.5) * habits.recovery_s / (2 if all_at_once else messages + 1)
        for number in range(messages):
            if number == 0 or not all_at_once:
                await trio.sleep(pause_s)
            await recovery.send(self._payload("r", random.randint(0, habits.recovery_size)))
        await trio.sleep(pause_s)

    async def _send_messages(self, priority: Priority, ring: Ring) -> None:
        habits, random = self._habits, self._random
        senders = {guarantee: ring.sender(priority, guarantee) for guarantee in Guarantee}
        kind = priority.name[0].lower()
        while True:
            await trio.sleep(random.expovariate(1.0 / habits.gap_s))
            if not self._loading:
                continue
            size = random.randint(0, habits.message_size * (_LARGE if random.randrange(_LARGE_EVERY) == 0 else 1))
            guarantee = Guarantee.SAFE if random.random() < habits.safe else Guarantee.AGREED
            await senders[guarantee].send(self._payload(kind, size))
            self._accepted += 1

    async def _read_events(self, ring: Ring) -> None:
        while True:
            events = await ring.events.receive_batch()
            self._log.events += events
            for event in events:
                if isinstance(event, Message):
                    self._delivered += 1
                    self._order.update(b"%d %d %d " % (event.seq, event.sender, len(event.payload)) + event.payload)
                    if event.sender == self._node and event.priority is not Priority.RECOVERY:
                        self._returned += 1
                elif isinstance(event, RegularConfiguration):
                    self._complete = False
                    self._order = hashlib.sha256(str(event.ring_id).encode())
                elif isinstance(event, RecoveryComplete):
                    self._complete = True
                    self._completions += 1

    # The supervisor

    def _where(self, ring: Ring) -> dict[str, Any]:
        waiting_for = ring.waiting_for
        configuration = ring.configuration
        if self._complete and not waiting_for:
            phase = "complete"
        else:
            phase = "recovering" if self._node in waiting_for else "unblocked"
        return {
            "phase": phase,
            "ring": str(configuration.ring_id),
            "members": list(configuration.members),
            "waiting_for": sorted(waiting_for),
            "completions": self._completions,
        }

    def _how_far(self, ring: Ring) -> dict[str, Any]:
        return {"accepted": self._accepted, "returned": self._returned, "delivered": self._delivered}

    async def _say_where(self, ring: Ring) -> None:
        """Tell the supervisor at once where the processor is, and now and then how far."""
        said: dict[str, Any] = {}
        said_at = -1.0
        while True:
            where = self._where(ring)
            if where != said or trio.current_time() >= said_at + _SAY_ALL_S:
                said, said_at = where, trio.current_time()
                await self._pipes.send({"state": {**where, **self._how_far(ring)}})
            await trio.sleep(_LOOK_S)

    def _mark(self, ring: Ring) -> dict[str, Any]:
        """Where and how far it is, at one place of the log."""
        self._write()
        numbers = ring.statistics()
        return {
            **self._where(ring),
            **self._how_far(ring),
            "records": self._log.records,
            "given": self._log.given,
            "logged_as_accepted": self._log.accepted,
            "queued": sum(
                int(numbers[f"{kind}_{priority.name.lower()}"])
                for priority in Priority
                for kind in ("queue", "senders_waiting")
            ),
            "order": self._order.hexdigest(),
        }

    async def _obey(self, ring: Ring | None, links: LossyLinks) -> bool:
        """Do as told until the input ends; without a ring, until it is to be opened, and whether it is."""
        while (command := await self._pipes.receive()) is not None:
            if command["do"] == "open":
                return True
            if command["do"] == "lose":
                links.lose({int(node): loss for node, loss in command["losses"].items()})
            elif command["do"] == "disturb":
                links.disturb(Disorder(**command["disorder"]))
            elif command["do"] == "load":
                self._loading = command["on"]
            elif command["do"] == "mark" and ring is not None:
                await self._pipes.send({"mark": self._mark(ring), "number": command["number"]})
        return False


async def _main() -> None:
    pipes = Pipes()
    setup = await pipes.receive()
    if setup is not None:
        await _ChaosWorker(pipes, setup).run()


if __name__ == "__main__":
    sys.exit(run_worker(_main))
