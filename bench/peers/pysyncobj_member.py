"""A member process of PySyncObj, a Raft in Python: ``python -m bench.peers.pysyncobj_member NODE LOG OWN OTHER...``.

A message is a replicated command; it is delivered when it is applied. What is sent first waits in a window.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, replicated

from bench.suite.member import Meter, Received, RunOrder, leave_no_garbage, parse, say, sleep_until
from bench.suite.traffic import HEADER, HEADER_SIZE, due_count, first_word

_WINDOW = 2000
_TUNED = {"autoTickPeriod": 0.001, "appendEntriesPeriod": 0.002, "appendEntriesBatchSizeBytes": 2**18}
"""Its defaults tick every 50 ms, so that one command takes 100 ms. This is as fast as it gets here."""


class ReplicatedLog(SyncObj):  # type: ignore[misc]
    """Keeps the headers of all commands, in the order of the Raft log."""

    def __init__(self, own: str, others: list[str]) -> None:
        self.log = Received()
        super().__init__(own, others, conf=SyncObjConf(commandsQueueSize=1_000_000, **_TUNED))

    @replicated  # type: ignore[untyped-decorator]
    def deliver(self, payload: bytes) -> None:
        self.log.add(time.monotonic_ns(), payload[:HEADER_SIZE], 1)


class PysyncobjMember:
    """One node's conversation with the supervisor."""

    def __init__(self, node: int, log_stem: str, own: str, others: list[str]) -> None:
        self._node = node
        self._log_stem = log_stem
        self._own = own
        self._members = len(others) + 1
        self._state = ReplicatedLog(own, others)
        self._meter = Meter()
        self._run: RunOrder | None = None
        self._looks: threading.Thread | None = None

    def meet(self) -> None:
        while not self._state.isReady() or self._state._getLeader() is None:
            time.sleep(0.01)
        time.sleep(0.3)  # every node has met every other
        leads = str(self._state._getLeader()) == self._own
        say("complete", members=self._members, time_ns=time.monotonic_ns(), leads=leads)

    def obey(self) -> None:
        """Do what the supervisor says until it says no more."""
        for line in sys.stdin:
            command, values = parse(line)
            if command == "prepare":
                self._run = RunOrder(values)
                self._state.log = Received()
                say("prepared")
            elif command == "start":
                assert self._run is not None
                self._run.start(values)
                self._looks = self._meter.watch(self._run)
                say("sent", sent=self._perform(self._run))
            elif command == "drain":
                while self._state.log.count < values["total"] and time.monotonic_ns() < values["until_ns"]:
                    time.sleep(0.005)
                assert self._looks is not None
                self._looks.join()
                # The thread of PySyncObj may still deliver what came too late; that goes to a log that nobody reads.
                log, self._state.log = self._state.log, Received()
                time.sleep(0.02)
                log.write(self._log_stem)
                say("done", **self._meter.report())
            else:
                return

    def _perform(self, run: RunOrder) -> int:
        sent = 0
        sleep_until(run.start_ns)
        if run.sending and run.kind != RunOrder.LISTEN:
            sent = {RunOrder.SATURATE: self._saturate, RunOrder.PING: self._ping, RunOrder.PACED: self._pace}[run.kind](
                run
            )
        sleep_until(run.end_ns)
        return sent

    def _saturate(self, run: RunOrder) -> int:
        word, filler = first_word(run.round_number, self._node), bytes(run.size - HEADER_SIZE)
        room = threading.Semaphore(_WINDOW)

        def done(_result: Any, _error: Any) -> None:
            room.release()

        sent = 0
        while time.monotonic_ns() < run.end_ns:
            if room.acquire(timeout=0.05):
                self._state.deliver(HEADER.pack(word + sent, 0) + filler, callback=done)
                sent += 1
        return sent

    def _ping(self, run: RunOrder) -> int:
        word, filler = first_word(run.round_number, self._node), bytes(run.size - HEADER_SIZE)
        sent = 0
        while time.monotonic_ns() < run.end_ns:
            self._state.deliver(HEADER.pack(word + sent, time.monotonic_ns()) + filler, sync=True, timeout=10)
            sent += 1
        return sent

    def _pace(self, run: RunOrder) -> int:
        word, filler = first_word(run.round_number, self._node), bytes(run.size - HEADER_SIZE)
        first_ns, interval_ns, sent = run.first_ns, run.interval_ns, 0
        while sent < run.total:
            due = due_count(time.monotonic_ns(), first_ns, interval_ns, run.total)
            for number in range(sent, due):
                self._state.deliver(HEADER.pack(word + number, first_ns + number * interval_ns) + filler)
            sent = due
            sleep_until(first_ns + sent * interval_ns)
        return sent


if __name__ == "__main__":
    member = PysyncobjMember(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
    member.meet()
    leave_no_garbage()
    member.obey()
