"""The standard streams and signals of the process that runs a command.

A command prints with ``print`` and the like. Here standard output becomes a stream whose errors are told apart from all
others, so that a reader that is gone or a disk that is full ends the command in one line, wherever it was written. A
stream that was closed by whoever started the command is opened on ``/dev/null``: otherwise the next socket or file
would get its number, and what is printed would be written into that.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

from ringproto._processes.ending_signals import heeded

__all__ = [
    "OutputError",
    "Terminated",
    "discard_output",
    "heed_interrupts",
    "heed_terminate",
    "ignore_interrupts",
    "open_streams",
    "write_all",
    "write_fully",
]

_CLOSED_PIPE = 128 + signal.SIGPIPE


class OutputError(Exception):
    """Standard output cannot be written. Nothing that is printed later arrives, so the command ends."""

    def __init__(self, error: OSError) -> None:
        self.exit_code = 1
        """As the tools of Unix have it: 141 when nobody reads any more, 1 for every other reason."""
        text = f"cannot write to standard output: {error.strerror or error}"
        if isinstance(error, BrokenPipeError):
            self.exit_code = _CLOSED_PIPE
            text = "ended early, because nobody reads standard output any more"
        super().__init__(text)


class _Output(io.FileIO):
    """Standard output, whose errors are :class:`OutputError`."""

    def write(self, data: Any, /) -> int:
        write_all(bytes(data))
        return len(data)


class _Complaints(io.FileIO):
    """Standard error. What cannot be written there is dropped, for there is nowhere else to tell it."""

    def write(self, data: Any, /) -> int:
        with suppress(OSError):
            write_fully(2, bytes(data))
        return len(data)


def write_all(data: bytes) -> None:
    """Write to standard output without a buffer, from any thread.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        write_fully(1, data)
    except OSError as error:
        raise OutputError(error) from error


def write_fully(descriptor: int, data: bytes) -> None:
    """Write all of it, and wait where there is no room yet, from any thread. Raises ``OSError``."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # whoever started the command left it in this mode
            select.select([], [descriptor], [])


def open_streams() -> bool:
    """Take over the standard streams of this process; returns whether there is a standard output."""
    closed = []
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.append(descriptor)
            # It gets the lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = _text(_Output(1, "wb", closefd=False), sys.stdout)
    sys.stderr = _text(_Complaints(2, "wb", closefd=False), sys.stderr, line_buffering=True)
    return 1 not in closed


def discard_output() -> None:
    """From here on standard output leads nowhere, so that the interpreter does not complain once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class Terminated(KeyboardInterrupt):
    """SIGTERM came, wherever the program was: like an interrupt it is no error of what ran then."""


def heed_interrupts() -> None:
    """From here on Ctrl-C raises ``KeyboardInterrupt``, unless whoever started the command has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # ringproto_command.py
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def heed_terminate() -> Iterator[None]:
    """In this block SIGTERM raises :class:`Terminated`, for commands that have processes and no trio; unless whoever
    started the command has it ignored."""
    if signal.SIGTERM not in heeded():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Terminated

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def ignore_interrupts() -> None:
    """The command is over, and nothing is left that Ctrl-C could end sooner."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _text(raw: io.FileIO, former: TextIO | None, *, line_buffering: bool = False) -> io.TextIOWrapper:
    encoding = "utf-8" if former is None else former.encoding
    if isinstance(former, io.TextIOWrapper):
        line_buffering = line_buffering or former.line_buffering or former.write_through
    # A character that the encoding does not have must not end a command.
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=line_buffering
    )
