"""One process of the demonstration: a processor with its replica (``python -m ringproto.cli.demo.worker``).

Started by ``ringproto demo`` and not meant to be started by hand. The setup comes as the first line; every few
hundredths of a second the log and the progress go back, with a digest of what the ring's audit says that it delivered;
``{"do": "allow", "part": 0.5}`` says how much of the share may
be sent so far; ``{"do": "report"}`` is answered with the final state, after
which nothing is logged; the end of the input makes the processor leave in an orderly way.
"""

from __future__ import annotations

import gc
import sys
from functools import partial
from typing import Any

import trio

from ringproto import Config, Guarantee, Priority, open_ring
from ringproto._processes.child import Pipes, run_worker, until_left
from ringproto._processes.failures import UsageError
from ringproto._processes.transports import open_transport
from ringproto.cli.demo import records as sources
from ringproto.cli.demo.feed import Feed
from ringproto.cli.demo.log import StreamDigest, encode_all
from ringproto.cli.demo.replica import Replica, take_audit
from ringproto.cli.histogram import encode, new_histogram, record_s

_FLUSH_S = 0.05
_BATCH_MAX = 64
_LINE_ENTRIES_MAX = 1000
_NAMES_MAX = 5
_CATCH_UP_S = 5.0
"""So long the last report waits for the application to read what the ring has delivered."""


class _DemoWorker:
    def __init__(self, pipes: Pipes, setup: dict[str, Any]) -> None:
        self._pipes = pipes
        self._setup = setup
        loaded = sources.load(setup["file"]).records
        if sources.fingerprint(loaded) != setup["fingerprint"]:
            raise UsageError(
                f"{setup['file'] or 'the Unicode database'} is not what the supervisor read: did it change?"
            )
        self._records = loaded
        share = sources.share(loaded, setup["node"], setup["nodes"])
        self._feed = Feed(setup["node"], setup["life"], share, setup["seconds"], setup["allowed"])
        self._replica = Replica(setup["node"], self._feed, len(setup["nodes"]))
        self._histograms = {"h": new_histogram(), "l": new_histogram()}
        self._audit: list[tuple[Any, ...]] = []
        self._audited = StreamDigest()
        self._given = 0
        self._ring_written = ""
        self._ring: Any = None
        self._reported = False

    async def run(self) -> None:
        """Be a processor until the input ends."""
        transport = await open_transport(self._setup["node"], self._setup["transport"])
        config = Config.lan(**self._setup["config"])
        async with open_ring(transport, config=config, recover=self._replica.recover, audit=self._audit) as ring:
            self._ring = ring
            async with trio.open_nursery() as tasks:
                scope = tasks.cancel_scope
                tasks.start_soon(until_left, scope, partial(self._read_events, ring.events))
                for letter, priority in (("h", Priority.HIGH), ("l", Priority.LOW)):
                    send = ring.sender(priority, Guarantee.AGREED).send
                    tasks.start_soon(until_left, scope, partial(self._feed.run, letter, send))
                tasks.start_soon(self._flush_until_reported)
                await self._obey()
                scope.cancel()

    async def _read_events(self, events: Any) -> None:
        while True:
            # Small batches: between two of them the ring gets its turn, so applying records never costs it the token.
            for event in await events.receive_batch(_BATCH_MAX):
                self._replica.handle(event)
                self._given += 1

    async def _flush_until_reported(self) -> None:
        while not self._reported:
            await self._flush()
            await trio.sleep(_FLUSH_S)

    async def _flush(self) -> None:
        replica = self._replica
        while replica.log:
            entries, replica.log = replica.log[:_LINE_ENTRIES_MAX], replica.log[_LINE_ENTRIES_MAX:]
            values, self._ring_written = encode_all(entries, self._ring_written)
            await self._pipes.send({"log": values})
        take_audit(self._audit, self._audited)
        await self._pipes.send({"audited": self._audited.state()})
        configuration = replica.configuration
        progress = {
            "members": configuration.members if configuration else (),
            "complete": replica.complete,
            "waiting_for": sorted(self._ring.waiting_for),
            "revision": replica.store.revision,
            "delivered_here": dict(replica.delivered_here),
            "waiting": self._feed.waiting,
            "idle": self._feed.idle,
            "finished": self._feed.finished,
        }
        await self._pipes.send({"progress": progress})

    async def _caught_up(self) -> None:
        """Wait until the application has all that the ring has delivered; if it never has, the supervisor will see."""
        with trio.move_on_after(_CATCH_UP_S):
            take_audit(self._audit, self._audited)
            while self._given != self._audited.events:
                await trio.sleep(_FLUSH_S)
                take_audit(self._audit, self._audited)

    async def _obey(self) -> None:
        while (command := await self._pipes.receive()) is not None:
            if command["do"] == "allow":
                self._feed.allow(command["part"])
            elif command["do"] == "report":
                await self._caught_up()
                self._reported = True
                await self._flush()
                statistics = self._ring.statistics()
                # In a thread, for hashing a large state takes longer than the ring would wait for its token.
                report = await trio.to_thread.run_sync(self._report)
                await self._pipes.send({"report": {**report, "statistics": statistics}})

    def _report(self) -> dict[str, Any]:
        replica = self._replica
        for letter, latencies_s in replica.latencies_s.items():
            for latency_s in latencies_s:
                record_s(self._histograms[letter], latency_s)
        entries = replica.store.entries
        wanted = {record.key for record in self._records}
        return {
            "accepted": dict(self._feed.accepted),
            "sent_again": self._feed.sent_again,
            "revision": replica.store.revision,
            "entries": len(entries),
            "state_hash": replica.store.state_hash(),
            "contents_hash": replica.store.contents_hash(),
            "missing": _names(sorted(wanted - entries.keys())),
            "doubled": _names([key for key, entry in entries.items() if entry.times != 1]),
            "alien": _names(sorted(entries.keys() - wanted)),
            "histograms": {letter: encode(histogram) for letter, histogram in self._histograms.items()},
        }


def _names(keys: list[bytes]) -> list[str]:
    return [key.decode(errors="replace") for key in keys[:_NAMES_MAX]]


async def _main() -> None:
    pipes = Pipes()
    setup = await pipes.receive()
    if setup is not None:
        worker = _DemoWorker(pipes, setup)
        # Records, states and logs are hundreds of thousands of objects without a cycle among them. Looking through them
        # again and again would stop the process for as long as the ring waits for its token.
        gc.freeze()
        gc.disable()
        await worker.run()


if __name__ == "__main__":
    sys.exit(run_worker(_main))
