"""What all processors of a measurement have in common: they come together, play their part, and say what they found.

A member talks with its supervisor (supervisor.py) through a :class:`~ringproto._processes.child.Line`, whether it is a
process of its own or, on the loopback transport, a task beside the others.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import monotonic_ns
from typing import Any

import trio

from ringproto import Config, Message, RecoveryComplete, RegularConfiguration, Ring, open_ring
from ringproto._processes.child import Conversation, Pipes, run_worker, until_left
from ringproto._processes.transports import open_transport
from ringproto.transports import Transport

__all__ = ["MeasuringMember", "run_member"]


class MeasuringMember(ABC):
    """One processor of a measurement.

    Args:
        line: to the supervisor.
        setup: what the supervisor told it: ``node``, ``nodes``, ``config`` (changes to ``Config.lan()``), ``drain_s``,
            and what the part of it needs.
    """

    def __init__(self, line: Conversation, setup: Mapping[str, Any]) -> None:
        self.line = line
        self.setup = setup
        self.node: int = setup["node"]
        self.nodes: list[int] = setup["nodes"]
        self.disordered = 0
        self.changes = 0
        """Configurations since all came together."""
        self._together = trio.Event()
        self._news = trio.Event()

    async def run(self, transport: Transport) -> None:
        """Be that processor, until the supervisor says that it is over or is gone."""
        config = Config.lan(**self.setup["config"])
        async with open_ring(transport, config=config) as ring, trio.open_nursery() as tasks:
            tasks.start_soon(until_left, tasks.cancel_scope, partial(self._read_events, ring.events))
            await self._together.wait()
            self.changes = 0
            await self.line.send({"ready": True})
            await self.play(ring)
            tasks.cancel_scope.cancel()

    @abstractmethod
    async def play(self, ring: Ring) -> None:
        """Do as the supervisor says, when all have come together."""

    @abstractmethod
    def take(self, messages: list[Message], now_ns: int) -> None:
        """These were delivered."""

    async def _read_events(self, events: Any) -> None:
        while True:
            batch = await events.receive_batch()
            now_ns = monotonic_ns()
            messages = [event for event in batch if isinstance(event, Message)]
            if messages:
                self.take(messages, now_ns)
            if len(messages) != len(batch):
                for event in batch:
                    if isinstance(event, RegularConfiguration):
                        self.changes += 1
                    elif isinstance(event, RecoveryComplete) and list(event.members) == self.nodes:
                        self._together.set()
            news, self._news = self._news, trio.Event()
            news.set()

    async def until_delivered(self, everything: Callable[[], bool]) -> None:
        """Wait until everything was delivered here, as long as something comes."""
        with trio.CancelScope(deadline=trio.current_time() + self.setup["drain_s"]) as scope:
            while not everything():
                await self._news.wait()
                scope.deadline = trio.current_time() + self.setup["drain_s"]

    def counts(self, missing: Iterable[int]) -> dict[str, int]:
        """What went wrong; ``missing`` is how many messages less than were sent came of each kind and sender."""
        differences = list(missing)
        return {
            "lost": sum(max(0, difference) for difference in differences),
            "extra": sum(max(0, -difference) for difference in differences),
            "disordered": self.disordered,
            "changes": self.changes,
        }


def run_member(kind: Callable[[Conversation, Mapping[str, Any]], MeasuringMember]) -> int:
    """Be a member that is a process of its own; returns its exit code."""

    async def main() -> None:
        pipes = Pipes()
        setup = await pipes.receive()
        if setup is not None:
            # What the imports left is looked through no more: the pauses that remain are those of the load.
            gc.freeze()
            await kind(pipes, setup).run(await open_transport(setup["node"], setup["transport"]))

    return run_worker(main)
