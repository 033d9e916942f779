"""JSON lines between a command and the processes that it starts: the end in the child.

A child reads requests on its standard input and writes reports on its standard output, one JSON object a line. When its
input ends, its parent is gone or done with it, and it leaves: no child survives its parent, however the parent dies.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

from ringproto import RingClosedError
from ringproto._processes.failures import describe_error

__all__ = ["LINE_BYTES_MAX", "Conversation", "Pipes", "run_worker", "split_lines", "until_left"]

LINE_BYTES_MAX = 64 * 2**20
"""Longest line on a pipe."""


class Conversation(Protocol):
    """One end of a conversation in JSON objects."""

    async def send(self, message: dict[str, Any], /) -> None:
        """Send one object."""

    async def receive(self) -> dict[str, Any] | None:
        """Wait for the next object; ``None`` when the other end is gone."""


def split_lines(buffered: bytearray, data: bytes) -> list[bytes]:
    """The complete lines in what was buffered and what just came; the rest stays buffered.

    Raises:
        ValueError: a line is longer than ``LINE_BYTES_MAX``.
    """
    buffered += data
    if b"\n" not in data:
        if len(buffered) > LINE_BYTES_MAX:
            raise ValueError(f"a line on a pipe is longer than {LINE_BYTES_MAX} bytes")
        return []
    *lines, rest = bytes(buffered).split(b"\n")
    buffered[:] = rest
    return lines


class Pipes:
    """Standard input and output of this process, as a :class:`Conversation`.

    Whatever else is printed in the process goes to standard error, so that it cannot tear a line. Needs a running trio.
    """

    def __init__(self) -> None:
        # The parent decides when a child ends; Ctrl-C in a terminal reaches the whole process group.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stdout.flush()
        self._out = trio.lowlevel.FdStream(os.dup(1))
        os.dup2(2, 1)
        self._in = trio.lowlevel.FdStream(os.dup(0))
        self._buffered = bytearray()
        self._lines: list[bytes] = []
        self._sending = trio.Lock()

    async def send(self, message: dict[str, Any], /) -> None:
        """Send one object; waits while the pipe is full. Several tasks may call it."""
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        async with self._sending:
            await self._out.send_all(data)

    async def receive(self) -> dict[str, Any] | None:
        """Wait for the next object; ``None`` at the end of the input."""
        while not self._lines:
            data = await self._in.receive_some()
            if not data:
                return None
            self._lines = split_lines(self._buffered, data)[::-1]
        message = json.loads(self._lines.pop())
        assert isinstance(message, dict)
        return message


def run_worker(main: Callable[[], Awaitable[None]]) -> int:
    """Run a child's main function under trio and return its exit code.

    An error is written to standard error with its traceback, and once more as the last line, which is what the parent
    shows; errors within groups are taken out of them. On SIGUSR1 the child writes its stack to standard error, for a
    parent that wants to say where it hangs.
    """
    faulthandler.register(signal.SIGUSR1)
    try:
        trio.run(main)
    except BaseException as error:  # whatever ends a child, its parent is told
        traceback.print_exc()
        print(describe_error(error), file=sys.stderr)
        return 1
    return 0


async def until_left(scope: trio.CancelScope, function: Callable[[], Awaitable[object]]) -> None:
    """Call an async function; when it finds that the processor has left the ring, cancel ``scope``.

    Why it left is then told by ``open_ring``, and not by whichever task met the closed channel first.
    """
    try:
        await function()
    except (trio.EndOfChannel, RingClosedError):
        scope.cancel()
