"""What every member process of the suite shares: the words of its supervisor, its log, its clock and its price.

A member reads lines from standard input and writes lines of JSON to standard output. Members in C (bench/peers) do the
same; for their sake what the supervisor says is plain words, ``command name=number ...``:

``prepare kind= round= size= sending= first_ns= interval_ns= total=``
    a run begins: forget what was received. Answer: ``{"said": "prepared"}``
``start start_ns= measure_ns= end_ns=``
    send from ``start_ns`` to ``end_ns``; the processor time used between ``measure_ns`` and ``end_ns`` is measured.
    Answer, when all is sent: ``{"said": "sent", "sent": n}``
``drain total= until_ns=``
    wait until ``total`` messages have come, or until ``until_ns``; write the log. Answer: ``{"said": "done", ...}``
``leave``, or the end of the input
    end.

Unasked, a member says ``{"said": "complete", "members": n, "time_ns": t}`` when it stands in a group of n that may
send. While a run is measured nothing is checked: of each message the sixteen bytes of its header are kept, with the
time at which the batch that it came in was delivered. The supervisor checks the logs afterwards (checks.py).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from array import array
from pathlib import Path
from typing import Any

__all__ = ["Meter", "Received", "RunOrder", "leave_no_garbage", "parse", "say", "sleep_until"]


def parse(line: str) -> tuple[str, dict[str, int]]:
    """A line of the supervisor as its command and its numbers."""
    command, *settings = line.split() or [""]
    return command, {name: int(value) for name, _, value in (setting.partition("=") for setting in settings)}


def say(said: str, **values: Any) -> None:
    """Write one line for the supervisor, at once."""
    os.write(sys.stdout.fileno(), json.dumps({"said": said, **values}).encode() + b"\n")


class RunOrder:
    """One run, as ``prepare`` and ``start`` describe it. Times in ns of CLOCK_MONOTONIC, sizes in bytes."""

    SATURATE = 0
    """Send as fast as it goes."""
    PING = 1
    """Send the next message when the own one was delivered."""
    PACED = 2
    """Send ``total`` messages, each when it is due."""
    LISTEN = 3
    """Send nothing."""

    def __init__(self, values: dict[str, int]) -> None:
        self.kind = values["kind"]
        self.round_number = values["round"]
        self.size = values["size"]
        self.sending = bool(values["sending"])
        self.interval_ns = values["interval_ns"]
        self.total = values["total"]
        self.start_ns = self.measure_ns = self.end_ns = 0
        # The processors take turns, so that the messages of all are spread evenly.
        self.offset_ns = values["first_ns"]

    def start(self, values: dict[str, int]) -> None:
        self.start_ns, self.measure_ns, self.end_ns = values["start_ns"], values["measure_ns"], values["end_ns"]

    @property
    def first_ns(self) -> int:
        """When the first message of an open loop is due."""
        return self.start_ns + self.offset_ns


class Received:
    """What a member received in one run: headers, and when they came."""

    def __init__(self) -> None:
        self.count = 0
        self._headers: list[bytes] = []
        self._batches = array("Q")

    def add(self, now_ns: int, headers: bytes, count: int) -> None:
        """A batch of ``count`` messages was delivered."""
        self._headers.append(headers)
        self._batches.append(now_ns)
        self._batches.append(count)
        self.count += count

    def write(self, stem: str) -> None:
        """Write ``stem.headers`` and ``stem.batches``."""
        Path(stem + ".headers").write_bytes(b"".join(self._headers))
        Path(stem + ".batches").write_bytes(self._batches.tobytes())


class Meter:
    """Processor time of this process, all threads, user and system, between two looks."""

    def __init__(self) -> None:
        self._from: tuple[int, int] = (0, 0)
        self._to: tuple[int, int] = (0, 0)

    @staticmethod
    def _look() -> tuple[int, int]:
        return time.monotonic_ns(), time.process_time_ns()

    def begin(self) -> None:
        self._from = self._to = self._look()

    def end(self) -> None:
        self._to = self._look()

    def watch(self, run: RunOrder) -> threading.Thread:
        """Look at the right times, in a thread, for members that do not sleep while they work."""

        def looks() -> None:
            sleep_until(run.measure_ns)
            self.begin()
            sleep_until(run.end_ns)
            self.end()

        thread = threading.Thread(target=looks, daemon=True)
        thread.start()
        return thread

    def report(self) -> dict[str, int]:
        return {"wall_ns": self._to[0] - self._from[0], "cpu_ns": self._to[1] - self._from[1]}


def sleep_until(time_ns: int) -> None:
    """Sleep, in a program without an event loop, until this time of CLOCK_MONOTONIC."""
    time.sleep(max(0.0, (time_ns - time.monotonic_ns()) / 1e9))


def leave_no_garbage() -> None:
    """What the imports made is looked through by the collector no more: the pauses that remain are those of the
    load. The collector itself stays on, as in any program."""
    import gc

    gc.collect()
    gc.freeze()
